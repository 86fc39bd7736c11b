"""``holdfast run FOLDER``: from images on disk to a report, and one line for every mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

Call = Callable[..., Any]
USUAL = ("--environment", "site", "--method", "erm", "--steps", 3, "--seeds", 1, "--batch-size", 8)
FAST = ("--evaluate", "performance", "--model", "cnn:channels=[8]")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """60 images: two kinds, three sites."""
    rng, rows = np.random.default_rng(0), []
    for i in range(60):
        name = f"{['cat', 'dog'][i % 2]}/{i}.png"
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "pets" / name)
        rows.append((name, "xyz"[i // 2 % 3], "fm"[i // 6 % 2]))
    pd.DataFrame(rows, columns=["file_name", "site", "sex"]).to_csv(tmp_path / "pets/metadata.csv", index=False)
    return tmp_path / "pets"


def assert_refused(called: Any, *texts: str) -> None:
    assert called.code == 2
    assert called.err.startswith("holdfast: ")
    assert called.err.count("\n") == 1, called.err
    assert called.out == ""
    for text in texts:
        assert text in called.err


def test_every_environment_in_turn(call: Call, pets: Path) -> None:
    called = call("run", "pets", *USUAL, *FAST, "--group", "sex", "--json")
    assert called.code == 0, called.err
    report = Path(called.json["report"])
    assert report.is_file()
    assert report.parent.name.startswith("pets-")
    run = json.loads((report.parent / "run.json").read_text())
    assert len(run["cells"]) == 3
    assert any("every environment is held out in turn, in 3 folds: x; y; z" in note for note in run["task"]["notes"])
    again = call("run", "pets", *USUAL, *FAST, "--group", "sex", "--dry-run", "--json")
    assert all(cell["finished"] for cell in again.json["cells"])


def test_augmentation_is_part_of_what_a_cell_is(call: Call, pets: Path) -> None:
    def planned(*words: object) -> str:
        called = call("run", "pets", *USUAL, "--holdout-environment", "x", "--dry-run", "--json", *words)
        assert called.code == 0, called.err
        return called.json["cells"][0]["cell"]

    references = (
        "horizontal-flip",
        "horizontal-flip:probability=1.0",
        "horizontal-flip+random-crop",
        "random-crop+horizontal-flip",
    )
    assert len({planned(), *(planned("--augment", reference) for reference in references)}) == 5


def test_an_augmented_run(call: Call, pets: Path) -> None:
    augment = ("--augment", "random-crop:padding=1+random-erasing")
    called = call("run", "pets", *USUAL, *FAST, "--holdout-environment", "x", *augment)
    assert called.code == 0, called.err


def test_mistakes_with_augmentations(call: Call, pets: Path) -> None:
    run = ("run", "pets", *USUAL)
    assert_refused(call(*run, "--augment", "horizontal-flop"), "did you mean 'horizontal-flip'?")
    assert_refused(call(*run, "--augment", "horizontal-flip,random-crop"), "join them with '+'")
    assert_refused(call(*run, "--augment", "random-crop:padding=0"), "padding=0 is out of range")
    logistic = ("run", "pets", "--environment", "site", "--method", "logistic", "--augment", "horizontal-flip")
    assert_refused(call(*logistic), "logistic does not learn from batches: run it without --augment")
    assert_refused(
        call("run", "linreg-patchwork", "--method", "erm", "--augment", "horizontal-flip"),
        "'horizontal-flip' takes images",
    )


def test_a_bad_image_among_good_ones(call: Call, pets: Path, tree: Callable[[], dict[str, int]]) -> None:
    (pets / "cat/0.png").write_bytes(b"")
    (pets / "dog/1.png").write_bytes((pets / "dog/1.png").read_bytes()[:50])
    before = tree()
    assert_refused(
        call("run", "pets", *USUAL), "2 of 60 images cannot be read", "cat/0.png: empty", "--skip-unreadable"
    )
    assert tree() == before
    called = call("run", "pets", *USUAL, *FAST, "--skip-unreadable", "--holdout-environment", "x")
    assert called.code == 0, called.err
    assert "left out, as they cannot be read: 2 images" in " ".join(called.out.split())


def test_pixels_that_are_bad_inside_end_the_run_in_one_line(call: Call, pets: Path) -> None:
    for path in pets.rglob("*.png"):
        content = bytearray(path.read_bytes())
        content[50:80] = bytes(30)
        path.write_bytes(content)
    assert_refused(call("run", "pets", *USUAL, *FAST, "--holdout-environment", "x"), "cannot be decoded", "run again")


def test_what_each_kind_of_data_takes(call: Call, pets: Path, patients: pd.DataFrame) -> None:
    patients.to_csv("t.csv", index=False)
    table = ("run", "t.csv", "--label", "died", "--environment", "ward")
    assert_refused(
        call(*table, "--metadata", "m.csv", "--skip-unreadable"), "--metadata, --skip-unreadable: only a folder"
    )
    assert_refused(call("run", "pets", *USUAL, "--drop", "sex"), "--drop: only a table file")
    assert_refused(call("run", "colored-digits", "--size", 8), "--size: only a table file or a folder of images")
    assert_refused(call("run", "pets", "--method", "erm"), "needs --environment COLUMN", "site, sex, folder-1")
    assert_refused(call("run", "pets", *USUAL, "--size", 0), "--size is 0: it must be at least 1")
    balanced = ("--environment", "site", "--method", "balanced:groups=sex*label")
    assert_refused(call("run", "pets", *balanced), "add --group sex")


def test_a_folder_with_neither_images_nor_tables(call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_refused(call("run", "empty", *USUAL, "--label", "y"), "has no tables")
