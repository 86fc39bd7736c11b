"""Random search over the options that methods annotate with a search distribution."""

from __future__ import annotations

import dataclasses
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from holdfast.core.errors import HoldfastError, UserError
from holdfast.core.method import Method
from holdfast.core.options import options_of
from holdfast.core.seeds import numpy_rng
from holdfast.experiments.cells import FINAL
from holdfast.experiments.executors import Executor, Inline, Outcome
from holdfast.experiments.grid import Chain, Grid
from holdfast.experiments.spec import CellSpec, label_of
from holdfast.experiments.store import CellStore
from holdfast.training import SelectionRule
from holdfast.training.records import Record

Progress = Callable[[CellSpec, str, float], None]


@dataclass(frozen=True)
class Trial:
    """One setting of a method and how good the selection rule finds it; None where training failed."""

    chain: Chain
    merit: float | None

    @property
    def label(self) -> str:
        """The setting as typed."""
        return label_of(self.chain)


def sampled(chain: Chain, trial: int, seed: int = 0) -> Chain:
    """The setting of a trial: the chain as given for trial 0, otherwise every annotated option drawn afresh.

    Each option has its own random stream, so that adding an option to a method changes no other.
    """
    if trial == 0:
        return chain
    return tuple(_drawn(method, place, trial, seed) for place, method in enumerate(chain))


def search(
    grid: Grid,
    trials: int,
    store: CellStore,
    report_progress: Progress | None = None,
    executor: Executor = Inline(),  # noqa: B008  # frozen
) -> list[list[Trial]]:
    """Train every trial of every method on the grid's first seed; returns the trials by method.

    Args:
        grid: Its chains are searched around, its rule says how good a trial is.
        trials: Settings per method, the given one first.
        store: Where cells are.
        report_progress: Called with the cell, the stage and the part of it that is done.
        executor: Makes the cells.
    """
    check_searchable(grid.rule)
    grid.check()
    settings = [list(dict.fromkeys(sampled(chain, trial) for trial in range(trials))) for chain in grid.chains]
    every = dataclasses.replace(
        grid, chains=tuple(dict.fromkeys(chain for tried in settings for chain in tried)), seeds=grid.seeds[:1]
    )
    outcomes = executor.run(list(every.specs()), store, None, report_progress or (lambda spec, stage, part: None))
    return [[Trial(setting, _merit(grid.rule, setting, outcomes, store)) for setting in tried] for tried in settings]


def check_searchable(rule: SelectionRule) -> None:
    """Refuse a rule that says nothing of how good a setting is.

    Raises:
        UserError: It looks at no rows.
    """
    if rule.role is None:
        raise UserError(f"a search cannot choose by rule {rule.name!r}: use --select validation")


def best(trials: Sequence[Trial]) -> Trial:
    """The trial of highest merit, the first of equals.

    Raises:
        HoldfastError: All failed.
    """
    done = [trial for trial in trials if trial.merit is not None]
    if not done:
        raise HoldfastError(
            f"every trial of {trials[0].chain[-1].name} failed ({len(trials)} in all): see the warnings"
        )
    return max(done, key=lambda trial: trial.merit if trial.merit is not None else float("-inf"))


def _merit(rule: SelectionRule, chain: Chain, outcomes: Sequence[Outcome], store: CellStore) -> float | None:
    """Mean over folds of the merit of the selected checkpoint; None, with a warning, where training failed."""
    own = [outcome for outcome in outcomes if outcome.spec.chain == chain]
    for outcome in own:
        if outcome.failure:
            warnings.warn(f"trial {outcome.failure}", stacklevel=2)
            return None
    return statistics.fmean(merit_of(rule, store.get(outcome.spec.key).records) for outcome in own)


def merit_of(rule: SelectionRule, records: Sequence[Record]) -> float:
    """The score of the checkpoint that a rule selects, as the rule sees it."""
    seen = [r for r in records if r.role == rule.role]
    step = FINAL if all(r.step == FINAL for r in seen) else rule.choose(seen)
    return rule.merit([r for r in seen if r.step == step])[0]


def _drawn(method: Method, place: int, trial: int, seed: int) -> Method:
    return cast(Method, _replaced(method, ("search", method.name, place, trial), seed))


def _replaced(instance: Any, names: tuple[str | int, ...], seed: int) -> Any:
    changes: dict[str, Any] = {}
    for name, option in options_of(type(instance)).items():
        value = getattr(instance, name)
        if option.space is not None:
            changes[name] = option.space.sample(numpy_rng(seed, *names, name))
        elif dataclasses.is_dataclass(value):
            changes[name] = _replaced(value, (*names, name), seed)
    return dataclasses.replace(instance, **changes)
