"""Two encoders under two heads: who reads what, and whom its gradient reaches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from holdfast.core.errors import UserError
from holdfast.core.taps import last_linear
from holdfast.heads.two_streams import TwoStreams

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(3))


def network(width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))


def test_heads_read_the_features_of_both_networks() -> None:
    main, biased = network(8), network(6)
    streams = TwoStreams(main, biased)
    z = torch.cat([main[:2](X), biased[:2](X)], dim=1)  # type: ignore[index]
    torch.testing.assert_close(streams(X), streams.main_head(z))
    torch.testing.assert_close(streams.biased_logits(*streams.features(X)), streams.biased_head(z))
    assert last_linear(streams) is streams.main_head


@pytest.mark.parametrize("which", ["main", "biased"])
def test_a_head_trains_its_own_encoder_alone(which: str) -> None:
    streams = TwoStreams(network(), network())
    logits = getattr(streams, f"{which}_logits")(*streams.features(X))
    torch.testing.assert_close(logits, getattr(streams, f"{which}_head")(torch.cat(streams.features(X), dim=1)))
    logits.square().sum().backward()
    reached = {name for name, p in streams.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {name.split(".")[0] for name in reached} == {f"{which}_encoder", f"{which}_head"}


def test_the_networks_given_are_left_as_they_are() -> None:
    base = network()
    before = base(X).detach().clone()
    streams = TwoStreams(base, base)
    with torch.no_grad():
        for p in streams.parameters():
            p.zero_()
    assert torch.equal(base(X), before)


@pytest.mark.parametrize("last", [nn.Unflatten(1, (1, -1)), nn.AdaptiveAvgPool1d(2)], ids=["shape", "width"])
def test_what_comes_after_the_last_layer_is_refused(last: nn.Module) -> None:
    after = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3), last)
    with pytest.raises(UserError, match="two streams"):
        TwoStreams(after, network())(X)
