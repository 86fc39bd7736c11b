"""The two files that say what is installed agree."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DIRECT = [*PROJECT["dependencies"], *(each for extra in PROJECT["optional-dependencies"].values() for each in extra)]
LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
PINS = {pin.name: pin.specifier for pin in map(Requirement, (line for line in LINES if not line.startswith("#")))}


@pytest.mark.parametrize("line", DIRECT)
def test_every_direct_dependency_is_pinned_within_its_range(line: str) -> None:
    requirement = Requirement(line)
    (pin,) = PINS[requirement.name]
    assert pin.operator == "=="
    assert requirement.specifier.contains(pin.version)
