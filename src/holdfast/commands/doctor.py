"""``holdfast doctor``: whether everything that the program needs is there and works, one line for each check."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from holdfast import __version__
from holdfast.commands.output import print_json, print_text

State = Literal["well", "note", "broken"]
MARKS: dict[State, str] = {"well": "✓", "note": "!", "broken": "✗"}
COLORS: dict[State, str] = {"well": "32", "note": "33", "broken": "31"}
LITTLE_SPACE = 2 * 1024**3


@dataclass(frozen=True)
class Check:
    """What one check found, and what mends it."""

    name: str
    state: State
    found: str
    mend: str = ""


def main(options: argparse.Namespace) -> int:
    """Print every check; 1 where something is broken."""
    checks = list(_checks(Path(options.output)))
    if options.json:
        print_json({"holdfast": __version__, "checks": [asdict(check) for check in checks]})
    else:
        color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        width = max(len(check.name) for check in checks)
        for check in checks:
            mark = MARKS[check.state]
            shown = f"\x1b[{COLORS[check.state]}m{mark}\x1b[0m" if color else mark
            mend = f": {check.mend}" if check.mend else ""
            print_text(f"{shown} {check.name:<{width}}  {check.found}{mend}")
    return 1 if any(check.state == "broken" for check in checks) else 0


def _checks(output: Path) -> Iterator[Check]:
    yield Check("python", "well", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield from _packages()
    yield from _torch()
    yield _torchvision()
    yield from _plugins()
    yield _data_sets()
    yield from _folder(output)
    yield _training()


def _packages() -> Iterator[Check]:
    """What is needed, and what extras bring."""
    from packaging.requirements import Requirement

    extras: dict[str, list[Check]] = {}
    for text in importlib.metadata.requires("holdfast") or []:
        requirement = Requirement(text)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", text)
        if extra is None:
            yield _package(requirement.name, str(requirement.specifier), requirement.specifier.contains)
        elif extra[1] not in ("dev", "docs"):
            found = _package(requirement.name, str(requirement.specifier), requirement.specifier.contains, extra[1])
            extras.setdefault(extra[1], []).append(found)
    for checks in extras.values():
        yield from checks


def _package(name: str, bounds: str, fits: object, extra: str = "") -> Check:
    label = f"{name} ({extra})" if extra else name
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        mend = f"pip install 'holdfast[{extra}]'" if extra else f"pip install '{name}{bounds}'"
        return Check(label, "note" if extra else "broken", "not installed", mend)
    if callable(fits) and fits(version, prereleases=True):
        return Check(label, "well", version)
    return Check(label, "broken", f"{version}, and {bounds} is needed", f"pip install '{name}{bounds}'")


def _torch() -> Iterator[Check]:
    import torch

    build = f"{torch.__version__}, {torch.get_num_threads()} threads"
    if torch.version.cuda is None:
        mps = torch.backends.mps.is_available()
        yield Check("device", "well", f"{build}, {'mps' if mps else 'CPU only'}")
        return
    if not torch.cuda.is_available():
        yield Check(
            "device", "note", f"{build}, built for CUDA {torch.version.cuda} and no GPU is usable: --device cpu"
        )
        return
    try:
        torch.ones(2, device="cuda").sum().item()
    except RuntimeError as error:
        yield Check(
            "device", "broken", f"{build}: {str(error).splitlines()[0]}", "check the driver, or use --device cpu"
        )
        return
    yield Check("device", "well", f"{build}, {torch.cuda.get_device_name()}")


def _torchvision() -> Check:
    """Its wheel beside a CPU build of torch fails at import; this library does without."""
    if importlib.util.find_spec("torchvision") is None:
        return Check("torchvision", "well", "not installed, and not needed")
    try:
        version = importlib.import_module("torchvision").__version__
    except Exception as error:
        return Check("torchvision", "note", f"does not import ({_line(error)}); holdfast does without")
    return Check("torchvision", "well", str(version))


def _plugins() -> Iterator[Check]:
    """Plug-ins of others; one that fails to import would stop every command."""
    from holdfast.core.registry import ENTRY_POINTS, PACKAGES, plugins

    broken = False
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            entry.load()
        except Exception as error:
            broken = True
            what = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
            yield Check(
                f"plug-in {entry.name}", "broken", f"{entry.value} does not import ({what})", "mend or remove it"
            )
        else:
            yield Check(f"plug-in {entry.name}", "well", entry.value)
    if not broken:
        count = sum(len(plugins(family)) for family in PACKAGES)
        yield Check("plug-ins", "well", f"{count} of {len(PACKAGES)} families")


def _data_sets() -> Check:
    folder = os.environ.get("HOLDFAST_DATA")
    if not folder:
        return Check("data sets", "note", "HOLDFAST_DATA names no folder", "only tasks with data of their own run")
    if not Path(folder).is_dir():
        return Check("data sets", "broken", f"HOLDFAST_DATA names {folder}, which is no folder", "set it, or unset it")
    names = sorted(path.parent.name for path in Path(folder).glob("*/*.parquet"))
    return Check("data sets", "well", ", ".join(dict.fromkeys(names)) or f"none in {folder}")


def _folder(output: Path) -> Iterator[Check]:
    """Whether runs can be written and locked, and how much room there is."""
    from filelock import FileLock

    there = next(folder for folder in (output.absolute(), *output.absolute().parents) if folder.exists())
    probe = there / f".holdfast-doctor-{os.getpid()}"
    try:
        with FileLock(probe, timeout=1):
            pass
        probe.unlink(missing_ok=True)
    except OSError as error:
        yield Check("output", "broken", f"cannot write {there} ({error.strerror})", "name another folder with --output")
        return
    free = shutil.disk_usage(there).free
    state: State = "well" if free > LITTLE_SPACE else "note"
    yield Check("output", state, f"{there} can be written and locked, {free / 1024**3:.0f} GiB free")


def _training() -> Check:
    """A few updates of a tiny network, evaluated."""
    import tempfile
    import time

    from holdfast.core.method import Method
    from holdfast.core.registry import create
    from holdfast.core.task import Task
    from holdfast.experiments.cells import finish_cell
    from holdfast.experiments.grid import Grid, load_folds
    from holdfast.experiments.store import CellStore
    from holdfast.training import Budget, SelectionRule

    start = time.perf_counter()
    try:
        task = create(Task, "linreg-patchwork")
        rule = create(SelectionRule, "last")
        chains = ((create(Method, "erm"),),)
        grid = Grid(folds=load_folds(task), chains=chains, seeds=(0,), rule=rule, budget=Budget(3))
        with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
            for fold, spec in grid.specs():
                finish_cell(spec, fold.data, CellStore(Path(folder)))
    except Exception as error:
        return Check("training", "broken", _line(error), "report it with the lines above")
    return Check("training", "well", f"works ({time.perf_counter() - start:.1f} s)")


def _line(error: Exception) -> str:
    """An error as one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
