"""Features as numbers: closed forms, train-only fitting, exact round trips, real tables."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from sklearn.preprocessing import StandardScaler

from holdfast.core.errors import UserError
from holdfast.tables import (
    ColumnRoles,
    Encoder,
    check_roles,
    feature_columns,
    fit_encoder,
    infer_kind,
    parse_numbers,
    read_table,
)


def says_infinity(text: str) -> bool:
    """A number too large to use is refused by the encoder, and has tests of its own."""
    return bool(np.isinf(parse_numbers(pd.Series([text]))).any())


FINITE = st.floats(allow_nan=False, allow_infinity=False)
VALUES = {
    "number": st.none() | FINITE,
    "whole": st.integers(-(2**60), 2**60),
    "flag": st.booleans(),
    "ward": st.sampled_from(["north", "south", "é, b", None]),
    "text": st.none() | st.text(max_size=5).filter(lambda text: not says_infinity(text)),
    "day": st.none() | st.dates().map(lambda day: day.isoformat()),
}
MIXED = (
    st.integers(2, 12)
    .flatmap(
        lambda rows: st.fixed_dictionaries(
            {name: st.lists(v, min_size=rows, max_size=rows) for name, v in VALUES.items()}
        )
    )
    .map(lambda columns: pd.DataFrame(columns, dtype=object).infer_objects())
)


def fit_one(values: Any, **options: Any) -> Encoder:
    frame = pd.DataFrame({"x": values})
    return fit_encoder(frame, ["x"], **options)


def encode_one(train: Any, test: Any, **options: Any) -> list[list[float]]:
    return fit_one(train, **options).transform(pd.DataFrame({"x": test})).tolist()


def test_numbers_are_standardised_as_by_scikit_learn() -> None:
    rng = np.random.default_rng()
    frame = pd.DataFrame(rng.normal(size=(50, 3)) * [1e-6, 1.0, 1e12] + [0.0, 1e9, 5.0], columns=list("abc"))
    expected = StandardScaler().fit(frame.to_numpy()[:30]).transform(frame.to_numpy())
    encoded = fit_encoder(frame[:30], list("abc")).transform(frame)
    np.testing.assert_allclose(encoded, expected, rtol=1e-5, atol=1e-6)


def test_missing_numbers_are_the_mean_and_flagged_if_training_rows_were() -> None:
    assert encode_one([1.0, 3.0, None], [1.0, None, 5.0]) == [[-1, 0], [0, 1], [3, 0]]
    assert encode_one([1.0, 3.0], [None, 5.0]) == [[0], [3]]


def test_booleans() -> None:
    assert encode_one([True, False, False, None], [True, None]) == [[1, 0], [pytest.approx(1 / 3), 1]]
    assert encode_one(["true", "false"], ["True", "FALSE"]) == [[1], [0]]


def test_categories() -> None:
    train = ["b"] * 6 + ["a"] * 5 + ["rare", "rarer"] + [None]
    encoder = fit_one(train)
    assert encoder.feature_names == ("x=a", "x=b", "x (other)", "x (missing)")
    assert encoder.notes == ("column 'x': 2 rare levels are pooled as other",)
    encoded = encoder.transform(pd.DataFrame({"x": ["a", "b", "rare", "new", None]}))
    assert encoded.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_what_training_never_saw_is_zeros() -> None:
    assert encode_one(["a", "b"] * 5, ["a", "new", None]) == [[1, 0], [0, 0], [0, 0]]
    assert encode_one(["a", "b", None] * 5, ["a", "new", None]) == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_the_most_frequent_levels_are_kept_in_natural_order() -> None:
    train = [f"w{level}" for level in range(12) for _ in range(20 - level % 10)]
    encoder = fit_one(train, max_levels=3)
    assert encoder.feature_names == ("x=w0", "x=w1", "x=w10", "x (other)")


def test_dates() -> None:
    train = pd.to_datetime(["2020-01-06 06:00", "2020-07-07 12:00", None])
    encoder = fit_one(train)
    cycles = [f"x ({part} of {cycle})" for cycle in ("month", "weekday", "hour") for part in ("sine", "cosine")]
    assert encoder.feature_names == ("x (trend)", *cycles, "x (missing)")
    turns = np.array([[0, 0, 0.25], [0.5, 1 / 7, 0.5]])  # January, Monday, six o'clock; July, Tuesday, noon
    pairs = np.stack([np.sin(2 * np.pi * turns), np.cos(2 * np.pi * turns)], axis=-1).reshape(2, 6)
    encoded = encoder.transform(pd.DataFrame({"x": train}))
    np.testing.assert_allclose(encoded[:, 0], [-1, 1, 0], atol=1e-6)
    np.testing.assert_allclose(encoded[:2, 1:7], pairs, atol=1e-6)
    assert encoded[:, 7].tolist() == [0, 0, 1]
    assert not encoded[2, :7].any()


def test_parts_of_a_date_that_do_not_vary_are_left_out() -> None:
    assert fit_one(["2020-01-01", "2021-01-08"]).feature_names == (
        "x (trend)",
        "x (sine of weekday)",
        "x (cosine of weekday)",
    )


@given(st.dates().map(str), st.dates().map(str))
def test_cycles_agree_with_the_calendar(first: str, second: str) -> None:
    frame = pd.DataFrame({"x": ["2020-01-01", "2021-03-05", first, second]})
    encoded = fit_encoder(frame, ["x"]).transform(frame)
    dates = [np.datetime64(text).astype(object) for text in frame["x"]]
    month = np.arctan2(encoded[:, 1], encoded[:, 2]) * 12 / (2 * np.pi) % 12
    weekday = np.arctan2(encoded[:, 3], encoded[:, 4]) * 7 / (2 * np.pi) % 7
    np.testing.assert_allclose((month + 0.5) % 12 - 0.5, [date.month - 1 for date in dates], atol=1e-4)
    np.testing.assert_allclose((weekday + 0.5) % 7 - 0.5, [date.weekday() for date in dates], atol=1e-4)


def test_columns_that_cannot_be_used_are_listed() -> None:
    frame = pd.DataFrame(
        {
            "age": [1, 2, 3],
            "same": 1,
            "void": None,
            "image": [{"bytes": b""}] * 3,
            "list": [[1], [2], [3]],
            "span": pd.to_timedelta([1, 2, 3]),
            "name": ["Ann", "Bo", "Cy"],
        }
    )
    encoder = fit_encoder(frame, list(frame), max_levels=2)
    assert encoder.feature_names == ("age",)
    assert encoder.notes == (
        "left out, no value in the training rows: 'void'",
        "left out, one value in the training rows, or only rare ones: 'same'",
        "left out, short text that hardly repeats: 'name'",
        "left out, lists, records or bytes: 'image', 'list'",
        "left out, a type that is neither number, category, boolean nor date: 'span'",
    )
    with pytest.raises(UserError, match="no feature column can be used"):
        fit_encoder(frame, ["same", "list"])


def test_a_few_values_of_another_kind_are_missing_and_noted() -> None:
    encoder = fit_one([str(number) for number in range(199)] + ["unknown"])
    assert encoder.feature_names == ("x", "x (missing)")
    assert encoder.notes == ("column 'x': 1 row is not numbers and taken as missing",)
    assert encoder.transform(pd.DataFrame({"x": [99.0, "?"]})).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        ([1.0, 2.0], ["low", "high"], "column 'x' held numbers in training and holds none here ('low')"),
        ([True, False], ["yes", "no"], "held true or false in training"),
        (["2020-01-01", "2020-02-02"], ["1 Jan 2020"], "held dates in training"),
        ([1.0, 2.0], [np.inf, -np.inf, 1.0], "column 'x' is infinite in 2 rows: replace"),
        (["a", "b"] * 5, [["a"]], "column 'x' holds lists or records"),
        ([1.0, 2.0], [[1.0]], "column 'x' holds lists or records"),
    ],
)
def test_tables_that_do_not_fit_the_encoder(train: list[Any], test: list[Any], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        encode_one(train, test)
    assert expected in str(caught.value)


def test_infinite_training_rows_absent_columns_and_no_rows() -> None:
    with pytest.raises(UserError, match="column 'x' is infinite in 1 row: replace"):
        fit_one([1.0, np.inf])
    with pytest.raises(UserError, match="unknown column 'ages': did you mean 'age'"):
        fit_encoder(pd.DataFrame({"age": [1, 2]}), ["ages"])
    with pytest.raises(UserError, match="unknown column 'x'"):
        fit_one([1, 2]).transform(pd.DataFrame({"age": [1, 2]}))
    with pytest.raises(UserError, match="no training rows"):
        fit_one([])


@pytest.mark.parametrize("value", [1e308, 5e-324, 1e-300, 2.0**53])
def test_extreme_numbers_stay_finite(value: float) -> None:
    encoded = encode_one([value, 0.0, 1.0, -value], [value, 1e308, -1e308, 0.0])
    assert np.isfinite(encoded).all()


@given(MIXED)
@settings(deadline=None)
def test_any_table_is_encoded_finitely_and_the_same_after_json(frame: pd.DataFrame) -> None:
    encoder = fit_encoder(frame.assign(sure=range(len(frame))), ["sure", *frame], min_level_count=1)
    again = Encoder.from_json(encoder.to_json())
    assert again == encoder
    table = frame.assign(sure=0.5, extra="ignored")
    encoded = encoder.transform(table)
    assert encoded.shape == (len(frame), len(encoder.feature_names))
    assert encoded.dtype == np.float32
    assert np.isfinite(encoded).all()
    np.testing.assert_array_equal(again.transform(table), encoded)


@given(MIXED, st.randoms())
@settings(deadline=None, max_examples=40)
def test_rows_are_encoded_one_by_one(frame: pd.DataFrame, random: Any) -> None:
    encoder = fit_encoder(frame.assign(sure=range(len(frame))), ["sure", "number", "whole", "flag", "ward"])
    table = frame.assign(sure=1)
    order = random.sample(range(len(frame)), len(frame))
    np.testing.assert_array_equal(encoder.transform(table.iloc[order]), encoder.transform(table)[order])


@given(MIXED, MIXED)
@settings(deadline=None, max_examples=40)
def test_other_rows_change_nothing(train: pd.DataFrame, test: pd.DataFrame) -> None:
    """The encoder learns from the training rows, even where other rows change how a column is stored."""
    train = train.assign(sure=range(len(train)))
    text = test.astype("str").assign(sure="none")
    together = pd.concat([train, text], ignore_index=True)[: len(train)]
    alone, beside = (fit_encoder(frame, list(train), min_level_count=1) for frame in (train, together))
    assert beside == alone
    np.testing.assert_array_equal(beside.transform(together), alone.transform(train))


def test_equal_tables_in_csv_and_parquet(tmp_path: Path) -> None:
    rng = np.random.default_rng()
    rows = 300
    frame = pd.DataFrame(
        {
            "number": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows) * 1e5),
            "whole": rng.integers(-5, 5, rows),
            "flag": rng.random(rows) < 0.5,
            "maybe": rng.choice(np.array([True, False, None]), rows),
            "ward": rng.choice(np.array(["a,b", "ü\nx", 'q"', None], dtype=object), rows),
            "digits": rng.integers(0, 99, rows).astype(str),
            "category": pd.Categorical(rng.choice(["x", "y"], rows)),
            "day": pd.Timestamp("2015-03-01") + pd.to_timedelta(rng.integers(0, 999, rows), unit="D"),
            "time": pd.Timestamp("2015-03-01", tz="UTC") + pd.to_timedelta(rng.integers(0, 10**6, rows), unit="s"),
        }
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    from_csv, from_parquet = read_table(tmp_path / "t.csv"), read_table(tmp_path / "t.parquet")
    encoder = fit_encoder(from_csv, list(frame))
    assert encoder == fit_encoder(from_parquet, list(frame))
    np.testing.assert_array_equal(encoder.transform(from_csv), encoder.transform(from_parquet))
    assert not encoder.left_out


GOOD = json.loads(fit_one([1.0, 3.0]).to_json())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        json.dumps({**GOOD, "columns": [{"kind": "numeric"}]}),
        json.dumps({**GOOD, "columns": [{**GOOD["columns"][0], "kind": "evil"}]}),
        json.dumps({**GOOD, "columns": [{**GOOD["columns"][0], "mean": "2"}]}),
        json.dumps({**GOOD, "columns": [{**GOOD["columns"][0], "name": ["x"]}]}),
        json.dumps({**GOOD, "columns": [3]}),
    ],
)
def test_damaged_json(text: str) -> None:
    with pytest.raises(UserError, match="stored encoder is damaged"):
        Encoder.from_json(text)


@pytest.mark.parametrize(
    ("folder", "roles", "kind", "features", "left_out"),
    [
        ("adult", ColumnRoles("income", "race", ("sex",), weight="fnlwgt", split="split"), "classification", 100, {}),
        ("bike_sharing", ColumnRoles("cnt", "season", ("yr",)), "regression", 18, {}),
        (
            "communities_crime",
            ColumnRoles("ViolentCrimesPerPop", "state"),
            "regression",
            125 + 25,  # columns but text and roles, and those with missing values
            {"communityname": "identifier"},
        ),
    ],
)
def test_real_tables(folder: str, roles: ColumnRoles, kind: str, features: int, left_out: dict[str, str]) -> None:
    data = os.environ.get("HOLDFAST_DATA")
    if data is None or not Path(data, folder).is_dir():
        pytest.skip(f"HOLDFAST_DATA does not hold {folder}")
    frame = read_table(Path(data, folder))
    assert check_roles(frame, roles) == ()
    assert infer_kind(frame[roles.label]) == kind
    names = feature_columns(frame, roles)
    train = frame[frame["split"] == "train"] if roles.split else frame[: len(frame) // 2]
    encoder = fit_encoder(train, names)
    assert {left.name: left.reason for left in encoder.left_out} == left_out
    encoded = encoder.transform(frame)
    assert encoded.shape == (len(frame), len(encoder.feature_names)) == (len(frame), features)
    assert np.isfinite(encoded).all()
    numeric = [encoder.feature_names.index(name) for name in names if name in encoder.feature_names]
    standard = encoder.transform(train)[:, numeric].astype(np.float64)
    assert abs(standard.mean(axis=0)).max() < 1e-5
    assert Encoder.from_json(encoder.to_json()) == encoder


def test_the_order_of_day_and_month_is_learnt_on_the_training_rows() -> None:
    train = pd.DataFrame({"when": ["12/31/2020", "01/02/2021", "03/04/2021"]})
    encoder = Encoder.from_json(fit_encoder(train, ["when"]).to_json())
    later = encoder.transform(pd.DataFrame({"when": ["03/04/2021"]}))
    np.testing.assert_array_equal(later, encoder.transform(train)[2:])
    np.testing.assert_array_equal(later, encoder.transform(pd.DataFrame({"when": ["2021-03-04"]})))


def test_dates_that_may_be_read_in_two_ways_are_left_out_with_the_mend() -> None:
    frame = pd.DataFrame({"when": ["01/02/2020", "03/04/2020"], "x": [1, 2]})
    assert any(
        "'when'" in note and "write them as 2020-12-31" in note for note in fit_encoder(frame, ["when", "x"]).notes
    )
