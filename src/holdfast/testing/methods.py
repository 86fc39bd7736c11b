"""The contract of methods."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.core.data import Dataset
from holdfast.core.ledger import Ledger
from holdfast.core.method import Method
from holdfast.core.predictors import EstimatorPredictor, ModulePredictor
from holdfast.core.registry import create
from holdfast.core.seeds import numpy_rng
from holdfast.core.task import TaskData, training_view
from holdfast.testing.reach import reachable_tensors
from holdfast.testing.toys import toy_task
from holdfast.training import Budget, FolderStore, MemoryStore, Trainer
from holdfast.training.stages import StageStore

MethodContract = Callable[[Method, TaskData], None]
_STEPS = 10
_BATCH = 24


def gives_outputs(method: Method, task: TaskData) -> None:
    """The model gives finite outputs of the width that the task's kind asks for, on one thread of the CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        outputs = _outputs(_fit(method, task).model, task)
        assert torch.get_num_threads() == 1, f"{method.name} changes the number of threads"
    finally:
        torch.set_num_threads(threads)
    assert torch.isfinite(outputs).all(), f"{method.name} gives outputs that are not finite"


def follows_the_seed(method: Method, task: TaskData) -> None:
    """Equal seeds give bit-identical models, whatever the state of the global generators, which stays as it was."""
    with _global_seeds(1):
        before = _global_states()
        first = _fit(method, task)
        assert _global_states() == before, f"{method.name} draws from a global generator: use the trainer's"
    with _global_seeds(2):
        _check_same(first, _fit(method, task), task, f"{method.name} gives another model for the same seed")


def differs_by_seed(method: Method, task: TaskData) -> None:
    """Training with another seed gives another model."""
    first, other = _fit(method, task, seed=0), _fit(method, task, seed=1)
    if first.trainer.fits:
        assert not torch.equal(_outputs(first.model, task), _outputs(other.model, task)), (
            f"{method.name} gives the same model for two seeds"
        )


def resumes(method: Method, task: TaskData) -> None:
    """Killed anywhere and started again, it ends with the same bits: weights, history and costs."""
    counting = _KilledStore(MemoryStore())
    whole = _fit(method, task, store=counting)
    for kill in _late(counting.saves, numpy_rng(0, "kill", method.name, task.kind)):
        with tempfile.TemporaryDirectory() as folder:
            store = FolderStore(Path(folder))
            with contextlib.suppress(_Killed):
                _fit(method, task, store=_KilledStore(store, at=kill))
            resumed = _fit(method, task, store=store)
        what = f"{method.name}, killed at its save {kill} of {counting.saves} and resumed,"
        _check_same(whole, resumed, task, f"{what} ends with another model: some state is not in its checkpoints")
        assert _histories(whole) == _histories(resumed), f"{what} has another history"
        assert _costs(whole) == _costs(resumed), f"{what} counts other costs: {_costs(resumed)}, not {_costs(whole)}"


def loads(method: Method, task: TaskData) -> None:
    """``build``, without any row, and the saved weights give the same outputs."""
    fitted = _fit(method, task)
    if isinstance(fitted.model, nn.Module):
        view = dataclasses.replace(training_view(task, method.needs(), Ledger()), data={})
        base = _erm().build(view) if method.needs().base else None
        again = method.build(view, base=base)
        again.load_state_dict(fitted.model.state_dict())
        same = torch.equal(_outputs(again, task), _outputs(fitted.model, task))
        assert same, f"{method.name}: a model that is built and loaded differs from the trained one"


def cannot_reach_test_rows(method: Method, task: TaskData) -> None:
    """Nothing that the method is given leads to an input of a test row, nor to the task's own memory."""
    view = training_view(task, method.needs(), Ledger())
    test = torch.cat([values for split in task.with_role("test") for values in _inputs(split.data)])
    own = {tensor.data_ptr() for split in task.splits for tensor in reachable_tensors(split.data) if len(tensor)}
    for tensor in reachable_tensors(view):
        assert tensor.data_ptr() not in own, f"{method.name} is given memory of the task"
        if tensor.is_floating_point():
            assert not torch.isin(tensor, test.to(tensor.dtype)).any(), f"{method.name} can reach a test row"


def leaves_rows_alone(method: Method, task: TaskData) -> None:
    """The rows are the same after training as before."""
    view = training_view(task, method.needs(), Ledger())
    before = {role: data.fingerprint() for role, data in view.data.items()}
    trainer = _trainer()
    method.fit(view, trainer, _base(method, task))
    changed = [role for role, data in view.data.items() if data.fingerprint() != before[role]]
    assert not changed, f"{method.name} changes the rows of {', '.join(changed)}"


def honours_row_weights(method: Method, task: TaskData) -> None:
    """Rows of weight zero do not count: their labels may change."""

    def off_by(change: int) -> TaskData:
        def weighted(rows: Dataset) -> Dataset:
            off = torch.arange(len(rows)) % 5 == 0
            y = torch.where(off, rows.labels.roll(change), rows.labels)
            return dataclasses.replace(rows, y=y, weight=(~off).float())

        return _with_rows(task, weighted)

    base = _base(method, task)
    first, second = (_outputs(_fit(method, off_by(change), base=base).model, task) for change in (1, 2))
    assert torch.equal(first, second), f"{method.name} lets rows of weight zero count"


