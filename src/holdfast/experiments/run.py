"""A run: a grid made, evaluated and kept in a folder from which its report can be made again."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.core.artifacts import from_json, to_json
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Evaluation
from holdfast.core.files import read_json, write_json
from holdfast.core.words import count
from holdfast.experiments.evaluate import Evaluated, read_result
from holdfast.experiments.executors import Executor, Inline, make_grid
from holdfast.experiments.grid import Fold, Grid
from holdfast.experiments.results import RunResult, TaskSummary
from holdfast.experiments.spec import CellSpec, hash_of, label_of, looks_at_environments
from holdfast.experiments.store import CellStore
from holdfast.methods.pooled import Pooled
from holdfast.selection.samplers import MAX_ENVIRONMENTS

FEW_ROWS = 30
"""Of a test environment with fewer rows than these a report warns."""

Progress = Callable[[CellSpec, str, float], None]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run's folder keeps besides cells: enough to read its result from files alone.

    Attributes:
        command: The command line that makes it again.
        task: Its facts.
        methods: Labels in the order asked for.
        rule: Reference of the selection rule.
        cells: The evaluated cells.
        trials: Settings tried for each method.
        warnings, failures: What a reader should know; which trainings failed.
    """

    command: str
    task: TaskSummary
    methods: tuple[str, ...]
    rule: str
    rule_oracle: bool
    cells: tuple[Evaluated, ...]
    trials: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()


def run_grid(
    grid: Grid,
    root: Path,
    evaluations: Sequence[Evaluation],
    *,
    command: str,
    trials: Mapping[str, int] | None = None,
    executor: Executor = Inline(),  # noqa: B008  # frozen
    report_progress: Progress | None = None,
) -> Path:
    """Make a grid below a root folder and keep the run; returns the run's folder.

    Args:
        grid: What to make.
        root: Holds ``cells/`` and one folder per run.
        evaluations: What to measure.
        command: The command line that makes it again.
        trials: Settings tried for each method; one each by default.
        executor: Makes the cells.
        report_progress: Called with the cell, the stage and the part of it that is done.
    """
    made = make_grid(grid, CellStore(root / "cells"), evaluations, executor, report_progress)
    record = RunRecord(
        command=command,
        task=_with_inference(summary_of(grid.folds, grid.batch_size), grid),
        methods=grid.labels,
        trials=trials or dict.fromkeys(grid.labels, 1),
        rule=grid.rule.reference,
        rule_oracle=grid.rule.oracle,
        cells=made.cells,
        warnings=_warnings(grid),
        failures=made.failures,
    )
    return keep_run(root, record)


