from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import UserError
from holdfast.core.files import atomic_path, read_json, read_tree, write_json, write_text, write_tree

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
tensors = st.tuples(
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.uint8]),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(0, 2**31),
).map(lambda t: torch.randint(0, 2, t[1], generator=torch.Generator().manual_seed(t[2])).to(t[0]))
keys = st.text(max_size=4) | st.integers() | st.sampled_from(["tensor", "tuple", "items"])
trees = st.recursive(
    tensors | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=8,
)


def same(a: Any, b: Any) -> bool:
    """Equal in value, type, dtype and shape."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@given(tree=trees)
def test_a_tree_reads_back_as_it_was(folder: Path, tree: Any) -> None:
    write_tree(folder / "a" / "tree.safetensors", tree)
    assert same(read_tree(folder / "a" / "tree.safetensors"), tree)
    assert [path.name for path in (folder / "a").iterdir()] == ["tree.safetensors"]


@given(value=json_values)
def test_json_reads_back_as_it_was(folder: Path, value: Any) -> None:
    write_json(folder / "b" / "value.json", value)
    assert read_json(folder / "b" / "value.json") == value


def test_shared_and_strided_tensors_are_stored(tmp_path: Path) -> None:
    base = torch.arange(6.0).reshape(2, 3)
    tree = {"base": base, "same": base, "view": base[:, 1], "transposed": base.T, "wide": torch.ones(1).expand(4)}
    write_tree(tmp_path / "t", tree)
    assert same(read_tree(tmp_path / "t"), tree)


def test_the_files_of_equal_trees_are_equal(tmp_path: Path) -> None:
    for name in "ab":
        write_tree(tmp_path / name, {"w": torch.ones(3), "step": 4})
        write_json(tmp_path / f"{name}.json", {"y": 1, "x": [2.5]} if name == "a" else {"x": [2.5], "y": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def full_disk(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("failing", ["the write", "the flush", "the rename"])
def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "notes.txt"
    write_text(path, "old")
    where = {"the write": (Path, "write_text"), "the flush": (os, "fsync"), "the rename": (Path, "replace")}[failing]
    with monkeypatch.context() as patch:
        patch.setattr(*where, full_disk)
        with pytest.raises(OSError, match="No space left"):
            write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    write_text(path, "new")
    assert path.read_text() == "new"


def test_a_tree_that_does_not_fit_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_tree(tmp_path / "new" / "tree.safetensors", {"w": torch.ones(100)})
    assert list((tmp_path / "new").iterdir()) == []


def test_an_interrupted_folder_is_removed_and_a_finished_one_appears_whole(tmp_path: Path) -> None:
    def fill(temporary: Path, *, interrupt: bool) -> None:
        temporary.mkdir()
        (temporary / "a").write_text("1")
        assert not (tmp_path / "cell").exists()
        if interrupt:
            raise KeyboardInterrupt
        (temporary / "b").write_text("2")

    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "cell") as temporary:
        fill(temporary, interrupt=True)
    assert list(tmp_path.iterdir()) == []
    with atomic_path(tmp_path / "cell") as temporary:
        fill(temporary, interrupt=False)
    assert sorted(path.name for path in (tmp_path / "cell").iterdir()) == ["a", "b"]
    assert list(tmp_path.iterdir()) == [tmp_path / "cell"]


def one_line(path: Path, read: Any) -> None:
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "run again" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"{}{}", b"nul"])
def test_damaged_json_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "spec.json"
    path.write_bytes(content)
    one_line(path, read_json)


def test_absent_files_and_folders_are_one_line(tmp_path: Path) -> None:
    for read in (read_json, read_tree):
        one_line(tmp_path / "nowhere", read)
        one_line(tmp_path, read)


def test_a_tree_cut_short_anywhere_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "tree.safetensors"
    write_tree(path, {"w": torch.arange(10.0), "b": [torch.ones(2)]})
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        one_line(path, read_tree)


@given(content=st.binary(max_size=200))
def test_random_bytes_are_one_line(folder: Path, content: bytes) -> None:
    path = folder / "random.safetensors"
    path.write_bytes(content)
    one_line(path, read_tree)


def test_safetensors_of_another_writer_are_one_line(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    for metadata in (None, {"tree": "{"}, {"tree": '{"tensor": "7"}'}, {"other": "1"}):
        save_file({"w": torch.ones(2)}, tmp_path / "t", metadata=metadata)
        one_line(tmp_path / "t", read_tree)
