"""Networks of one's own and pretrained ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from holdfast.commands.request import model_of
from holdfast.core.errors import MissingExtra, UserError
from holdfast.core.registry import create
from holdfast.core.task import Model
from holdfast.models.hf import HuggingFace
from holdfast.models.own import Own
from holdfast.testing import MODEL_CONTRACTS
from holdfast.testing.models import ModelContract

NETWORK = """
from torch import nn
def net(input_shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0], outputs))
def wrong(input_shape, outputs):
    return 3
def narrow(input_shape):
    return 3
def wide(input_shape, outputs):
    return nn.Linear(input_shape[0], outputs + 1)
def misfit(input_shape, outputs):
    return nn.Linear(input_shape[0] + 1, outputs)
def lazy(input_shape, outputs):
    return nn.LazyLinear(outputs)
"""


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "nets_here.py"
    path.write_text(NETWORK, encoding="utf-8")
    yield path
    sys.modules.pop("nets_here", None)


def test_a_function_of_ones_own_is_named_as_python_names_it() -> None:
    model = model_of("nets_here:net")
    assert model == Own(function="nets_here:net")
    assert model.build((5,), 3)(torch.zeros(2, 5)).shape == (2, 3)
    assert create(Model, "own:function=nets_here.net").build((5,), 3)(torch.zeros(2, 5)).shape == (2, 3)
    assert model_of("nets_here:lazy").build((5,), 3)(torch.zeros(2, 5)).shape == (2, 3)
    assert model_of("mlp:hidden=[4]").name == "mlp"


@pytest.mark.parametrize("contract", MODEL_CONTRACTS)
def test_it_keeps_the_contract_of_models(contract: ModelContract) -> None:
    contract(Own(function="nets_here:net"), (6,))


def test_another_text_of_the_module_is_another_model(own_module: Path) -> None:
    before = Own(function="nets_here:net").describe()
    assert Own(function="nets_here:net").describe() == before
    own_module.write_text(NETWORK.replace("nn.Flatten(), ", ""), encoding="utf-8")
    sys.modules.pop("nets_here")
    import linecache

    linecache.checkcache()
    assert Own(function="nets_here:net").describe() != before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nets_here:wrong", "returned int: write a function"),
        ("nets_here:narrow", "raised TypeError"),
        ("nets_here:wide", r"puts out \(2, 4\) for 2 rows, not \(2, 3\)"),
        ("nets_here:misfit", "the network of nets_here:misfit raised RuntimeError"),
        ("nets_here:nett", "did you mean 'net'"),
        ("nowhere_at_all:net", "no Python module 'nowhere_at_all'"),
    ],
)
def test_mistakes_are_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        model_of(name).build((5,), 3)


def test_a_pretrained_backbone_gets_a_fresh_head(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is an extra")
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic")
    transformers.ResNetModel(config).save_pretrained(tmp_path / "net")
    model = model_of(f"hf:{tmp_path / 'net'}")
    network = model.build((1, 16, 16), 4)
    assert network(torch.rand(2, 1, 16, 16)).shape == (2, 4)
    assert [name for name, _ in network.named_children()] == ["features", "head"]
    again = model.build((1, 16, 16), 4)
    again.load_state_dict(network.state_dict())
    for contract in MODEL_CONTRACTS[:2]:
        contract(model, (3, 16, 16))
    with pytest.raises(UserError, match="takes pictures of 1 or 3 channels, or text"):
        model.build((7, 7), 4)
    with pytest.raises(UserError, match="cannot read an image network"):
        HuggingFace(path=str(tmp_path)).build((3, 16, 16), 2)


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"holdfast\[hf\]"):
        HuggingFace(path="somewhere").build((3, 8, 8), 2)
