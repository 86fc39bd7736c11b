from __future__ import annotations

import pytest
import torch
from torch import nn

from holdfast.core.errors import UserError
from holdfast.core.taps import REPRESENTATION, last_linear, tapped, tapped_input


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Sequential(nn.Linear(3, 4)))


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_layers_are_read_by_name_with_their_gradient() -> None:
    model, x = network(), torch.randn(5, 2)
    with tapped(model, ["0", "2.0"]) as features:
        outputs = model(x)
    assert torch.equal(features["0"], model[0](x))
    assert features["2.0"] is outputs
    assert features["0"].requires_grad


def test_the_last_pass_counts_and_nothing_is_read_after_the_block() -> None:
    model = network()
    with tapped(model, ["1"]) as features:
        model(torch.zeros(5, 2))
        model(torch.zeros(7, 2))
    model(torch.zeros(1, 2))
    assert features["1"].shape == (7, 3)
    assert hooks(model) == 0


def test_an_unknown_layer_is_named_and_no_hook_stays() -> None:
    model = network()
    with pytest.raises(UserError, match=r"unknown layer '2.1': did you mean '2.0'"), tapped(model, ["0", "2.1"]):
        pass
    assert hooks(model) == 0


def test_hooks_go_when_the_block_fails() -> None:
    model = network()
    with pytest.raises(ZeroDivisionError), tapped(model, ["0"]), tapped_input(model[2]):
        raise ZeroDivisionError
    assert hooks(model) == 0


def test_inputs_of_a_layer_are_collected_pass_by_pass() -> None:
    model, x = network(), torch.randn(5, 2)
    with tapped_input(model[1]) as inputs:
        model(x)
        model(2 * x)
    assert [len(found) for found in inputs] == [5, 5]
    assert torch.equal(inputs[1], model[0](2 * x))


def test_the_head_is_the_last_linear_layer() -> None:
    model = network()
    assert last_linear(model) is model.get_submodule("2.0")
    with pytest.raises(UserError, match="ReLU has no linear layer"):
        last_linear(nn.ReLU())


def test_the_representation_is_what_the_head_reads() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    x = torch.randn(5, 2)
    with tapped(model, [REPRESENTATION, "0"]) as features:
        model(x)
    torch.testing.assert_close(features[REPRESENTATION], features["0"].relu())
    model(torch.zeros(1, 2))
    assert len(features[REPRESENTATION]) == 5
    with pytest.raises(UserError, match="no linear layer"), tapped(nn.ReLU(), [REPRESENTATION]):
        pass
