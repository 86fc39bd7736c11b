"""What verbs print: results on stdout, progress on stderr."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

from holdfast.experiments.spec import CellSpec


def print_json(value: Any) -> None:
    """One JSON object on stdout; numbers that are not finite become null."""
    print_text(json.dumps(_finite(value), indent=1, ensure_ascii=False, default=str))


def print_text(text: str) -> None:
    """Text on stdout."""
    sys.stdout.write(text + "\n")


@contextlib.contextmanager
def progress(total: int, *, quiet: bool) -> Iterator[Callable[[CellSpec, str, float], None]]:
    """A bar over cells on stderr, and the stage of the running one; nothing where stderr is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda spec, stage, part: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        cells = bar.add_task("cells", total=total)
        done: set[tuple[str, str]] = set()

        def tell(spec: CellSpec, stage: str, part: float) -> None:
            if stage == "done":
                done.add((spec.fold, spec.key))
            inside = part if stage not in ("done", "evaluating") else 0.0
            bar.update(
                cells,
                completed=len(done) + min(inside, 0.99),
                description=f"{spec.label} seed {spec.seed} {spec.fold} {stage}",
            )

        yield tell


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
