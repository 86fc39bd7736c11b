"""The reference networks: shapes, names of layers, initialisations and refusals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from holdfast.core.errors import UserError
from holdfast.core.registry import create
from holdfast.core.task import Model
from holdfast.models.fast_resnet import Residual

OTHERS = ("linear", "cnn", "rescaled", "fast-resnet")


@pytest.mark.parametrize("reference", ["mlp", "mlp:hidden=[]", "mlp:dropout=0.5", *OTHERS])
@pytest.mark.parametrize("outputs", [1, 7])
def test_outputs_and_names_of_layers(reference: str, outputs: int) -> None:
    network = create(Model, reference).build((3, 9, 5), outputs)
    assert network(torch.randn(4, 3, 9, 5)).shape == (4, outputs)
    head = network.get_submodule("head")
    assert isinstance(head, nn.Linear)
    assert [name for name, _ in network.named_children()][:2] == ["features", "head"]
    features = network.get_submodule("features")(torch.randn(4, 3, 9, 5))
    assert features.shape == (4, head.in_features)


@pytest.mark.parametrize("reference", ["mlp:hidden=[6,4]:activation=leaky-relu:init=he", *OTHERS])
def test_rows_do_not_mix(reference: str) -> None:
    """One row alone gets what it gets in a batch: gradients per environment rest on this."""
    network = create(Model, reference).build((2, 8, 8), 3).double()
    x = torch.randn(5, 2, 8, 8, dtype=torch.float64)
    together = network(x)
    alone = torch.cat([network(row[None]) for row in x])
    torch.testing.assert_close(together, alone)


def test_mlp_is_the_composition_it_says() -> None:
    network = create(Model, "mlp:hidden=[4]:activation=leaky-relu").build((3,), 2)
    w1, b1, w2, b2 = network.parameters()
    x = torch.randn(6, 3)
    hidden = x @ w1.T + b1
    expected = torch.where(hidden > 0, hidden, 0.01 * hidden) @ w2.T + b2
    torch.testing.assert_close(network(x), expected)


def test_he_initialisation() -> None:
    network = create(Model, "mlp:hidden=[2000]:init=he").build((50,), 2)
    weight, bias, *_ = network.parameters()
    assert weight.std().item() == pytest.approx((2 / 50) ** 0.5, rel=0.02)
    assert torch.equal(bias, torch.full((2000,), 0.01))


def test_batch_normalisation_stands_before_each_activation() -> None:
    network = create(Model, "mlp:hidden=[4,3]:normalization=batch").build((2,), 1)
    kinds = [type(layer) for layer in network.get_submodule("features").children()]
    assert kinds == [nn.Flatten, *2 * [nn.Linear, nn.BatchNorm1d, nn.ReLU]]


def test_residual_pairs_add_to_what_they_are_given() -> None:
    network = create(Model, "fast-resnet:channels=[8,8,8,8]").build((3, 16, 16), 2)
    pairs = [module for module in network.modules() if isinstance(module, Residual)]
    assert len(pairs) == 2
    x = torch.randn(2, 8, 5, 5)
    for pair in pairs:
        torch.testing.assert_close(pair(x) - x, pair.inner(x))


def test_linear_initialisation() -> None:
    network = create(Model, "linear:init_scale=0.1").build((20_000,), 1)
    weight, bias = network.parameters()
    assert weight.std().item() == pytest.approx(0.1, rel=0.03)
    assert bias.item() == 0.0
    assert len(list(create(Model, "linear:bias=false").build((5,), 1).parameters())) == 1


def test_rescaled_is_affine_in_the_other_model() -> None:
    torch.manual_seed(3)
    plain = create(Model, "linear").build((4,), 1)
    torch.manual_seed(3)
    rescaled = create(Model, "rescaled:model=Linear:shift=100:scale=20").build((4,), 1)
    x = torch.randn(8, 4)
    torch.testing.assert_close(rescaled(x), 100 + 20 * plain(x))
    assert [name for name, _ in rescaled.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert {"units.shift", "units.scale"} <= set(rescaled.state_dict())


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("mlp:hidden=[8,0]", "out of range"),
        ("mlp:hidden=8", "is not a list of"),
        ("mlp:activation=tanh", "is not one of relu, leaky-relu"),
        ("mlp:dropout=1.5", "out of range"),
        ("linear:init_scale=-1", "out of range"),
        ("cnn:groups=0", "out of range"),
        ("cnn:channels=[12]", "multiples of groups=8"),
        ("cnn:channels=[]", "multiples of groups=8"),
        ("mpl", "did you mean 'mlp'"),
    ],
)
def test_refusals(reference: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        create(Model, reference).build((3, 8, 8), 2)
    assert "\n" not in str(caught.value)


def test_cnn_refuses_rows_of_a_table() -> None:
    with pytest.raises(UserError, match="use mlp"):
        create(Model, "cnn").build((12,), 2)
