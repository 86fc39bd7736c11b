"""Search over the options that methods annotate with a search distribution."""

from __future__ import annotations

import dataclasses
import math
import statistics
import warnings
from collections.abc import Callable, Sequence

from holdfast.core.errors import HoldfastError, UserError
from holdfast.experiments.cells import FINAL
from holdfast.experiments.executors import Executor, Inline, Outcome
from holdfast.experiments.grid import Chain, Grid
from holdfast.experiments.proposals import Proposals, Random, Trial, searched
from holdfast.experiments.spec import CellSpec
from holdfast.experiments.store import CellStore
from holdfast.training import SelectionRule
from holdfast.training.records import Record

Progress = Callable[[CellSpec, str, float], None]


@dataclasses.dataclass(frozen=True)
class Limits:
    """When a search ends.

    Attributes:
        trials: Settings per method at most, the given one among them.
        seconds: A method's settings get no successor once their training took so long, on whatever machine and run it
            was: a search that goes on after a stop ends where it would have ended.
    """

    trials: int
    seconds: float = math.inf

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise UserError(f"--seconds is {self.seconds:g}: it must be above 0")


def search(
    grid: Grid,
    limits: Limits,
    store: CellStore,
    report_progress: Progress | None = None,
    executor: Executor = Inline(),  # noqa: B008  # frozen
    proposals: Proposals = Random(),  # noqa: B008  # frozen
) -> list[list[Trial]]:
    """Train every trial of every method on the grid's first seed; returns the trials by method.

    Cells that are finished are read, so that a search which was stopped goes on, with the same settings.

    Args:
        grid: Its chains are searched around, its rule says how good a trial is.
        limits: When it ends.
        store: Where cells are.
        report_progress: Called with the cell, the stage and the part of it that is done.
        executor: Makes the cells.
        proposals: Says which setting comes next.

    Raises:
        UserError: The rule looks at no rows, or no method has an option to search.
    """
    check_searchable(grid)
    grid.check()
    work = _Search(grid, store, report_progress or (lambda spec, stage, part: None), executor)
    if proposals.needs_scores or math.isfinite(limits.seconds):
        return _in_turn(work, limits, proposals)
    return work.trials([settings(chain, limits.trials, proposals) for chain in grid.chains])


def settings(chain: Chain, trials: int, proposals: Proposals) -> list[Chain]:
    """The settings of a method's trials where they do not depend on scores, each once."""
    told: list[Trial] = []
    for _ in range(trials):
        told.append(Trial(proposals.propose(chain, told), None))
    return list(dict.fromkeys(trial.chain for trial in told))


def check_searchable(grid: Grid) -> None:
    """Refuse a search that has nothing to choose by, or nothing to choose from.

    Raises:
        UserError: The rule looks at no rows, or no method has an option with a search distribution.
    """
    if grid.rule.role is None:
        raise UserError(f"a search cannot choose by rule {grid.rule.name!r}: use --select validation")
    if not any(map(searched, grid.chains)):
        raise UserError(f"{', '.join(grid.labels)}: no option to search; name another --method, or run instead")


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


def _in_turn(work: _Search, limits: Limits, proposals: Proposals) -> list[list[Trial]]:
    """Trial by trial, one of each method at a time, until its trials or seconds are spent."""
    asked: list[list[Trial]] = [[] for _ in work.grid.chains]
    for _ in range(limits.trials):
        going = [k for k, told in enumerate(asked) if sum(trial.seconds for trial in told) < limits.seconds]
        if not going:
            break
        next_ones = [[proposals.propose(work.grid.chains[k], asked[k])] for k in going]
        for k, (trial,) in zip(going, work.trials(next_ones), strict=True):
            asked[k].append(trial)
    return [list({trial.chain: trial for trial in told}.values()) for told in asked]


@dataclasses.dataclass(frozen=True)
class _Search:
    """Makes trials."""

    grid: Grid
    store: CellStore
    tell: Progress
    executor: Executor

    def trials(self, chains: Sequence[Sequence[Chain]]) -> list[list[Trial]]:
        """One for each setting, trained on every fold."""
        every = tuple(dict.fromkeys(chain for tried in chains for chain in tried))
        grid = dataclasses.replace(self.grid, chains=every, seeds=self.grid.seeds[:1])
        outcomes = self.executor.run(list(grid.specs()), self.store, None, self.tell)
        return [[self._trial(chain, outcomes) for chain in tried] for tried in chains]

    def _trial(self, chain: Chain, outcomes: Sequence[Outcome]) -> Trial:
        """Mean over folds of the merit of the selected checkpoint; none, with a warning, where training failed."""
        own = [outcome for outcome in outcomes if outcome.spec.chain == chain]
        for outcome in own:
            if outcome.failure:
                warnings.warn(f"trial {outcome.failure}", stacklevel=2)
                return Trial(chain, None)
        cells = [self.store.get(outcome.spec.key) for outcome in own]
        merit = statistics.fmean(merit_of(self.grid.rule, cell.records) for cell in cells)
        return Trial(chain, merit, sum(sum(cell.read("ledger")["seconds"].values()) for cell in cells))


def merit_of(rule: SelectionRule, records: Sequence[Record]) -> float:
    """The score of the checkpoint that a rule selects, as the rule sees it."""
    seen = [r for r in records if r.role == rule.role]
    step = FINAL if all(r.step == FINAL for r in seen) else rule.choose(seen)
    return rule.merit([r for r in seen if r.step == step])[0]
