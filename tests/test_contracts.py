"""Every plug-in keeps its contract: the registry says who is tested, so that nothing can be added untested."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from holdfast.core.augmentation import Augmentation
from holdfast.core.method import Method
from holdfast.core.options import option_table, options_of
from holdfast.core.predictors import EstimatorPredictor, ModulePredictor
from holdfast.core.registry import PACKAGES, Plugin, create, plugins
from holdfast.core.task import Model, Task, TaskData, training_view
from holdfast.methods.erm import ERM
from holdfast.testing import (
    AUGMENTATION_CONTRACTS,
    METHOD_CONTRACTS,
    MODEL_CONTRACTS,
    PLUGIN_CONTRACTS,
    RULE_CONTRACTS,
    TASK_CONTRACTS,
)
from holdfast.testing.augmentations import AugmentationContract
from holdfast.testing.methods import MethodContract, toys_for
from holdfast.testing.models import ModelContract, accepted
from holdfast.testing.plugins import PluginContract
from holdfast.testing.rules import RuleContract
from holdfast.testing.tasks import TaskContract
from holdfast.training import Budget, SelectionRule, Trainer

ALL = [pytest.param(cls, id=f"{family}-{name}") for family in PACKAGES for name, cls in plugins(family).items()]
METHODS = [
    *plugins("method"),
    "balanced:groups=attribute*environment",
    "group-dro:groups=attribute",
    "dfr:groups=attribute",
    'last-layer-ensemble:interventions=["attribute"]',
    'factor-randomization:factors=["attribute"]',
]
# Those that name a file or a function are put to the contract where there is one: tests/models/test_own.py.
MODELS = [name for name, cls in plugins("model").items() if not any(option["required"] for option in option_table(cls))]


def named(contracts: tuple) -> list:
    return [pytest.param(contract, id=contract.__name__) for contract in contracts]


@pytest.mark.parametrize("contract", named(PLUGIN_CONTRACTS))
@pytest.mark.parametrize("cls", ALL)
def test_plugins(cls: type[Plugin], contract: PluginContract) -> None:
    contract(cls)


@pytest.mark.parametrize("contract", named(METHOD_CONTRACTS))
@pytest.mark.parametrize("method", METHODS)
def test_methods(method: str, contract: MethodContract) -> None:
    instance = create(Method, method)
    for task in toys_for(instance):
        contract(instance, task)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("method", METHODS)
def test_methods_on_a_graphics_card(method: str) -> None:
    instance = create(Method, method)
    for task in toys_for(instance):
        base = trained_on_a_graphics_card(ERM(), task) if instance.needs().base else None
        model = trained_on_a_graphics_card(instance, task, base)
        rows = task.split("test").data
        if isinstance(model, nn.Module):
            outputs = ModulePredictor(model, task.kind, task.classes).predict(rows).outputs
        else:
            outputs = EstimatorPredictor(model, task.kind, task.classes).predict(rows).outputs
        assert torch.isfinite(outputs).all()


def trained_on_a_graphics_card(method: Method, task: TaskData, base: nn.Module | None = None) -> Any:
    trainer = Trainer(budget=Budget(10), batch_size=24, device="cuda")
    return method.fit(training_view(task, method.needs(), trainer.ledger), trainer, base)


@pytest.mark.parametrize("contract", named(MODEL_CONTRACTS))
@pytest.mark.parametrize("model", MODELS)
def test_models(model: str, contract: ModelContract) -> None:
    instance = create(Model, model)
    for shape in accepted(instance):
        contract(instance, shape)


@pytest.mark.parametrize("contract", named(AUGMENTATION_CONTRACTS))
@pytest.mark.parametrize("augmentation", plugins("augmentation"))
def test_augmentations(augmentation: str, contract: AugmentationContract) -> None:
    contract(create(Augmentation, augmentation))


@pytest.mark.parametrize("contract", named(RULE_CONTRACTS))
@pytest.mark.parametrize("rule", plugins("rule"))
def test_rules(rule: str, contract: RuleContract) -> None:
    contract(create(SelectionRule, rule))


@pytest.mark.parametrize("contract", named(TASK_CONTRACTS))
@pytest.mark.parametrize("name", plugins("task"))
def test_tasks(name: str, contract: TaskContract, tmp_path: Path) -> None:
    task = example_task(name, tmp_path)
    contract(task, task.load())


def example_task(name: str, folder: Path) -> Task:
    """The task with its defaults, on 120 rows of a table, 60 images of a folder, or 1,000 of a named data set."""
    options = options_of(plugins("task")[name])
    embedded = "source" in options and options["source"].default == "digits"
    if "data_dir" in options and not embedded:
        if not os.environ.get("HOLDFAST_DATA"):
            pytest.skip(f"HOLDFAST_DATA does not name the folder with the data set of {name}")
        return create(Task, name, **({"rows": 1000} if "rows" in options else {}))
    if name == "image-folder":
        for i in range(60):
            path = folder / "ab"[i % 2] / "xyz"[i % 3] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (6, 5), i).save(path)
        return create(Task, name, path=str(folder), environment="folder-2", holdout_environment="z")
    if name != "table":
        return create(Task, name)
    rows = [f"{i % 3},{'abcd'[i % 4]},{i * 7 % 11},{'xy'[i % 2]}" for i in range(120)]
    path = folder / "table.csv"
    path.write_text("\n".join(["label,site,size,shape", *rows]) + "\n")
    return create(Task, "table", path=str(path), label="label", environment="site", holdout_environment="d")
