"""Weights in files: whole, in shards, combined without being read at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from weight_networks import convnet, images, mlp

from holdfast.core.errors import UserError
from holdfast.core.files import write_tree
from holdfast.weights import WeightTree, combine_files, read_weights, stored_weights, write_weights
from holdfast.weights import files as files_module


def weights(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    shapes = {"b.weight": (40, 30), "a.weight": (7, 3, 2), "a.bias": (7,), "scale": (), "empty": (0, 3)}
    tensors = {name: torch.randn(shape, generator=rng).to(dtype) for name, shape in shapes.items()}
    return {**tensors, "count": torch.tensor([3, seed])}


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    for seed in (0, 1):
        save_file(weights(seed), tmp_path / f"{seed}.safetensors")
    return tmp_path / "0.safetensors", tmp_path / "1.safetensors"


def test_a_network_is_read_as_it_was_written(tmp_path: Path) -> None:
    net = convnet()
    write_weights(WeightTree.of(net), tmp_path / "w.safetensors")
    assert {*load_file(tmp_path / "w.safetensors")} == {*net.state_dict()}
    other = convnet(seed=1)
    read_weights(tmp_path / "w.safetensors", other).load_into(other)
    x = next(images())
    assert torch.equal(net(x), other(x))


def test_the_files_of_cells_and_of_safetensors_are_read_alike(tmp_path: Path) -> None:
    net = mlp(4, 5, 3)
    save_file(net.state_dict(), tmp_path / "plain.safetensors")
    (tmp_path / "cell").mkdir()
    write_tree(tmp_path / "cell" / "model.safetensors", dict(net.state_dict()))
    one, other = (read_weights(tmp_path / name, mlp(4, 5, 3, seed=1)) for name in ("plain.safetensors", "cell"))
    for name, tensor in net.state_dict().items():
        assert torch.equal(one.parameters[name], tensor)
        assert torch.equal(other.parameters[name], tensor)


@pytest.mark.parametrize("piece", [7, 1 << 19])
def test_files_are_combined_as_trees_are(
    two: tuple[Path, Path], tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "PIECE", piece)
    combine_files([(0.25, two[0]), (2.0, two[1])], tmp_path / "out.safetensors")
    a, b, found = weights(0), weights(1), load_file(tmp_path / "out.safetensors")
    assert {*found} == {*a}
    for name in {*a} - {"count"}:
        torch.testing.assert_close(found[name], 0.25 * a[name] + 2.0 * b[name])
    assert torch.equal(found["count"], a["count"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_sums_are_made_in_single_precision_at_least(tmp_path: Path, dtype: torch.dtype) -> None:
    for seed in (0, 1):
        save_file(weights(seed, dtype), tmp_path / f"{seed}.safetensors")
    terms = [(1 / 3, tmp_path / "0.safetensors"), (2 / 3, tmp_path / "1.safetensors")]
    combine_files(terms, tmp_path / "out.safetensors")
    a, b, found = weights(0, dtype), weights(1, dtype), load_file(tmp_path / "out.safetensors")
    exact = torch.promote_types(dtype, torch.float32)
    expected = (a["b.weight"].to(exact) * (1 / 3)).add(b["b.weight"].to(exact), alpha=2 / 3).to(dtype)
    assert found["b.weight"].dtype == dtype
    assert torch.equal(found["b.weight"], expected)


def test_shards_are_written_and_read(two: tuple[Path, Path], tmp_path: Path) -> None:
    combine_files([(1.0, two[0])], tmp_path / "shards", shard_bytes=200)
    index = json.loads((tmp_path / "shards" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) >= 2
    assert index["metadata"]["total_size"] == sum(t.numel() * t.itemsize for t in weights(0).values())
    stored = stored_weights(tmp_path / "shards")
    for name, tensor in weights(0).items():
        assert torch.equal(stored.read(name), tensor)
    combine_files([(1.0, tmp_path / "shards"), (-1.0, two[0])], tmp_path / "zero.safetensors")
    assert not load_file(tmp_path / "zero.safetensors")["b.weight"].any()


def test_a_file_can_be_combined_into_itself(two: tuple[Path, Path]) -> None:
    combine_files([(0.5, two[0]), (0.5, two[1])], two[0])
    expected = (weights(0)["b.weight"] + weights(1)["b.weight"]) / 2
    torch.testing.assert_close(load_file(two[0])["b.weight"], expected)


def test_mistakes_are_one_line_and_leave_nothing(two: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    cut, empty = tmp_path / "cut.safetensors", tmp_path / "empty.safetensors"
    cut.write_bytes(two[0].read_bytes()[:-9])
    empty.write_bytes(b"")
    other, bad = tmp_path / "other.safetensors", tmp_path / "bad.safetensors"
    save_file({**weights(0), "b.weight": torch.zeros(4, 3)}, other)
    save_file({**weights(0), "a.bias": torch.full((7,), torch.nan)}, bad)
    for file, message in (
        (cut, "cut.safetensors .*truncated or damaged; copy it again"),
        (empty, "empty.safetensors is empty: copy it again"),
        (tmp_path / "none.safetensors", "none.safetensors .*missing"),
        (other, r"different architectures: b.weight is \(40, 30\) and \(4, 3\)"),
        (bad, "a.bias of .*bad.safetensors gives values that are not finite"),
        (tmp_path, "holds 6 safetensors files and no model.safetensors.index.json"),
    ):
        before = sorted(tmp_path.iterdir())
        with pytest.raises(UserError, match=message):
            combine_files([(0.5, two[0]), (0.5, file)], out)
        assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(UserError, match="no weights to combine"):
        combine_files([], out)


def test_a_network_of_another_shape_is_not_read(tmp_path: Path) -> None:
    write_weights(WeightTree.of(mlp(4, 5, 3)), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"0.weight is \(5, 4\) and \(6, 4\)"):
        read_weights(tmp_path / "w.safetensors", mlp(4, 6, 3))
    with pytest.raises(UserError, match=r"2.weight is only in the first"):
        read_weights(tmp_path / "w.safetensors", mlp(4, 5))
