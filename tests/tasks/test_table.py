"""A table file as a task: roles, folds, features learnt on training rows only, and every mistake in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from holdfast.core.errors import UserError
from holdfast.core.registry import create
from holdfast.core.task import Task, TaskData
from holdfast.models.rescaled import Rescaled
from holdfast.tasks.table import TableFile
from holdfast.testing.tasks import check_task

Make = Callable[..., TableFile]


def patients(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age = rng.normal(60, 10, rows).round(1)
    return pd.DataFrame(
        {
            "age": age,
            "ward": rng.choice(["north", "south", "east"], rows),
            "sex": rng.choice(["f", "m"], rows),
            "hospital": rng.choice(["A", "B", "C", "D"], rows),
            "patient": rng.integers(0, rows // 3, rows),
            "survey": rng.uniform(0.5, 2.0, rows),
            "cost": 1e4 + 100 * age,
            "died": np.where(rng.random(rows) < 0.3, "yes", "no"),
        }
    )


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a table and make a task of it."""

    def write(frame: pd.DataFrame | None = None, **options: Any) -> TableFile:
        path = tmp_path / "patients.parquet"
        (patients() if frame is None else frame).to_parquet(path)
        return TableFile(**{"path": str(path), "label": "died", "environment": "hospital", **options})

    return write


def feature_sources(task: TaskData) -> set[str]:
    assert task.encoder is not None
    return {column.name for column in task.encoder.columns}


def test_a_fold_tests_on_all_rows_of_the_environment_held_out(make: Make) -> None:
    frame = patients()
    task = make(frame, group=("sex",), weight="survey", holdout_environment="B").load()
    assert task.kind == "classification"
    assert task.classes == ("no", "yes")
    roles = [(split.name, split.role, split.shifted) for split in task.splits]
    assert roles == [
        ("train", "train", False),
        ("selection", "selection", False),
        ("holdout", "holdout", False),
        ("test-same", "test", False),
        ("test", "test", True),
    ]
    assert set(task.split("test").data.index.tolist()) == set(np.flatnonzero(frame["hospital"] == "B"))
    for split in task.splits:
        rows, data = split.data.index.numpy(), split.data
        assert [task.classes[code] for code in data.labels.tolist()] == frame["died"].iloc[rows].tolist()
        named = [data.environment.names[code] for code in data.environment.codes.tolist()]
        assert named == frame["hospital"].iloc[rows].tolist()
        sex = data.attributes["sex"]
        assert [sex.names[code] for code in sex.codes.tolist()] == frame["sex"].iloc[rows].tolist()
        assert data.weight is not None
        np.testing.assert_allclose(data.weight, frame["survey"].iloc[rows], rtol=1e-6)
        assert data.input_shape == task.input_shape
    assert sum(len(split.data) for split in task.splits) == len(frame)


def test_features_are_the_columns_without_a_role(make: Make) -> None:
    roles = {"group": ("sex",), "unit": "patient", "weight": "survey", "holdout_environment": "B"}
    assert feature_sources(make(**roles).load()) == {"age", "ward", "cost"}
    assert feature_sources(make(**roles, drop=("cost",)).load()) == {"age", "ward"}
    assert feature_sources(make(**roles, group_features=True).load()) == {"age", "ward", "cost", "sex"}
    assert feature_sources(make(**roles, features=("age", "sex")).load()) == {"age", "sex"}


def test_the_encoder_sees_training_rows_only(make: Make) -> None:
    frame = patients()
    task = make(frame, holdout_environment="C").load()
    train = task.split("train").data
    changed = frame.copy()
    others = np.setdiff1d(np.arange(len(frame)), train.index.numpy())
    changed.loc[others, "age"] = 1e6
    changed.loc[others, "ward"] = "west"
    again = make(changed, holdout_environment="C").load()
    assert again.split("train").data.index.equal(train.index)
    assert task.encoder == again.encoder
    assert again.split("train").data.fingerprint() == train.fingerprint()
    assert isinstance(train.x, torch.Tensor)
    age = torch.tensor(frame["age"].to_numpy())[train.index]
    torch.testing.assert_close(train.x[:, 0].double(), (age - age.mean()) / age.std(correction=0), atol=1e-5, rtol=0)


def test_every_environment_is_held_out_once(make: Make) -> None:
    folds = make().folds()
    assert [fold.fold_name for fold in folds] == ["A", "B", "C", "D"]
    assert all(fold.folds() == (fold,) for fold in folds)
    tested = [set(fold.load().split("test").data.index.tolist()) for fold in folds]
    assert sorted(row for rows in tested for row in rows) == list(range(400))
    split = make(holdout_environment="A|C")
    assert split.folds() == (split,)
    assert split.fold_name == "A, C"


