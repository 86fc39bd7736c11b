from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.lazy import LazyInputs
from holdfast.core.ledger import Ledger
from holdfast.core.method import Method
from holdfast.core.predictors import blocks, forward
from holdfast.core.registry import create
from holdfast.core.task import TaskData, concatenate, training_view
from holdfast.methods import _estimators
from holdfast.testing import check_method, toy_task
from holdfast.testing.methods import cannot_reach_test_rows
from holdfast.training import Budget, Trainer


@dataclass
class Memory:
    """Reads rows of a tensor that stands for a disk, and counts them."""

    values: Tensor
    made: int = 0

    row_shape = property(lambda self: tuple(self.values.shape[1:]))
    dtype = property(lambda self: self.values.dtype)

    def __len__(self) -> int:
        return len(self.values)

    def read(self, rows: Tensor) -> Tensor:
        self.made += len(rows)
        return self.values[rows]

    def take(self, rows: Tensor) -> Memory:
        return Memory(self.values[rows])

    def keys(self) -> Iterator[str]:
        return (str(row.tolist()) for row in self.values)


def numbers(n: int, start: int = 0) -> Tensor:
    return torch.arange(float(start), start + 3.0 * n).reshape(n, 3)


def lazy(x: Tensor) -> LazyInputs:
    return LazyInputs.of(Memory(x))


def lazily(data: Dataset) -> Dataset:
    assert isinstance(data.x, Tensor)
    return dataclasses.replace(data, x=lazy(data.x))


def lazy_task(task: TaskData) -> TaskData:
    return dataclasses.replace(
        task, splits=tuple(dataclasses.replace(split, data=lazily(split.data)) for split in task.splits)
    )


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.data())
def test_any_rows_of_joined_parts_are_those_of_the_tensors_below_each_other(sizes: list[int], data: st.DataObject):
    whole = numbers(sum(sizes))
    parts = torch.split(whole, sizes)
    joined, n = LazyInputs.cat([lazy(part) for part in parts]), len(whole)
    positions = st.lists(st.integers(-n, n - 1), max_size=8) if n else st.just([])
    for _ in range(3):
        rows = torch.tensor(data.draw(positions), dtype=torch.int64)
        joined, whole = joined.take(rows), whole[rows]
        assert torch.equal(joined[:], whole)
        assert (len(joined), joined.shape) == (len(whole), tuple(whole.shape))
        assert joined.fingerprint() == lazy(whole).fingerprint()
        n = len(whole)
        positions = st.lists(st.integers(-n, n - 1), max_size=8) if n else st.just([])


def test_a_data_set_makes_the_rows_of_a_batch_and_no_others() -> None:
    reader = Memory(numbers(6))
    data = Dataset(LazyInputs.of(reader), torch.arange(6), Column.constant(6))
    _ = data.fingerprint(), data.input_shape, data.to("cpu", torch.float64), concatenate([data, data]), len(data)
    taken = data.take(torch.tensor([4, 1]))
    assert reader.made == 0
    batch = data.batch(torch.tensor([5, 0]))
    assert isinstance(batch.x, Tensor)
    assert batch.x.tolist() == numbers(6)[[5, 0]].tolist()
    assert reader.made == 2
    assert isinstance(taken.x, LazyInputs)
    assert len(taken.x.reader) == 2


def test_precision_and_names_of_inputs_are_as_in_memory() -> None:
    both = {"image": lazy(numbers(4)), "code": lazy(torch.arange(4))}
    data = Dataset(both, None, Column.constant(4)).to("cpu", torch.float64)
    batch = concatenate([data, data]).batch(torch.tensor([7, 2])).x
    assert isinstance(batch, dict)
    assert (batch["image"].dtype, batch["code"].dtype) == (torch.float64, torch.int64)
    assert batch["code"].tolist() == [3, 2]
    assert data.input_shape == (3,)


def test_a_fingerprint_tells_rows_order_shape_and_precision() -> None:
    x = numbers(4)
    variants = [x, x + 1, x.flip(0), x[:3], x.double(), x.reshape(4, 3, 1)]
    prints = [Dataset(lazy(v), None, Column.constant(len(v))).fingerprint() for v in variants]
    assert len(set(prints)) == len(prints)
    assert Dataset(lazy(x.clone()), None, Column.constant(4)).fingerprint() == prints[0]


def test_rows_of_another_shape_or_type_cannot_be_joined() -> None:
    for other in (numbers(2).double(), numbers(2)[:, :2]):
        with pytest.raises(ValueError, match="cannot stand below each other"):
            LazyInputs.cat([lazy(numbers(2)), lazy(other)])


@pytest.mark.parametrize("reference", ["erm", "balanced:groups=label*attribute", "and-mask", "logistic"])
@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_training_on_lazy_rows_gives_the_same_bits(reference: str, precision: str) -> None:
    def trained(task: TaskData) -> dict[str, Tensor]:
        method, trainer = create(Method, reference), Trainer(budget=Budget(20), batch_size=24, precision=precision)
        model = method.fit(training_view(task, method.needs(), trainer.ledger), trainer)
        if reference == "logistic":
            return {"coef": torch.tensor(model.coef_)}
        rows = concatenate([split.data for split in task.splits]).to("cpu", trainer.dtype)
        return {**model.state_dict(), "outputs": forward(model, rows)}

    in_memory, made = trained(toy_task()), trained(lazy_task(toy_task()))
    assert in_memory.keys() == made.keys()
    assert all(torch.equal(values, made[name]) for name, values in in_memory.items())


def test_methods_keep_their_promises_on_lazy_rows() -> None:
    check_method(create(Method, "erm"), lazy_task(toy_task()))


def test_a_reader_that_keeps_other_rows_is_found() -> None:
    class Leaky(Memory):
        def take(self, rows: Tensor) -> Memory:
            return Leaky(self.values)

    task = toy_task()
    train, *others = task.splits
    leaky = dataclasses.replace(train.data, x=LazyInputs.of(Leaky(train.data.x)))
    task = dataclasses.replace(task, splits=(dataclasses.replace(train, data=leaky), *others))
    with pytest.raises(AssertionError, match="memory of the task"):
        cannot_reach_test_rows(create(Method, "erm"), task)


def test_predictions_come_in_blocks_that_fit_into_memory() -> None:
    large = Dataset(lazy(torch.zeros(5, 1 << 17)), None, Column.constant(5))  # half a MiB a row
    assert [block.stop - block.start for block in blocks(large)] == [2, 2, 2]
    larger = Dataset(lazy(torch.zeros(2, 1 << 19)), None, Column.constant(2))
    assert [block.stop - block.start for block in blocks(larger)] == [1, 1]


def test_an_estimator_says_so_before_rows_exceed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_estimators, "free_bytes", lambda: 1000)
    method = create(Method, "logistic")
    with pytest.raises(UserError, match="scikit-learn needs all 96 rows in memory"):
        method.fit(training_view(lazy_task(toy_task()), method.needs(), Ledger()), Trainer())
    method.fit(training_view(toy_task(), method.needs(), Ledger()), Trainer())
