"""Inferred groups in cells: who sees them, what they cost, what is said of them, and what does not change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from holdfast.commands.request import chains_of, evaluations_of
from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.inference import First, GroupInference
from holdfast.core.method import Method
from holdfast.core.task import Needs, Role, TrainingView
from holdfast.experiments import cells
from holdfast.experiments.finished import finished_model
from holdfast.experiments.grid import Grid
from holdfast.experiments.inferred import adjusted_rand
from holdfast.experiments.results import RunResult
from holdfast.experiments.run import read_run, run_grid
from holdfast.experiments.store import CellStore
from holdfast.methods.erm import ERM
from holdfast.training import Trainer

MakeGrid = Callable[..., Grid]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByThirds(GroupInference):
    """Groups by the row's position: every third row is of group ``b``; the reference has to be a network."""

    name: ClassVar[str] = "thirds"
    first: First = 0.5
    only: bool = False

    def infer(self, rows: Dataset, reference: nn.Module, seed: int) -> Column:
        assert isinstance(reference, nn.Module)
        assert not rows.attributes
        assert len(rows.environment.names) == 1
        codes = torch.zeros_like(rows.index) if self.only else (rows.index % 3 == 0).long()
        return Column(codes, ("a", "b"), provenance=self.name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Looker(ERM):
    """Ordinary training that keeps the views that it was given."""

    name: ClassVar[str] = "looker"
    roles: tuple[Role, ...] = ("train",)
    seen: ClassVar[list[TrainingView]] = []

    def needs(self) -> Needs:
        return Needs(roles=self.roles)

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> Any:
        self.seen.append(view)
        return super().fit(view, trainer, model)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    Looker.seen.clear()


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Labels of the cells that are made, in order."""
    labels: list[str] = []
    make = cells._make

    def counting(spec: Any, *arguments: Any) -> Any:
        labels.append(f"{spec.label} {spec.seed} {spec.budget.amount}")
        return make(spec, *arguments)

    monkeypatch.setattr(cells, "_make", counting)
    return labels


def looking(grid: Grid, *roles: Role, inference: GroupInference | None = ByThirds()) -> Grid:
    chain: tuple[Method, ...] = (Looker(roles=("train", *roles)),)
    return dataclasses.replace(grid, chains=(chain,), inference=inference)


def run(grid: Grid, root: Path) -> RunResult:
    return read_run(run_grid(grid, root, evaluations_of("performance"), command="holdfast run tiny"))


def keys(grid: Grid) -> list[str]:
    return [spec.key for _, spec in grid.specs()]


def test_a_method_sees_the_groups_and_what_is_measured_keeps_its_own(tmp_path: Path, make_grid: MakeGrid) -> None:
    result = run(looking(make_grid()), tmp_path)
    (view,) = Looker.seen
    assert torch.equal(view.train.environment.codes, (view.train.index % 3 == 0).long())
    assert view.train.environment.provenance == "thirds"
    (cell,) = result.cells
    assert all(scores.environment_names == ("north", "south") for scores in cell.scores.values())
    assert any("thirds inferred from a network trained by pooled for 50 %" in note for note in result.task.notes)


def test_other_roles_have_groups_where_they_have_labels(tmp_path: Path, make_grid: MakeGrid) -> None:
    run(looking(make_grid(), "holdout", "selection"), tmp_path)
    (view,) = Looker.seen
    for rows in view.data.values():
        assert torch.equal(rows.environment.codes, (rows.index % 3 == 0).long())


def test_products_with_the_label_are_made_of_them(tmp_path: Path, make_grid: MakeGrid) -> None:
    run(looking(make_grid()), tmp_path)
    grouped = Looker.seen[0].grouped_by("label*environment")
    assert grouped.train.environment.names == (
        "label=0, environment=a",
        "label=0, environment=b",
        "label=1, environment=a",
        "label=1, environment=b",
    )


def test_a_seed_has_one_reference_whatever_the_methods(tmp_path: Path, make_grid: MakeGrid, trained: list[str]) -> None:
    grid = dataclasses.replace(make_grid("erm,irm,group-dro", seeds=2, steps=4), inference=ByThirds())
    run(grid, tmp_path)
    run(grid, tmp_path)
    assert sorted(label for label in trained if label.startswith("pooled")) == ["pooled 0 2", "pooled 1 2"]
    assert len(trained) == 8


def test_costs_of_the_reference_count_once_in_each_cell(tmp_path: Path, make_grid: MakeGrid) -> None:
    plain = run(make_grid("erm,erm+dfr", steps=4), tmp_path)
    with_groups = run(dataclasses.replace(make_grid("erm,erm+dfr", steps=4), inference=ByThirds()), tmp_path)
    extra = [b.ledger["gradients"] - a.ledger["gradients"] for a, b in zip(plain.cells, with_groups.cells, strict=True)]
    assert extra == [2 * 8, 2 * 8]


def test_without_inference_hashes_are_what_they_were(make_grid: MakeGrid) -> None:
    grid = make_grid("erm,logistic,erm+dfr")
    assert all("groups" not in spec.hashed() for _, spec in grid.specs())
    erm, logistic, chain = keys(dataclasses.replace(grid, inference=ByThirds()))
    assert logistic == keys(grid)[1]
    assert not {erm, chain} & set(keys(grid))


def test_every_option_of_the_inference_is_hashed(make_grid: MakeGrid) -> None:
    grids = [looking(make_grid(), inference=i) for i in (None, ByThirds(), ByThirds(first=0.25), ByThirds(only=True))]
    assert len({keys(grid)[0] for grid in grids}) == 4


def test_methods_that_look_at_no_environments_need_no_reference(
    tmp_path: Path, make_grid: MakeGrid, trained: list[str]
) -> None:
    result = run(dataclasses.replace(make_grid("logistic,pooled"), inference=ByThirds()), tmp_path)
    assert trained == ["logistic 0 3", "pooled 0 3"]
    assert "logistic, pooled look at no environments: inferred groups change nothing there" in result.warnings


def test_agreement_with_the_columns_is_told(tmp_path: Path, make_grid: MakeGrid) -> None:
    (cell,) = run(looking(make_grid()), tmp_path).cells
    sizes, agreement = cell.artifacts["inferred groups"]
    assert sizes.rows == (("a", 16), ("b", 8))
    assert [row[0] for row in agreement.rows] == ["label", "environment", "color"]
    train = make_grid().folds[0].data.split("train").data
    groups = Column((train.index % 3 == 0).long(), ("a", "b"))
    told = {name: (whole, within) for name, whole, within in agreement.rows}
    assert told["color"][0] == adjusted_rand(groups, train.attributes["color"])
    even, odd = (torch.arange(start, 24, 2) for start in (0, 1))
    color = train.attributes["color"]
    halves = [adjusted_rand(groups.take(part), color.take(part)) for part in (even, odd)]
    assert told["color"][1] == pytest.approx(sum(halves) / 2)


def test_cells_without_inference_say_nothing_of_groups(tmp_path: Path, make_grid: MakeGrid) -> None:
    (cell,) = run(make_grid(), tmp_path).cells
    assert cell.artifacts["inferred groups"] == ()


def test_changed_groups_are_noticed(tmp_path: Path, make_grid: MakeGrid) -> None:
    run(looking(make_grid()), tmp_path)
    (path,) = tmp_path.rglob("groups.json")
    path.write_text(path.read_text(encoding="utf-8").replace("16", "17"), encoding="utf-8")
    with pytest.raises(UserError, match="damaged"):
        run(looking(make_grid()), tmp_path)


def test_one_group_is_refused(tmp_path: Path, make_grid: MakeGrid) -> None:
    with pytest.raises(UserError, match=r"inference 'thirds:.*': all 24 rows are in one group \(a\)"):
        run(looking(make_grid(), inference=ByThirds(only=True)), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "regression"}, "group inference 'thirds' is for classification: this task is regression"),
        ({"phase": 1}, "group inference 'thirds' needs all rows at once: this task has 2 phases"),
    ],
)
def test_tasks_that_cannot_be_served_are_refused(make_grid: MakeGrid, change: dict[str, Any], message: str) -> None:
    grid = looking(make_grid())
    (fold,) = grid.folds
    data = fold.data
    if "phase" in change:
        last = dataclasses.replace(data.splits[-1], phase=change["phase"])
        data = dataclasses.replace(data, splits=(*data.splits[:-1], last))
    else:
        data = dataclasses.replace(data, **change)
    broken = dataclasses.replace(grid, folds=(dataclasses.replace(fold, data=data),), chains=chains_of("erm"))
    with pytest.raises(UserError, match=message):
        broken.check()


def test_the_model_of_a_finished_cell_has_its_inference_again(tmp_path: Path, make_grid: MakeGrid, monkeypatch) -> None:
    from holdfast.core import registry
    from holdfast.experiments import finished

    grid = dataclasses.replace(make_grid("irm", steps=4), inference=registry.create(GroupInference, "eiil:first=0.5"))
    (evaluated,) = run(grid, tmp_path).cells
    monkeypatch.setattr(
        finished, "create", lambda base, text: grid.folds[0].task if base.family == "task" else grid.rule
    )
    cell = CellStore(tmp_path / "cells").get(evaluated.key)
    _, _, spec = finished_model(cell)
    assert spec.key == cell.key
