"""Class names of the hub's Parquet files: found where the file says them, in its order, and never a reason to fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from holdfast.tables import encode_column, fit_encoder, infer_kind, read_table
from holdfast.tables.class_labels import class_names

NAMES = ["shirt", "bag", "ankle boot"]


def write(path: Path, table: pa.Table, features: Any) -> None:
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    parquet.write_table(table.replace_schema_metadata(metadata), path)


def labelled(codes: list[int | None], features: Any, path: Path) -> pd.Series:
    write(path, pa.table({"label": pa.array(codes, pa.int64()), "x": list(range(len(codes)))}), features)
    return read_table(path)["label"]


def test_codes_are_read_by_name_and_keep_their_order(tmp_path: Path) -> None:
    label = labelled([2, 0, 1, 2, -1, None], {"label": {"_type": "ClassLabel", "names": NAMES}}, tmp_path / "t.parquet")
    assert label.astype(object).where(label.notna(), None).tolist() == [
        *("ankle boot", "shirt", "bag", "ankle boot"),
        *(None, None),
    ]
    column = encode_column(label)
    assert column.names == tuple(NAMES)
    assert column.codes.tolist() == [2, 0, 1, 2, -1, -1]
    assert infer_kind(label) == "classification"


def test_names_that_do_not_occur_are_no_classes(tmp_path: Path) -> None:
    label = labelled([2, 0], {"label": {"_type": "ClassLabel", "names": NAMES}}, tmp_path / "t.parquet")
    assert encode_column(label).names == ("shirt", "ankle boot")


def test_files_of_a_folder_agree(tmp_path: Path) -> None:
    for split, codes in (("train", [0, 1]), ("test", [2, 2])):
        path = tmp_path / f"{split}-00000-of-00001.parquet"
        labelled(codes, {"label": {"_type": "ClassLabel", "names": NAMES}}, path)
    frame = read_table(tmp_path)
    assert encode_column(frame["label"]).names == tuple(NAMES)
    assert frame["label"].tolist() == ["ankle boot", "ankle boot", "shirt", "bag"]


def test_a_feature_of_classes_is_a_category(tmp_path: Path) -> None:
    codes = [k % 3 for k in range(30)]
    write(
        tmp_path / "t.parquet",
        pa.table({"kind": codes, "x": list(range(30))}),
        {"kind": {"_type": "ClassLabel", "names": NAMES}},
    )
    assert fit_encoder(read_table(tmp_path / "t.parquet"), ["kind"]).feature_names == (
        "kind=shirt",
        "kind=bag",
        "kind=ankle boot",
    )


@pytest.mark.parametrize(
    "features",
    [
        {"label": {"_type": "ClassLabel", "names": NAMES[:2]}},  # a code has no name
        {"label": {"_type": "ClassLabel", "names": []}},
        {"label": {"_type": "ClassLabel", "names": ["a", "a", "b"]}},
        {"label": {"_type": "ClassLabel", "names": [1, 2, 3]}},
        {"label": {"_type": "ClassLabel"}},
        {"label": {"_type": "Value"}},
        {"label": None},
        {"other": {"_type": "ClassLabel", "names": NAMES}},
        [],
        3,
    ],
    ids=str,
)
def test_numbers_stay_numbers_where_the_names_do_not_fit(features: Any, tmp_path: Path) -> None:
    assert labelled([2, 0, 1], features, tmp_path / "t.parquet").tolist() == [2, 0, 1]


@pytest.mark.parametrize("metadata", [None, {}, {b"huggingface": b"{"}, {b"huggingface": b"\xff"}, {b"pandas": b"{}"}])
def test_other_metadata_name_nothing(metadata: Any) -> None:
    assert class_names(metadata) == {}


def test_the_real_names(data_root: Path) -> None:
    frame = read_table(data_root / "fashion_mnist" / "test-00000-of-00001.parquet")
    assert encode_column(frame["label"]).names[:3] == ("T - shirt / top", "Trouser", "Pullover")
    assert set(read_table(data_root / "adult")["income"]) == {"<=50K", ">50K"}
