"""Several heads on one trunk: shapes, what each head is, and what the ensemble mixes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from holdfast.core.errors import UserError
from holdfast.core.taps import last_linear
from holdfast.heads.diverse import DiverseHeads
from holdfast.heads.ensemble import LastLayerEnsemble
from holdfast.models.mlp import MLP


def network(bias: bool = True) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3, bias=bias))


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("base", [network(), network(bias=False), nn.Linear(4, 3), MLP(hidden=(7,)).build((4,), 3)])
def test_a_single_head_is_what_it_was_among_the_others(base: nn.Module) -> None:
    before = {name: values.clone() for name, values in base.state_dict().items()}
    heads = DiverseHeads(base, 3)
    together = heads(X)
    assert together.shape == (5, 3, 3)
    for head in range(3):
        single = heads.single(head)
        torch.testing.assert_close(single(X), together[:, head])
        assert {k: v.shape for k, v in single.state_dict().items()} == {k: v.shape for k, v in before.items()}
        assert all(p.requires_grad for p in single.parameters())
    assert not torch.equal(together[:, 0], together[:, 1])
    assert all(torch.equal(values, before[name]) for name, values in base.state_dict().items())


def test_a_single_head_shares_no_memory_with_the_others() -> None:
    heads = DiverseHeads(network(), 2)
    single = heads.single(1)
    before = heads(X).detach().clone()
    with torch.no_grad():
        for p in single.parameters():
            p.zero_()
    assert torch.equal(heads(X), before)


def test_the_first_head_may_be_the_networks_own() -> None:
    base = network()
    kept, fresh = DiverseHeads(base, 2, keep_first=True), DiverseHeads(base, 2)
    torch.testing.assert_close(kept.single(0)(X), base(X))
    assert not torch.allclose(kept.single(1)(X), base(X))
    assert not torch.allclose(fresh.single(0)(X), base(X))


def test_the_ensemble_mixes_heads_by_the_predicted_kind() -> None:
    ensemble = LastLayerEnsemble(network(), 2)
    heads, kind = ensemble.parts(X)
    assert heads.shape == (5, 2, 3)
    assert kind.shape == (5, 2)
    share = kind.exp() / kind.exp().sum(1, keepdim=True)
    torch.testing.assert_close(ensemble(X), share[:, :1] * heads[:, 0] + share[:, 1:] * heads[:, 1])
    layer = last_linear(ensemble)
    with torch.no_grad():
        layer.weight[-2:] = 0
        layer.bias[-2:] = torch.tensor([0.0, 60.0])
    torch.testing.assert_close(ensemble(X), ensemble.parts(X)[0][:, 1])


def test_the_ensemble_of_one_kind_is_its_head() -> None:
    ensemble = LastLayerEnsemble(network(), 1)
    torch.testing.assert_close(ensemble(X), ensemble.parts(X)[0][:, 0])


@pytest.mark.parametrize("kind", [DiverseHeads, LastLayerEnsemble])
def test_a_network_that_goes_on_after_its_last_layer_is_refused(kind: type) -> None:
    odd = nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (-1, 1)))
    with pytest.raises(UserError, match="last linear layer"):
        kind(odd, 2)(X)