def test_more_than_ten_environments_make_five_folds(make: Make) -> None:
    frame = patients(600)
    frame["hospital"] = np.minimum(np.arange(600) // 25, 16) + 100
    task = make(frame)
    folds = task.folds()
    assert folds == task.folds()
    held_out = [fold.fold_name.split(", ") for fold in folds]
    assert len(folds) == 5
    assert sorted(name for names in held_out for name in names) == [str(code) for code in range(100, 117)]
    sizes = [len(fold.load().split("test").data) for fold in folds]
    assert sum(sizes) == 600
    assert max(sizes) <= 200


def test_environment_names_with_bars_survive(make: Make) -> None:
    frame = patients()
    frame["hospital"] = frame["hospital"].replace({"A": "A|B", "C": "C|"})
    folds = make(frame).folds()
    assert [fold.fold_name for fold in folds] == ["A|B", "B", "C|", "D"]
    assert len(folds[0].load().split("test").data) == (frame["hospital"] == "A|B").sum()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), per_unit=st.integers(1, 4))
def test_roles_are_disjoint_by_row_and_unit(make: Make, seed: int, per_unit: int) -> None:
    frame = patients(300, seed)
    frame["patient"] = [f"p{code}" for code in np.random.default_rng(seed).integers(0, 300 // per_unit, 300)]
    task = make(frame, unit="patient", holdout_environment="A", data_seed=seed).load()
    role_of: dict[str, str] = {}
    for split in task.splits:
        for row in split.data.index.tolist():
            patient = frame["patient"].iloc[row]
            assert role_of.setdefault(patient, split.name) == split.name
    straddling = set(frame["patient"][frame["hospital"] == "A"]) & set(frame["patient"][frame["hospital"] != "A"])
    assert any("left out, of units" in note for note in task.notes) == bool(straddling)


def test_parts_are_even_over_environments_and_classes(make: Make) -> None:
    frame = patients(3000)
    task = make(frame, holdout_environment="D").load()
    cells = frame["hospital"] + frame["died"]
    for name, share in (("train", 0.6), ("selection", 0.15), ("holdout", 0.1), ("test-same", 0.15)):
        inside = cells.iloc[task.split(name).data.index.numpy()].value_counts()
        for cell, count in inside.items():
            assert count == pytest.approx(share * (cells == cell).sum(), abs=4)


def test_without_held_out_environments_the_test_is_not_shifted(make: Make) -> None:
    task = make().load()
    assert [split.name for split in task.splits] == ["train", "selection", "holdout", "test-same"]


def test_regression_in_the_units_of_the_label(make: Make) -> None:
    task = make(label="cost", holdout_environment="A").load()
    assert task.kind == "regression"
    assert task.classes == ()
    train = task.split("train").data
    assert train.labels.dtype == torch.float32
    assert isinstance(task.model, Rescaled)
    assert task.model.shift == pytest.approx(train.labels.double().mean().item())
    assert task.model.scale == pytest.approx(train.labels.double().std(correction=0).item())
    network = task.model.build(task.input_shape, task.outputs)
    assert 0.9 * 1.6e4 < network(train.x).mean().item() < 1.1 * 1.6e4


def test_kind_is_inferred_and_can_be_said(make: Make) -> None:
    frame = patients()
    frame["stage"] = np.arange(400) % 5
    assert make(frame, label="stage").load().kind == "classification"
    assert make(frame, label="stage", kind="regression").load().kind == "regression"


def test_small_environments_are_pooled(make: Make) -> None:
    frame = patients()
    frame.loc[:3, "hospital"] = "X"
    frame.loc[4:8, "hospital"] = "Y"
    task = make(frame)
    assert [fold.fold_name for fold in task.folds()] == ["A", "B", "C", "D"]
    assert all("rare" in fold.load().split("train").data.environment.names for fold in task.folds())
    told = "pooled as 'rare', which is not held out in turn: 2 environments of fewer than 10 rows, 9 rows in all"
    assert told in task.load().notes
    assert set(make(frame, holdout_environment="rare").load().split("test").data.index.tolist()) == set(range(9))
    assert len(make(frame, min_environment_rows=1).folds()) == 6
    frame.loc[frame["hospital"] == "A", "hospital"] = "rare"
    assert [fold.fold_name for fold in make(frame).folds()] == ["B", "C", "D", "rare"]
    assert "rare (pooled)" in make(frame).load().split("train").data.environment.names


def test_rare_environments_are_in_no_group_of_folds(make: Make) -> None:
    frame = patients(600)
    frame["hospital"] = np.minimum(np.arange(600) // 25, 16) + 100
    frame.loc[:2, "hospital"] = 7
    held_out = [name for fold in make(frame).folds() for name in fold.fold_name.split(", ")]
    assert sorted(held_out) == [str(code) for code in range(100, 117)]


def test_one_environment_beside_rare_ones_is_not_held_out(make: Make) -> None:
    frame = patients().assign(hospital="A")
    frame.loc[:5, "hospital"] = "B"
    with pytest.raises(UserError, match="only 'A' has 10 rows or more"):
        make(frame).folds()
    assert [fold.fold_name for fold in make(frame, min_environment_rows=6).folds()] == ["A", "B"]


def test_what_the_columns_are_for_is_noted(make: Make) -> None:
    notes = make(group=("sex", "ward"), unit="patient", weight="survey").load().notes
    for told in ("values of 'hospital'", "combinations of 'sex' and 'ward'", "same 'patient'", "weighted by 'survey'"):
        assert any(told in note for note in notes)


def test_a_file_named_like_a_shard_is_called_with_its_folder(tmp_path: Path) -> None:
    for path, title in (
        ("adult/train-00000-of-00001.parquet", "adult/train-00000-of-00001.parquet"),
        ("x/a.csv", "a.csv"),
    ):
        assert TableFile(path=str(tmp_path / path), label="y", environment="e").title == title


def test_rows_without_an_environment_are_left_out(make: Make) -> None:
    frame = patients()
    frame.loc[[3, 50], "hospital"] = None
    task = make(frame, holdout_environment="A").load()
    used = {row for split in task.splits for row in split.data.index.tolist()}
    assert used == set(range(400)) - {3, 50}
    assert "left out, without an environment: 2 rows" in task.notes


def test_a_class_seen_only_in_the_test_is_reported(make: Make) -> None:
    frame = patients()
    frame.loc[(frame["hospital"] == "A") & (frame["died"] == "yes"), "died"] = "unknown"
    task = make(frame, holdout_environment="A").load()
    assert task.classes == ("no", "unknown", "yes")
    assert "no training row is of class 'unknown'" in task.notes
    assert (task.split("test").data.labels == 1).any()


def test_a_split_column(make: Make) -> None:
    frame = patients()
    frame["part"] = np.where(frame["hospital"] == "A", "test", np.where(np.arange(400) % 5 == 0, "val", "train"))
    task = make(frame, split="part")
    assert task.folds() == (task,)
    loaded = task.load()
    assert [(s.name, s.role, s.shifted) for s in loaded.splits] == [
        ("train", "train", False),
        ("selection", "selection", False),
        ("test", "test", True),
    ]
    assert "part" not in feature_sources(loaded)


def test_a_folder_of_splits(tmp_path: Path) -> None:
    patients(200).to_csv(tmp_path / "train.csv", index=False)
    patients(100, seed=1).to_csv(tmp_path / "test.csv", index=False)
    task = TableFile(path=str(tmp_path), label="died", environment="hospital")
    assert "split" not in feature_sources(task.load())
    marked = TableFile(path=str(tmp_path), label="died", environment="hospital", split="split").load()
    assert [len(split.data) for split in marked.splits] == [200, 100]


def test_equal_options_give_equal_data_and_another_seed_other_splits(make: Make) -> None:
    one, same, other = (make(data_seed=seed).load().fingerprint() for seed in (0, 0, 1))
    assert one == same != other


@pytest.mark.parametrize(
    "options", [{}, {"label": "cost", "unit": "patient"}, {"split": "part", "group": ("sex", "ward")}]
)
def test_the_contract_of_tasks_holds(make: Make, options: dict[str, Any]) -> None:
    frame = patients().assign(part=np.resize(["train", "val", "test"], 400))
    for fold in make(frame, **options).folds():
        check_task(fold)


def test_a_reference_reads_back(make: Make) -> None:
    task = make(group=("sex",), holdout_environment="A|B", drop=("cost",), min_environment_rows=3)
    assert create(Task, task.reference) == task


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"path": "nowhere/patients.csv"}, "cannot be found"),
    ({"label": "dyed"}, "did you mean 'died'"),
    ({"environment": "hopsital"}, "did you mean 'hospital'"),
    ({"group": ("sx",)}, "did you mean 'sex'"),
    ({"environment": "died"}, "both --label and --environment"),
    ({"environment": "one"}, "one value only"),
    ({"label": "survey", "kind": "classification"}, "try --kind regression"),
    ({"kind": "regression"}, "try --kind classification"),
    ({"split": "sex", "holdout_environment": "A"}, "give one of them"),
    ({"split": "sex"}, "unknown value of the split column 'f'"),
    ({"holdout_environment": "E"}, "unknown environment to hold out 'E'"),
    ({"holdout_environment": "A|B|C|D"}, "hold out fewer"),
    ({"unit": "one", "holdout_environment": "A"}, "units in held-out environments"),
    ({"min_environment_rows": 1000}, "coarser column"),
    ({"features": ("age", "died")}, "name columns other than the label"),
    ({"features": ("age",), "drop": ("age",)}, "name columns other than the label"),
    ({"features": ()}, "name columns other than the label"),
    ({"features": ("agee",)}, "did you mean 'age'"),
    ({"drop": ("agee",)}, "did you mean 'age'"),
    ({"features": ("one",)}, "no feature column can be used"),
    ({"group": ("a*b",)}, "cannot be named in a product"),
    ({"group": ("label",)}, "would be taken for the label"),
    ({"features": ("infinite",)}, "is infinite"),
    ({"weight": "negative"}, "is negative"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES)
def test_mistakes_are_one_line(make: Make, options: dict[str, Any], message: str) -> None:
    frame = patients().assign(one="same", label="x", infinite=np.inf, negative=-1.0)
    frame["a*b"] = frame["sex"]
    with pytest.raises(UserError, match=message) as caught:
        make(frame, **options).load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["kind=ordinal", "min_environment_rows=0", "group=sex", "holdout=A"])