def keep_run(root: Path, record: RunRecord) -> Path:
    """Write a run's record to its folder, named by the task and a hash of its cells."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(record.task.reference.partition(":")[0]).stem) or "run"
    folder = root / f"{name}-{hash_of([dataclasses.asdict(cell) for cell in record.cells])[:8]}"
    content = dataclasses.asdict(record)
    content["task"]["pictures"] = [to_json(picture) for picture in record.task.pictures]
    write_json(folder / "run.json", content)
    return folder


def read_run(folder: Path) -> RunResult:
    """The result of a run from its files alone.

    Args:
        folder: A run's folder, beside ``cells/``.

    Raises:
        UserError: It is not a run's folder, or a file is missing or damaged.
    """
    if not (folder / "run.json").exists():
        raise UserError(f"{folder} is not the folder of a run: it has no run.json; name one that holdfast run printed")
    record = _read_record(folder / "run.json")
    store = CellStore(folder.resolve().parent / "cells")
    for cell in record.cells:
        if not (store.root / cell.key).exists():
            mend = "put the folder back beside its cells, or run its command again"
            raise UserError(f"cell {cell.key} of {folder} is not in {store.root}: {mend}")
    return RunResult(
        command=record.command,
        task=record.task,
        methods=record.methods,
        cells=tuple(read_result(store, cell) for cell in record.cells),
        rule=record.rule,
        rule_oracle=record.rule_oracle,
        trials=record.trials,
        warnings=record.warnings,
        failures=record.failures,
    )


def _read_record(path: Path) -> RunRecord:
    content = read_json(path)
    try:
        task = content["task"]
        pictures = tuple(from_json(picture) for picture in task["pictures"])
        parts = {
            "task": TaskSummary(**{**task, "notes": tuple(task["notes"]), "pictures": pictures}),
            "methods": tuple(content["methods"]),
            "cells": tuple(Evaluated(**cell) for cell in content["cells"]),
            "warnings": tuple(content["warnings"]),
            "failures": tuple(content["failures"]),
        }
        return RunRecord(**{**content, **parts})
    except (KeyError, TypeError):
        raise UserError(f"{path} is damaged: run the command again, finished cells are kept") from None


def summary_of(folds: Sequence[Fold], batch_size: int | None = None) -> TaskSummary:
    """The facts of a task that a report shows; of a folded one, those of its first fold and who is held out when."""
    first = folds[0].data
    notes = _notes(folds)
    if len(folds) > 1:
        held_out = "; ".join(fold.name for fold in folds)
        notes = (
            *notes,
            f"every environment is held out in turn, in {len(folds)} folds: {held_out}",
            f"what is shown of the environments is the fold that holds out {folds[0].name}",
        )
    environments = len(first.with_role("train")[0].data.environment.present())
    seen = min(environments, MAX_ENVIRONMENTS)
    each = max(1, (batch_size or first.batch_size) // seen)
    rows, of_all = count(each, "row"), count(environments, "training environment")
    return TaskSummary(
        reference=folds[0].task.title,
        kind=first.kind,
        question=(len(folds) > 1 and folds[0].task.question) or first.question,
        stable=first.stable,
        shortcut=first.shortcut,
        notes=notes,
        pictures=first.pictures,
        per_step=f"{seen} of {of_all}, {rows} of each, unless a method says otherwise",
    )


def _with_inference(summary: TaskSummary, grid: Grid) -> TaskSummary:
    """The facts with where the groups come from that methods see in place of environments."""
    if grid.inference is None:
        return summary
    note = (
        f"methods that look at environments see groups instead, which {grid.inference.reference} inferred from a "
        f"network trained by {Pooled.name} for {100 * grid.inference.first:.3g} % of the updates; what is measured "
        "keeps the task's own environments and groups"
    )
    per_step = "as many rows of each inferred group, unless a method says otherwise"
    return dataclasses.replace(summary, notes=(*summary.notes, note), per_step=per_step)


def _notes(folds: Sequence[Fold]) -> tuple[str, ...]:
    """The notes of all folds, each once; those that differ in their counts only are one, and some are of one fold."""
    found: dict[str, list[tuple[str, str]]] = {}
    for fold in folds:
        for note in fold.data.notes:
            found.setdefault(re.sub(r"\d[\d,]*", "#", note), []).append((fold.name, note))
    return tuple(
        told[0][1] if len(told) >= len(folds) else f"{told[0][1]} (where {told[0][0]} is held out)"
        for told in found.values()
    )


def _warnings(grid: Grid) -> tuple[str, ...]:
    """What a reader should know before believing a number."""
    warnings = []
    if len(grid.seeds) < 5:
        warnings.append(f"{count(len(grid.seeds), 'seed')}: no method is called better than another under five")
    if grid.rule.oracle:
        warnings.append(
            f"checkpoints were selected by {grid.rule.name}, which looks at test rows: upper bounds, no results"
        )
    return (*warnings, *_blind_methods(grid), *_small_environments(grid))


def _blind_methods(grid: Grid) -> Iterator[str]:
    """For which methods inferred groups change nothing."""
    blind = [label_of(chain) for chain in grid.chains if not looks_at_environments(chain)]
    if grid.inference is not None and blind:
        listed, verb = ", ".join(blind), "looks" if len(blind) == 1 else "look"
        yield f"{listed} {verb} at no environments: inferred groups change nothing there"


def _small_environments(grid: Grid) -> Iterator[str]:
    """By test split, the environments of which few rows are tested over all folds."""
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for split in (split for fold in grid.folds for split in fold.data.with_role("test")):
        environment = split.data.environment
        names = [environment.names[code] for code in environment.present()]
        sizes[split.name].update(dict(zip(names, environment.counts(), strict=True)))
    for split_name, by_name in sizes.items():
        small = [f"{name!r} ({size})" for name, size in by_name.items() if size < FEW_ROWS]
        if small:
            listed = ", ".join(small[:5]) + (f" and {len(small) - 5} more" if len(small) > 5 else "")
            yield f"few rows on {split_name}, so that the numbers of these environments are rough: {listed}"
