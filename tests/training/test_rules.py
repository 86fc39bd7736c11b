"""What each rule looks at; that rules ignore order and break ties is their contract (holdfast.testing)."""

from __future__ import annotations

import pytest

from holdfast.core.errors import UserError
from holdfast.core.registry import create
from holdfast.training import Last, Record, SelectionRule, Validation, WorstEnvironment, WorstGroup

Scores = dict[str, tuple[float, ...]]


def records(role: str, scores: Scores) -> list[Record]:
    """``scores`` of steps 0, 1, 2 by sub-population: ``all``, environments ``e…``, groups ``g…``."""
    result = []
    for name, values in scores.items():
        environment, group = (name if name[0] == kind else None for kind in "eg")
        result += [
            Record(step, role, role, environment, group, score, 1 - score, 10) for step, score in enumerate(values)
        ]
    return result


SCORES: Scores = {
    "all": (0.9, 0.1, 0.2),
    "e1": (0.8, 0.5, 0.1),
    "e2": (0.2, 0.4, 0.8),
    "g1": (0.3, 0.3, 0.9),
    "g2": (0.9, 0.6, 0.4),
}


@pytest.mark.parametrize(
    ("rule", "step"),
    [
        ("validation", 0),  # mean over environments .5, .45, .45
        ("worst-environment", 1),  # worst .2, .4, .1
        ("worst-group", 2),  # worst .3, .3, .4
        ("last", 2),
    ],
)
def test_what_a_rule_chooses_by(rule: str, step: int) -> None:
    assert create(SelectionRule, rule).choose(records("selection", SCORES)) == step


def test_the_oracle_looks_at_all_rows_of_the_test_and_says_so() -> None:
    oracle = create(SelectionRule, "oracle")
    assert oracle.choose(records("test", SCORES)) == 0
    assert (oracle.role, oracle.oracle) == ("test", True)
    assert not any(rule().oracle for rule in (Last, Validation, WorstEnvironment, WorstGroup))


@pytest.mark.parametrize("rule", [WorstGroup(), WorstEnvironment(), Validation()])
def test_a_rule_without_its_column_says_so(rule: SelectionRule) -> None:
    with pytest.raises(UserError, match="no column for this rule"):
        rule.choose(records("selection", {"all": (0.1, 0.2)}))


@pytest.mark.parametrize("rule", [WorstGroup(), WorstEnvironment(), Validation()])
def test_a_rule_without_rows_says_so(rule: SelectionRule) -> None:
    with pytest.raises(UserError, match="needs rows in role 'selection'"):
        rule.choose([])