def test_mistaken_options_are_one_line(option: str) -> None:
    with pytest.raises(UserError) as caught:
        create(Task, f"table:path=a.csv:label=y:environment=e:{option}")
    assert "\n" not in str(caught.value)


def test_adult(data_root: Path) -> None:
    path = data_root / "adult" / "train-00000-of-00001.parquet"
    folds = TableFile(path=str(path), label="income", environment="race", group=("sex",)).folds()
    tasks = [fold.load() for fold in folds]
    assert [len(task.split("test").data) for task in tasks] == [311, 1039, 3124, 271, 27816]
    for task in tasks:
        assert sum(len(split.data) for split in task.splits) == 32561
        assert {"race", "sex", "income"}.isdisjoint(feature_sources(task))


def test_bike_sharing(data_root: Path) -> None:
    path = data_root / "bike_sharing" / "train-00000-of-00001.parquet"
    options = {"path": str(path), "label": "cnt", "environment": "season", "drop": ("casual", "registered")}
    task = TableFile(**options, unit="dteday", holdout_environment="1").load()  # type: ignore[arg-type]
    assert task.kind == "regression"
    assert len(task.split("test").data) == 4242
    assert {"casual", "registered", "cnt", "dteday"}.isdisjoint(feature_sources(task))


def test_communities_crime(data_root: Path) -> None:
    path = data_root / "communities_crime" / "train-00000-of-00001.parquet"
    folds = TableFile(path=str(path), label="ViolentCrimesPerPop", environment="state").folds()
    sizes = [len(fold.load().split("test").data) for fold in folds]
    assert sum(sizes) == 1994 - 53  # 53 rows are in states of fewer than ten
    assert max(sizes) - min(sizes) <= 30


def test_rows_of_weight_zero_are_left_out_and_an_environment_of_such_rows_is_none(make: Make) -> None:
    frame = patients()
    frame.loc[(frame["hospital"] == "A") | (frame.index % 10 == 3), "survey"] = 0.0
    used = frame.index[frame["survey"] > 0]
    task = make(frame, weight="survey", holdout_environment="B").load()
    assert f"left out, of weight zero: {len(frame) - len(used)} rows" in task.notes
    assert task.splits[0].data.environment.names == ("B", "C", "D")
    assert sorted(row for split in task.splits for row in split.data.index.tolist()) == used.tolist()


def test_for_a_model_made_elsewhere_every_usable_row_is_measured_once(make: Make) -> None:
    frame = patients()
    frame.loc[[3, 7], "hospital"] = None
    data = make(frame, unit="patient", group=("sex",)).whole()
    (split,) = data.splits
    assert (split.role, len(split.data)) == ("test", 398)
    assert not split.shifted
    assert data.raw is not None
    assert data.raw.features == ("age", "ward", "survey", "cost")
    asked = torch.tensor([10, 4])
    expected = frame.drop(columns="died").iloc[[10, 4]]
    pd.testing.assert_frame_equal(data.raw.rows(asked), expected, check_dtype=False)
