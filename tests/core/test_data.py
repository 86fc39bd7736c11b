from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError

columns_of_codes = st.integers(0, 12).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(-1, 2), min_size=n, max_size=n) for _ in range(3)])
)


def column(codes: list[int], names: tuple[str, ...] = ("p", "q", "r")) -> Column:
    return Column(torch.tensor(codes, dtype=torch.int64), names)


def dataset() -> Dataset:
    return Dataset(
        x=torch.arange(12.0).reshape(4, 3),
        y=torch.tensor([0, 1, 1, 0]),
        environment=column([0, 1, -1, 1]),
        attributes={"color": column([2, 0, 1, -1]), "sex": column([0, 0, 1, 1])},
        unit=torch.tensor([5, 5, 6, -1]),
        weight=torch.tensor([1.0, 0.0, 2.0, 0.5]),
        index=torch.tensor([10, 11, 12, 13]),
    )


@given(columns_of_codes)
def test_a_product_names_every_combination_that_occurs(codes: tuple[list[int], ...]) -> None:
    parts = {name: column(list(part)) for name, part in zip("abc", codes, strict=True)}
    product = Column.product(parts)
    cells = list(zip(*codes, strict=True))
    known = sorted({cell for cell in cells if min(cell) >= 0})
    names = [", ".join(f"{name}={'pqr'[code]}" for name, code in zip("abc", cell, strict=True)) for cell in known]
    assert list(product.names) == names
    assert product.codes.tolist() == [known.index(cell) if min(cell) >= 0 else -1 for cell in cells]


@given(st.lists(st.integers(-1, 4), max_size=12))
def test_present_codes_and_their_counts(codes: list[int]) -> None:
    found = column(codes, ("a", "b", "c", "d", "e"))
    assert found.present() == sorted({code for code in codes if code >= 0})
    assert found.counts() == [codes.count(code) for code in found.present()]
    assert len(found) == len(codes)


def test_a_constant_column_is_one_environment() -> None:
    constant = Column.constant(3, "here")
    assert (constant.codes.tolist(), constant.names) == ([0, 0, 0], ("here",))


@pytest.mark.parametrize("rows", [[2, 0], [], [1, 1, 1]])
def test_rows_are_taken_with_everything_they_have(rows: list[int]) -> None:
    data, some = dataset(), dataset().take(torch.tensor(rows, dtype=torch.int64))
    assert isinstance(data.x, torch.Tensor)
    assert isinstance(some.x, torch.Tensor)
    assert some.x.tolist() == [data.x[row].tolist() for row in rows]
    assert some.labels.tolist() == [[0, 1, 1, 0][row] for row in rows]
    assert some.environment.codes.tolist() == [[0, 1, -1, 1][row] for row in rows]
    assert some.attributes["color"].codes.tolist() == [[2, 0, 1, -1][row] for row in rows]
    assert some.units.tolist() == [[5, 5, 6, -1][row] for row in rows]
    assert some.weight is not None
    assert some.weight.tolist() == [[1.0, 0.0, 2.0, 0.5][row] for row in rows]
    assert some.index.tolist() == [10 + row for row in rows]
    assert len(some) == len(rows)


def tensors(data: Dataset) -> list[torch.Tensor]:
    x = list(data.x.values()) if isinstance(data.x, dict) else [data.x]
    optional = [t for t in (data.y, data.unit, data.weight) if t is not None]
    return [*x, *optional, data.index, data.environment.codes, *(c.codes for c in data.attributes.values())]


def test_taken_rows_share_no_memory_with_the_others() -> None:
    data = dataset()
    data = dataclasses.replace(data, x={"image": torch.ones(4, 2), "text": torch.zeros(4)})
    before = {t.untyped_storage().data_ptr() for t in tensors(data)}
    some = data.take(torch.arange(4))
    assert len(tensors(some)) == len(tensors(data)) == 9
    assert not before & {t.untyped_storage().data_ptr() for t in tensors(some)}
    assert all(t.untyped_storage().nbytes() == t.nbytes for t in tensors(data.take(torch.tensor([1, 2]))))


def test_a_batch_holds_the_rows_at_its_positions() -> None:
    batch = dataset().batch(torch.tensor([3, 1]))
    assert batch.index.tolist() == [13, 11]
    assert batch.labels.tolist() == [0, 1]
    assert batch.environment.tolist() == [1, 1]
    assert batch.attributes["color"].tolist() == [-1, 0]
    assert len(dataset().batch()) == 4


def test_hidden_labels_cannot_be_read() -> None:
    hidden = dataclasses.replace(dataset(), y=None)
    with pytest.raises(UserError, match="no labels"):
        _ = hidden.labels
    with pytest.raises(UserError, match="no labels"):
        _ = hidden.batch().labels
    with pytest.raises(UserError, match="labels are hidden"):
        hidden.column("label")


