"""Features of frozen networks: what a layer gives, kept under a key that anything relevant changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.representations import frozen_features


def rows(seed: int = 0) -> Dataset:
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(seed))
    return Dataset(x, None, Column.constant(50))


class Counting(nn.Module):
    """A network with dropout that counts its passes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.head(self.drop(self.first(x).relu()))


def test_features_are_the_layers_outputs_in_evaluation_mode(tmp_path: Path) -> None:
    network, data = Counting(), rows()
    features = frozen_features(network, data, layer="drop", cache=tmp_path, batch_size=7)
    torch.testing.assert_close(features, network.first(data.x).relu())
    assert network.training
    assert not features.requires_grad


def test_what_was_asked_before_is_read(tmp_path: Path) -> None:
    network, data = Counting(), rows()
    first = frozen_features(network, data, layer="first", cache=tmp_path / "new")
    passes = network.passes
    assert torch.equal(frozen_features(network, data, layer="first", cache=tmp_path / "new"), first)
    assert network.passes == passes
    assert len(list((tmp_path / "new").iterdir())) == 1
    assert torch.equal(frozen_features(network, data, layer="first"), first)
    assert network.passes > passes


def change_weight(network: Counting) -> None:
    with torch.no_grad():
        network.head.weight[1, 3] += 1e-6


def change_architecture(network: Counting) -> None:
    network.drop = nn.Dropout(0.25)


@pytest.mark.parametrize("change", [change_weight, change_architecture])
def test_another_network_has_another_key(change: Callable[[Counting], None], tmp_path: Path) -> None:
    network, data = Counting(), rows()
    frozen_features(network, data, layer="first", cache=tmp_path)
    change(network)
    frozen_features(network, data, layer="first", cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_other_rows_and_layers_have_other_keys(tmp_path: Path) -> None:
    network = Counting()
    for data, layer in ((rows(0), "first"), (rows(1), "first"), (rows(0), "head")):
        frozen_features(network, data, layer=layer, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def flip(file: Path) -> None:
    whole = bytearray(file.read_bytes())
    whole[-3] ^= 1
    file.write_bytes(whole)


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, flip, empty])
def test_a_damaged_file_is_replaced_with_a_warning(damage: Callable[[Path], None], tmp_path: Path) -> None:
    network, data = Counting(), rows()
    first = frozen_features(network, data, layer="first", cache=tmp_path)
    (file,) = tmp_path.iterdir()
    damage(file)
    with pytest.warns(UserWarning, match="is damaged: the features are computed again"):
        assert torch.equal(frozen_features(network, data, layer="first", cache=tmp_path), first)
    assert torch.equal(frozen_features(network, data, layer="first", cache=tmp_path), first)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_one_line(tmp_path: Path) -> None:
    network, data = Counting(), rows()
    frozen_features(network, data, layer="first", cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.chmod(0)
    with pytest.raises(UserError, match="permission denied"):
        frozen_features(network, data, layer="first", cache=tmp_path)


def test_unusable_layers_are_one_line() -> None:
    with pytest.raises(UserError, match="did you mean 'first'"):
        frozen_features(Counting(), rows(), layer="frist")
    recurrent = nn.Sequential(nn.Unflatten(1, (3, 1)), nn.LSTM(1, 2, batch_first=True), Last())
    with pytest.raises(UserError, match="layer '1' does not give a tensor"):
        frozen_features(recurrent, rows(), layer="1")


class Last(nn.Module):
    """The last output of a recurrent layer."""

    def forward(self, outputs: tuple[Tensor, tuple[Tensor, Tensor]]) -> Tensor:
        return outputs[0][:, -1]


class Halved(nn.Module):
    """Numbers in half precision."""

    def forward(self, x: Tensor) -> Tensor:
        return x.bfloat16()


def test_images_are_flattened_and_half_precision_is_kept(tmp_path: Path) -> None:
    data = Dataset(torch.ones(4, 1, 5, 5), None, Column.constant(4))
    assert frozen_features(nn.Sequential(nn.Conv2d(1, 2, 3)), data, layer="0").shape == (4, 18)
    half = nn.Sequential(Halved(), nn.Linear(3, 4).bfloat16())
    features = frozen_features(half, rows(), layer="1", cache=tmp_path)
    assert features.dtype == torch.bfloat16
    assert torch.equal(frozen_features(half, rows(), layer="1", cache=tmp_path), features)
