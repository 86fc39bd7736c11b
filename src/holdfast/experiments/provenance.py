"""What is recorded beside a cell and not hashed: versions, commit, machine, time."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

PROVENANCE = ("versions", "machine", "finished")
"""What :func:`provenance` records; a cell adds its names."""
PACKAGES = ("holdfast", "torch", "numpy", "scikit-learn", "pandas", "lightning-fabric")


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python, of the packages that make the numbers, and the git commit of a source checkout."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    commit = _commit()
    return {**found, "commit": commit} if commit else found


def provenance() -> dict[str, Any]:
    """Versions, machine and time of now."""
    return {
        "versions": versions(),
        "machine": f"{platform.system()} {platform.machine()}",
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _commit() -> str | None:
    """The commit of the checkout that holds this package; None where it is installed from elsewhere."""
    here = Path(__file__).resolve().parent
    root = here.parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
