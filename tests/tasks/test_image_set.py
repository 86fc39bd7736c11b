"""Image data sets in a local folder: where they are found, what is read, how rows are dealt, what goes wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from holdfast.core.errors import UserError
from holdfast.core.seeds import torch_rng
from holdfast.tasks.data_folder import data_set_folder, has_data_set
from holdfast.tasks.image_set import ImageSet, embedded_digits, read_image_set, small_digits

TRAIN = "train-00000-of-00001.parquet"
TEST_FILE = "test-00000-of-00001.parquet"


def read(root: Path, rows: int | None = None, name: str = "mnist") -> ImageSet:
    return read_image_set(name, str(root), rows, torch_rng(0))


def test_the_option_comes_before_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for root in ("given", "variable"):
        (tmp_path / root / "mnist").mkdir(parents=True)
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "variable"))
    assert data_set_folder("mnist", str(tmp_path / "given")) == tmp_path / "given" / "mnist"
    assert data_set_folder("mnist") == tmp_path / "variable" / "mnist"
    assert has_data_set("mnist")
    assert not has_data_set("usps")
    assert not has_data_set("..")


@pytest.mark.parametrize("root", [None, "empty"])
def test_absent_data_are_one_line_with_the_layout(
    root: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOLDFAST_DATA", raising=False)
    if root:
        monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"mnist/train-00000-of-00001\.parquet.*--data-dir|HOLDFAST_DATA") as caught:
        data_set_folder("mnist")
    assert "\n" not in str(caught.value)


def test_images_labels_and_official_splits(standin_data: Path) -> None:
    digits = read(standin_data)
    assert digits.images.shape == (1400, 28, 28)
    assert digits.images.dtype == torch.uint8
    assert digits.labels.equal(torch.arange(1400) % 10)
    assert digits.images[:, 4, 4].equal((255 - digits.labels).to(torch.uint8))
    assert digits.official_test.equal(torch.arange(1400) >= 1200)
    assert digits.index.equal(torch.arange(1400))
    assert digits.classes == tuple("0123456789")


def test_fewer_rows_come_evenly_from_both_files(standin_data: Path) -> None:
    few, all_of_them = read(standin_data, rows=700), read(standin_data)
    assert len(few.labels) == 700
    assert int(few.official_test.sum()) == 100
    assert few.index.equal(few.index.unique())
    assert few.images.equal(all_of_them.images[few.index])
    assert few.labels.equal(all_of_them.labels[few.index])
    assert len(read(standin_data, rows=5000).labels) == 1400


def test_parts_have_their_shares_of_every_class(standin_data: Path) -> None:
    digits = read(standin_data)
    parts = digits.parts(torch_rng(1))
    assert ((parts == 4) == digits.official_test).all()
    for part, expected in enumerate((100, 8, 6, 6, 20)):
        counts = torch.bincount(digits.labels[parts == part], minlength=10)
        assert (counts - expected).abs().max() <= 3
        assert abs(int(counts.sum()) - 10 * expected) <= 3


def test_environments_are_even_and_the_tests_are_others(standin_data: Path) -> None:
    digits = read(standin_data)
    parts = digits.parts(torch_rng(1))
    environment = digits.environments(parts, ("a", "b"), ("c", "d"), torch_rng(2))
    assert environment.names == ("a", "b", "c", "d")
    for part in range(5):
        counts = torch.bincount(environment.codes[parts == part], minlength=4).tolist()
        assert counts[:2] == [0, 0] if part == 4 else counts[2:] == [0, 0]
        one, other = counts[2:] if part == 4 else counts[:2]
        assert abs(one - other) <= 4


@pytest.fixture
def damaged(standin_data: Path, tmp_path: Path) -> Path:
    """A copy of the data sets to damage."""
    return Path(shutil.copytree(standin_data, tmp_path / "damaged"))


def change_images(file: Path, change: dict[int, object]) -> None:
    frame = pd.read_parquet(file)
    images = frame["image"].tolist()
    for row, value in change.items():
        images[row] = value
    frame.assign(image=images).to_parquet(file)


def test_a_truncated_shard(damaged: Path) -> None:
    file = damaged / "mnist" / TRAIN
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"train-00000-of-00001\.parquet is a truncated or damaged Parquet file"):
        read(damaged)


def test_a_missing_shard_and_a_missing_column(damaged: Path) -> None:
    (damaged / "mnist" / TEST_FILE).unlink()
    with pytest.raises(UserError, match="no test file beside the training file"):
        read(damaged)
    for file in (damaged / "fashion_mnist").iterdir():
        pd.read_parquet(file).rename(columns={"image": "picture"}).to_parquet(file)
    with pytest.raises(UserError, match="has no column 'image'"):
        read(damaged, name="fashion_mnist")


@pytest.mark.parametrize("content", [b"", None, b"no image", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_broken_image_bytes_name_the_row(content: bytes | None, damaged: Path) -> None:
    change_images(damaged / "mnist" / TRAIN, {6: {"bytes": content, "path": None}})
    with pytest.raises(UserError, match="1 of 1,400 images in column 'image' cannot be read \\(row 7: ") as caught:
        read(damaged)
    assert "\n" not in str(caught.value)


def test_a_truncated_image_names_the_row(damaged: Path) -> None:
    whole = pd.read_parquet(damaged / "mnist" / TRAIN)["image"][3]["bytes"]
    change_images(damaged / "mnist" / TRAIN, {3: {"bytes": whole[: len(whole) // 2], "path": None}})
    with pytest.raises(UserError, match="column 'image' cannot be read \\(row 4: truncated\\)"):
        read(damaged)


def test_a_label_that_is_missing_is_refused(damaged: Path) -> None:
    for file in (damaged / "mnist").iterdir():
        frame = pd.read_parquet(file)
        frame["label"] = frame["label"].where(frame.index != 2).astype("Int64")
        frame.to_parquet(file)
    with pytest.raises(UserError, match="has rows without a label"):
        read(damaged)


def test_the_real_digits(data_root: Path) -> None:
    digits = read(data_root)
    assert digits.images.shape == (70_000, 28, 28)
    assert int(digits.official_test.sum()) == 10_000
    assert digits.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert torch.bincount(digits.labels[~digits.official_test]).tolist()[:3] == [5923, 6742, 5958]


def test_merged_classes_are_named_by_their_ends() -> None:
    digits = embedded_digits(torch_rng(0))
    for classes, names in (
        (10, "0 1 2"),
        (5, "0 to 1|2 to 3|4 to 5"),
        (2, "0 to 4|5 to 9"),
        (3, "0 to 3|4 to 6|7 to 9"),
    ):
        merged = digits.merged(classes)
        assert len(merged.classes) == classes
        assert list(merged.classes[:3]) == (names.split("|") if "|" in names else names.split())
        assert merged.labels.equal(digits.labels * classes // 10)
        assert merged.images is digits.images


def test_classes_alone_are_numbered_as_named(standin_data: Path) -> None:
    digits = read(standin_data)
    few = digits.only(("7", "2"))
    assert few.classes == ("7", "2")
    assert len(few.labels) == 280
    assert digits.labels[few.index].equal(torch.tensor([7, 2])[few.labels])
    assert digits.images[few.index].equal(few.images)
    with pytest.raises(UserError, match="unknown class '11'"):
        digits.only(("11",))
    read_alone = read_image_set("mnist", str(standin_data), None, torch_rng(0), ("7", "2"))
    assert read_alone.images.equal(few.images)
    assert read_alone.labels.equal(few.labels)


def test_half_the_resolution_is_the_mean_of_four_pixels(standin_data: Path) -> None:
    digits = read(standin_data, 1000)
    half = small_digits("mnist", str(standin_data), 1000, torch_rng(0))
    assert half.images.shape[1:] == (14, 14)
    mean = torch.nn.functional.avg_pool2d(digits.images.float(), 2)
    assert half.images.equal(mean.round().to(torch.uint8))


def test_the_embedded_digits_need_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOLDFAST_DATA", raising=False)
    digits = small_digits("digits", None, None, torch_rng(0))
    assert digits.images.shape == (1797, 8, 8)
    assert int(digits.images.max()) == 255
    assert 0.2 < digits.official_test.double().mean() < 0.3
