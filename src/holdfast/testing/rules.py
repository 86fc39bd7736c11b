"""The contract of selection rules."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.training import Record, SelectionRule

RuleContract = Callable[[SelectionRule], None]
_STEPS = (0, 1, 2, 4, 8)


def ignores_order(rule: SelectionRule) -> None:
    """A rule chooses one of the steps, whatever order the records come in."""
    records = [record for step in _STEPS for record in _checkpoint(rule, step, score=(step * 3 % 5) / 5, loss=1.0)]
    chosen = rule.choose(records)
    assert chosen in _STEPS, f"{rule.name} chose step {chosen}, of which there is no record"
    assert rule.choose(records[::-1]) == chosen, f"{rule.name} chose another step when the records were reversed"


def prefers_the_better(rule: SelectionRule) -> None:
    """A checkpoint that is better on all rows is chosen."""
    for best in _STEPS if rule.role is not None else ():
        records = [r for step in _STEPS for r in _checkpoint(rule, step, score=0.5 + 0.1 * (step == best), loss=1.0)]
        chosen = rule.choose(records)
        assert chosen == best, f"{rule.name} chose step {chosen} where {best} is better in every record"


def breaks_ties(rule: SelectionRule) -> None:
    """Of equal scores the least loss is chosen, then the earliest step."""
    if rule.role is None:
        return
    equal = [record for step in _STEPS for record in _checkpoint(rule, step, score=0.5, loss=1.0)]
    assert rule.choose(equal) == _STEPS[0], f"{rule.name} does not choose the earliest of equals"
    falling = [record for step in _STEPS for record in _checkpoint(rule, step, score=0.5, loss=1.0 - step / 10)]
    assert rule.choose(falling) == _STEPS[-1], f"{rule.name} does not choose the least loss of equal scores"


RULE_CONTRACTS: tuple[RuleContract, ...] = (ignores_order, prefers_the_better, breaks_ties)


def check_rule(rule: SelectionRule) -> None:
    """Check what a selection rule promises.

    Raises:
        AssertionError: It breaks a contract; the message says which.
    """
    for contract in RULE_CONTRACTS:
        contract(rule)


def _checkpoint(rule: SelectionRule, step: int, *, score: float, loss: float) -> list[Record]:
    """Records of one checkpoint: all rows, two environments, two groups."""
    role = rule.role or "selection"
    parts = [(None, None), ("north", None), ("south", None), (None, "left"), (None, "right")]
    return [Record(step, role, role, environment, group, score, loss, 10) for environment, group in parts]