def test_every_part_has_one_entry_per_row() -> None:
    for part in ("x", "y", "unit", "weight", "index"):
        with pytest.raises(ValueError, match=f"{part} has 3 rows where the environment column has 4"):
            dataclasses.replace(dataset(), **{part: getattr(dataset(), part)[:3]})
    with pytest.raises(ValueError, match="attribute color has 2 rows"):
        dataclasses.replace(dataset(), attributes={"color": column([0, 1])})


def test_row_ids_are_positions_unless_given() -> None:
    data = Dataset(torch.zeros(3, 2, 5), None, Column.constant(3))
    assert data.index.tolist() == data.units.tolist() == [0, 1, 2]
    assert data.input_shape == (2, 5)
    assert Dataset({"a": torch.zeros(3, 7)}, None, Column.constant(3)).input_shape == (7,)


def test_columns_are_found_by_name() -> None:
    data = dataset()
    assert data.column("environment") is data.environment
    assert data.column("color") is data.attributes["color"]
    assert data.column("label").names == ("0", "1")
    with pytest.raises(UserError, match=r"unknown column 'colour': did you mean 'color'\?"):
        data.column("colour")
    regression = dataclasses.replace(data, y=torch.zeros(4))
    with pytest.raises(UserError, match="labels are numbers"):
        regression.column("label")


def test_grouping_by_columns_changes_the_environment_alone() -> None:
    data = dataset()
    assert data.grouped_by("sex").environment is data.attributes["sex"]
    grouped = data.grouped_by("label * sex")
    assert grouped.environment.names == ("label=0, sex=p", "label=0, sex=q", "label=1, sex=p", "label=1, sex=q")
    assert grouped.environment.codes.tolist() == [0, 2, 3, 1]
    assert dataclasses.replace(grouped, environment=data.environment).fingerprint() == data.fingerprint()


def test_precision_of_numbers_changes_and_codes_stay_integers() -> None:
    moved = dataset().to("cpu", torch.float64)
    assert {t.dtype for t in tensors(moved)} == {torch.float64, torch.int64}
    assert moved.to("cpu").fingerprint() == dataset().fingerprint()


def changes() -> dict[str, Callable[[Dataset], Dataset]]:
    def swap(name: str, value: Any) -> Callable[[Dataset], Dataset]:
        return lambda data: dataclasses.replace(data, **{name: value})

    first = torch.zeros(4, 3)
    first[0, 0] = 1e-30
    data = dataset()
    assert isinstance(data.x, torch.Tensor)
    return {
        "a tiny x": swap("x", data.x + first),
        "precision of x": swap("x", data.x.double()),
        "shape of x": swap("x", data.x.reshape(4, 3, 1)),
        "name of x": swap("x", {"image": data.x}),
        "a label": swap("y", torch.tensor([0, 1, 1, 1])),
        "no labels": swap("y", None),
        "float labels": swap("y", data.labels.float()),
        "labels all zero": swap("y", torch.zeros(4, dtype=torch.int64)),
        "targets all zero": swap("y", torch.zeros(4, dtype=torch.float64)),
        "an environment": swap("environment", column([0, 1, -1, 0])),
        "an environment's name": swap("environment", column([0, 1, -1, 1], ("p", "q", "s"))),
        "an attribute": swap("attributes", {**data.attributes, "sex": column([0, 0, 1, 0])}),
        "an attribute's name": swap("attributes", {"color": data.attributes["color"], "age": data.attributes["sex"]}),
        "an attribute less": swap("attributes", {"color": data.attributes["color"]}),
        "a unit": swap("unit", torch.tensor([5, 6, 6, -1])),
        "no units": swap("unit", None),
        "a weight": swap("weight", torch.tensor([1.0, 0.0, 2.0, 0.25])),
        "no weights": swap("weight", None),
        "a row id": swap("index", torch.tensor([10, 11, 12, 14])),
        "the order": lambda data: data.take(torch.tensor([1, 0, 2, 3])),
        "a row less": lambda data: data.take(torch.arange(3)),
    }


def test_every_change_of_content_changes_the_fingerprint() -> None:
    prints = {name: change(dataset()).fingerprint() for name, change in changes().items()}
    prints["nothing"] = dataset().fingerprint()
    assert len(set(prints.values())) == len(prints), prints


def test_equal_content_has_an_equal_fingerprint_whatever_the_memory_layout() -> None:
    data = dataset()
    assert isinstance(data.x, torch.Tensor)
    transposed = dataclasses.replace(data, x=data.x.T.contiguous().T)
    assert not transposed.x.is_contiguous()  # type: ignore[union-attr]
    assert transposed.fingerprint() == data.take(torch.arange(4)).fingerprint() == data.fingerprint()
