"""Models of finished cells, made again from their files alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from holdfast.core.errors import UserError
from holdfast.core.evaluation import Predictor
from holdfast.core.inference import GroupInference
from holdfast.core.method import Method
from holdfast.core.options import instantiate
from holdfast.core.registry import Plugin, create, lookup
from holdfast.core.task import Model, Task, TaskData
from holdfast.experiments.cells import finished_predictor, load_module
from holdfast.experiments.numerics import Numerics
from holdfast.experiments.spec import CellSpec
from holdfast.experiments.store import Cell
from holdfast.training import Budget, SelectionRule

P = TypeVar("P", bound=Plugin)


def finished_model(cell: Cell) -> tuple[Predictor, TaskData, CellSpec]:
    """The model of a finished cell under the usual selection rule, with its data.

    Raises:
        UserError: The data are gone or are no longer those that it was trained on.
    """
    content, provenance = cell.read("spec"), cell.read("provenance")
    task = create(Task, provenance["task"])
    data = task.load()
    if data.fingerprint() != content["task"]["data"]:
        raise UserError(f"the data of {provenance['task']} are not those that cell {cell.key} was trained on any more")
    spec = CellSpec(
        task=task,
        data=content["task"]["data"],
        fold=provenance["fold"],
        chain=tuple(_made_again(Method, method) for method in content["method"]),
        model=_made_again(Model, content["model"]),
        seed=content["seed"],
        budget=Budget(**content["budget"]),
        batch_size=content["batch_size"],
        numerics=Numerics(**content["numerics"]),
        rule=create(SelectionRule, "validation" if data.with_role("selection") else "last"),
    )
    if "groups" in content:
        spec = dataclasses.replace(spec, inference=_made_again(GroupInference, content["groups"]["inference"]))
    model = load_module(spec, cell, data) if cell.is_module else cell.estimator()
    return finished_predictor(spec, cell, data, model), data, spec


def _made_again(base: type[P], description: Mapping[str, Any]) -> P:
    """The plug-in that ``describe`` described."""
    cls = lookup(base.family, description["name"])
    made = instantiate(cls, dict(_flat(description["options"])), what=f"{base.family} {description['name']!r}")
    assert isinstance(made, base)
    return made


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Options with dotted names: a nested one is its class, and its options."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield prefix + name, value["class"]
            yield from _flat({k: v for k, v in value.items() if k != "class"}, f"{prefix}{name}.")
        else:
            yield prefix + name, value