def takes_any_environments(method: Method, task: TaskData) -> None:
    """One environment only, one of a single row, and rows of unknown environment: training works."""
    odd = {
        "one environment": lambda n: torch.zeros(n, dtype=torch.int64),
        "an environment of one row": lambda n: (torch.arange(n) == 3).long(),
        "rows of unknown environment": lambda n: torch.arange(n) % 3 - 1,
    }
    for name, codes in odd.items():
        outputs = _outputs(_fit(method, _with_environments(task, codes)).model, task)
        assert torch.isfinite(outputs).all(), f"{method.name} gives no finite outputs with {name}"


METHOD_CONTRACTS: tuple[MethodContract, ...] = (
    gives_outputs,
    follows_the_seed,
    differs_by_seed,
    resumes,
    loads,
    cannot_reach_test_rows,
    leaves_rows_alone,
    honours_row_weights,
    takes_any_environments,
)


def check_method(method: Method, task: TaskData | None = None) -> None:
    """Check what a method promises, in a few seconds.

    Args:
        method: With its options.
        task: What to train on, with a small budget; by default a toy of each kind that the method can do.

    Raises:
        AssertionError: It breaks a contract; the message says which and how to mend it.
    """
    for data in toys_for(method) if task is None else [task]:
        for contract in METHOD_CONTRACTS:
            contract(method, data)


def toys_for(method: Method) -> list[TaskData]:
    """A toy task of each kind that a method can do, with the columns that it needs."""
    needs = method.needs()
    return [toy_task(kind, columns=needs.columns or ("attribute",)) for kind in needs.kinds]


@dataclass(frozen=True)
class _Fitted:
    model: Any
    trainer: Trainer


class _Killed(BaseException):
    """Stands for the end of the process."""


@dataclass
class _KilledStore:
    """Lets ``at`` saves pass and then kills the process."""

    store: StageStore
    at: int | None = None
    saves: int = 0

    def save(self, stage: str, kind: str, tree: Any) -> None:
        if self.saves == self.at:
            raise _Killed
        self.saves += 1
        self.store.save(stage, kind, tree)

    def load(self, stage: str, kind: str) -> Any | None:
        return self.store.load(stage, kind)


def _late(saves: int, rng: np.random.Generator) -> list[int]:
    """A save to be killed at, after the first checkpoints; none where a method saves nothing."""
    return [int(rng.integers(saves // 2, saves))] if saves else []


def _trainer(seed: int = 0, store: StageStore | None = None) -> Trainer:
    return Trainer(seed=seed, budget=Budget(_STEPS), batch_size=_BATCH, store=store, checkpoint_seconds=0)


def _fit(
    method: Method, task: TaskData, *, seed: int = 0, store: StageStore | None = None, base: nn.Module | None = None
) -> _Fitted:
    trainer = _trainer(seed, store)
    view = training_view(task, method.needs(), trainer.ledger)
    return _Fitted(method.fit(view, trainer, copy.deepcopy(base) or _base(method, task)), trainer)


def _erm() -> Method:
    return create(Method, "erm")


def _base(method: Method, task: TaskData) -> nn.Module | None:
    """A model to repair, where the method repairs."""
    return _fit(_erm(), task).model if method.needs().base else None


def _outputs(model: Any, task: TaskData) -> Tensor:
    """(N, K) outputs on all rows of the task."""
    kind = ModulePredictor if isinstance(model, nn.Module) else EstimatorPredictor
    predictor = kind(model, task.kind, task.classes)
    return torch.cat([predictor.predict(split.data).outputs for split in task.splits])


def _check_same(first: _Fitted, second: _Fitted, task: TaskData, message: str) -> None:
    assert torch.equal(_outputs(first.model, task), _outputs(second.model, task)), message
    if isinstance(first.model, nn.Module):
        weights = second.model.state_dict()
        assert all(torch.equal(tensor, weights[name]) for name, tensor in first.model.state_dict().items()), message


def _histories(fitted: _Fitted) -> dict[str, Any]:
    return {name: (fit.steps, fit.kept, fit.selected, fit.history) for name, fit in fitted.trainer.fits.items()}


def _costs(fitted: _Fitted) -> dict[str, Any]:
    return {name: value for name, value in fitted.trainer.ledger.as_dict().items() if name != "seconds"}


@contextlib.contextmanager
def _global_seeds(seed: int) -> Iterator[None]:
    """The global generators of torch, NumPy and Python, seeded for a block."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


def _global_states() -> tuple[Any, ...]:
    array = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    return torch.get_rng_state().tolist(), array["key"].tolist(), array["pos"], random.getstate()


def _inputs(rows: Dataset) -> list[Tensor]:
    """The values of the first 20 rows' floating-point inputs that are not 0 or 1, which any tensor may hold."""
    parts = rows.batch(slice(0, 20)).x
    tensors = [x.flatten() for x in (parts.values() if isinstance(parts, dict) else [parts]) if x.is_floating_point()]
    return [x[(x != 0) & (x != 1)] for x in tensors]


def _with_rows(task: TaskData, change: Callable[[Dataset], Dataset]) -> TaskData:
    """The task with changed rows in every role but the test."""
    splits = [s if s.role == "test" else dataclasses.replace(s, data=change(s.data)) for s in task.splits]
    return dataclasses.replace(task, splits=tuple(splits))


def _with_environments(task: TaskData, codes: Callable[[int], Tensor]) -> TaskData:
    """The task with other environments; ``codes`` makes them for a number of rows."""

    def change(rows: Dataset) -> Dataset:
        return dataclasses.replace(rows, environment=dataclasses.replace(rows.environment, codes=codes(len(rows))))

    return _with_rows(task, change)
