"""The contract of tasks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from holdfast.core.data import Column, Dataset
from holdfast.core.registry import create
from holdfast.core.task import Task, TaskData

TaskContract = Callable[[Task, TaskData], None]


def loads_alike(task: Task, data: TaskData) -> None:
    """Equal options give equal data."""
    assert task.load().fingerprint() == data.fingerprint(), f"{task.reference} gave other data when loaded again"


def has_train_and_test(task: Task, data: TaskData) -> None:
    """There are rows to train on and rows to test on, and no split is empty."""
    for role in ("train", "test"):
        assert data.with_role(role), f"{task.reference} has no rows in role {role!r}"
    for split in data.splits:
        assert len(split.data), f"split {split.name!r} of {task.reference} is empty"
        assert len(set(split.data.index.tolist())) == len(split.data), f"split {split.name!r} has a row id twice"


def has_valid_rows(task: Task, data: TaskData) -> None:
    """Inputs are finite, labels are of the task's kind, and every code has a name."""
    for split in data.splits:
        rows, where = split.data, f"split {split.name!r} of {task.reference}"
        inputs = rows.batch().x
        for x in inputs.values() if isinstance(inputs, dict) else [inputs]:
            assert not x.is_floating_point() or torch.isfinite(x).all(), f"{where} has inputs that are not finite"
        for name, column in {"environment": rows.environment, **rows.attributes}.items():
            _check_codes(column, f"column {name!r} of {where}")
        if rows.y is not None:
            _check_labels(rows.y, data, where)
        if rows.weight is not None:
            assert torch.isfinite(rows.weight).all(), f"{where} has weights that are not finite"
            assert (rows.weight >= 0).all(), f"{where} has negative weights"


def has_columns_alike(task: Task, data: TaskData) -> None:
    """Every split has the same columns with the same names for codes, the groups of the evaluation among them."""
    first = _columns(data.splits[0].data)
    for split in data.splits:
        assert _columns(split.data) == first, f"the columns of split {split.name!r} differ from those of the first"
        data.group_column(split.data)


def has_a_model(task: Task, data: TaskData) -> None:
    """The default architecture takes the task's rows and gives what its kind asks for."""
    network = data.model.build(data.input_shape, data.outputs).eval()
    for split in data.splits:
        outputs = network(split.data.batch(slice(0, 3)).x)
        assert outputs.shape == (min(3, len(split.data)), data.outputs), f"the model gives {tuple(outputs.shape)}"


def says_what_it_asks(task: Task, data: TaskData) -> None:
    """The report's first line is there."""
    assert data.question.strip(), f"{task.reference} has no question: say in one sentence what is asked of a model"


def has_folds(task: Task, data: TaskData) -> None:
    """The tasks that a run stands for are named by references that make them again."""
    folds = task.folds()
    assert folds, f"{task.reference} stands for no task: folds() must give at least itself"
    for fold in folds:
        assert create(Task, fold.reference) == fold, f"{fold.reference!r} is read back as another task"


def renders_alike(task: Task, data: TaskData) -> None:
    """Where a task can draw rows from factors, the same factors and noise give the same rows of the right shape."""
    if data.render is None:
        return
    for split in data.splits:
        rows = split.data.take(torch.arange(min(5, len(split.data))))
        factors = {"label": rows.labels, **{name: column.codes for name, column in rows.attributes.items()}}
        drawn, again = data.render(factors, rows.index), data.render(factors, rows.index)
        assert torch.equal(drawn, again), f"{task.reference} draws other rows from the same factors and noise"
        assert drawn.shape[1:] == data.input_shape, f"{task.reference} draws rows of shape {tuple(drawn.shape[1:])}"


def associates_factors(task: Task, data: TaskData) -> None:
    """Each association is of an attribute column, and names a class for every value or for none."""
    for factor, classes in data.associations.items():
        for split in data.splits:
            assert factor in split.data.attributes, f"{task.reference}: no column {factor!r} in split {split.name!r}"
            values = len(split.data.attributes[factor].names)
            assert len(classes) in (0, values), f"{task.reference}: {len(classes)} classes for {values} of {factor!r}"
        known = all(0 <= label < len(data.classes) for label in classes)
        assert known, f"{task.reference} associates {factor!r} with classes that are not there: {classes}"


TASK_CONTRACTS: tuple[TaskContract, ...] = (
    loads_alike,
    has_train_and_test,
    has_valid_rows,
    has_columns_alike,
    has_a_model,
    says_what_it_asks,
    has_folds,
    renders_alike,
    associates_factors,
)


def check_task(task: Task) -> None:
    """Check what a task promises.

    Raises:
        AssertionError: It breaks a contract; the message says which.
    """
    data = task.load()
    for contract in TASK_CONTRACTS:
        contract(task, data)


def _check_codes(column: Column, what: str) -> None:
    assert column.codes.dtype == torch.int64, f"{what} holds {column.codes.dtype}: codes are int64"
    low, high = int(column.codes.min()), int(column.codes.max())
    assert low >= -1, f"{what} holds {low}: unknown is -1"
    assert high < len(column.names), f"{what} holds {high} and has {len(column.names)} names"


def _check_labels(y: Tensor, data: TaskData, where: str) -> None:
    if data.kind == "regression":
        assert y.is_floating_point(), f"{where} has labels {y.dtype}: targets are floating-point numbers"
        assert torch.isfinite(y).all(), f"{where} has labels that are not finite"
    else:
        _check_codes(Column(y, data.classes), f"the label of {where}")
        assert int(y.min()) >= 0, f"{where} has unknown labels"


def _columns(rows: Dataset) -> dict[str, tuple[str, ...]]:
    return {name: column.names for name, column in {"environment": rows.environment, **rows.attributes}.items()}
