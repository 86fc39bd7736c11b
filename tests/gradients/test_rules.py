"""Each rule against the slow engine."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from gradient_checks import check, squares
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

groupings = st.lists(st.integers(-1, 4), min_size=2, max_size=8).filter(lambda g: len(set(g)) > 1)


def served_by(model: nn.Module, x: Tensor, groups: list[int], *rules: str, chunk_bytes: int = 2000) -> None:
    """Both groupings equal the reference, and no parameter took a slower way."""
    model = model.double()
    for labels in (torch.tensor(groups), "per-example"):
        explanation = check(model, x, labels, chunk_bytes=chunk_bytes).explain()
        for line in explanation.splitlines():
            assert any(line.endswith(f"the rule of {rule}") for rule in rules), line


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(max_examples=30, deadline=None)
@given(
    groups=groupings,
    dimensions=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    padding=st.sampled_from([0, 1, 2, "same", "valid"]),
    mode=st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
    channels=st.sampled_from([(1, 2, 1), (2, 4, 2), (3, 2, 1), (2, 2, 2)]),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_convolutions(groups, dimensions, kernel, stride, dilation, padding, mode, channels, bias, seed) -> None:
    torch.manual_seed(seed)
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    stride = 1 if padding == "same" else stride
    first = layer(
        channels[0],
        channels[1],
        kernel,
        stride,
        padding,
        dilation,
        channels[2],
        bias,
        padding_mode=mode,
    )
    model = nn.Sequential(first, nn.Tanh(), layer(channels[1], 2, 1))
    size = 6 if dimensions < 3 else 5
    x = torch.randn(len(groups), channels[0], *(size,) * dimensions, dtype=torch.float64)
    served_by(model, x, groups, layer.__name__)


def test_convolution_of_large_images() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 2, 10, 12, dtype=torch.float64).to(memory_format=torch.channels_last)
    served_by(nn.Conv2d(2, 3, 3, padding=1), x, [0, 1, 1, 2, 2], "Conv2d")


@pytest.mark.parametrize("chunk_bytes", [1, 4_000, 10**6])
def test_convolution_blocks_of_several_orders_in_memory(chunk_bytes: int) -> None:
    """Single rows of many channels are laid out otherwise than environments of several rows."""
    torch.manual_seed(0)
    model = nn.Conv2d(6, 4, 3, padding=1, groups=2)
    x = torch.randn(9, 6, 4, 4, dtype=torch.float64)
    served_by(model, x, [0, 0, 1, 2, 3, 4, 5, 5, 5], "Conv2d", chunk_bytes=chunk_bytes)


@settings(max_examples=15, deadline=None)
@given(
    groups=groupings, shape=st.sampled_from([(4,), (3, 4), (2, 3, 4)]), norm=st.integers(0, 3), seed=st.integers(0, 99)
)
def test_trailing_norms(groups, shape, norm, seed) -> None:
    torch.manual_seed(seed)
    layer = [
        nn.LayerNorm(4),
        nn.LayerNorm(shape[-2:], eps=1e-2),
        nn.LayerNorm(4, bias=False),
        nn.RMSNorm(shape[-2:]),
    ][norm]
    nn.init.normal_(layer.weight)
    x = torch.randn(len(groups), *shape, dtype=torch.float64)
    served_by(nn.Sequential(layer, nn.Tanh(), nn.LayerNorm(shape[-1:])), x, groups, "LayerNorm", "RMSNorm")


@settings(max_examples=15, deadline=None)
@given(groups=groupings, positions=st.lists(st.integers(1, 3), max_size=3), seed=st.integers(0, 99))
def test_group_norm_and_fixed_batch_norm(groups, positions, seed) -> None:
    torch.manual_seed(seed)
    x = torch.randn(len(groups), 4, *positions, dtype=torch.float64)
    served_by(nn.Sequential(nn.GroupNorm(2, 4), nn.Tanh(), nn.GroupNorm(1, 4)), x, groups, "GroupNorm")
    batch_norm = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[x.ndim](4)
    batch_norm.running_mean.normal_()
    batch_norm.running_var.uniform_(0.5, 2)
    served_by(batch_norm.eval(), x, groups, type(batch_norm).__name__)


class Text(nn.Module):
    """Token embeddings, tied to the output layer or not."""

    def __init__(self, *, tied: bool, padding: int | None, **options) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4, padding_idx=padding, **options)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 7, bias=False)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(torch.tanh(self.table(tokens))))


@settings(max_examples=20, deadline=None)
@given(
    groups=groupings,
    positions=st.lists(st.integers(1, 4), max_size=2),
    tied=st.booleans(),
    padding=st.sampled_from([None, 0]),
    seed=st.integers(0, 99),
)
def test_embeddings(groups, positions, tied, padding, seed) -> None:
    torch.manual_seed(seed)
    tokens = torch.randint(0, 7, (len(groups), *positions))
    served_by(Text(tied=tied, padding=padding), tokens, groups, "Embedding", "Linear", "LayerNorm")


@pytest.mark.parametrize("options", [{"scale_grad_by_freq": True}])
def test_options_that_no_rule_knows_take_a_slower_way(options) -> None:
    torch.manual_seed(0)
    model = Text(tied=False, padding=None, **options).double()
    tokens = torch.randint(0, 7, (6, 3))
    engine = check(model, tokens, torch.arange(6) % 3)
    assert "table.weight: the rule" not in engine.explain()
    assert "head.weight: the rule of Linear" in engine.explain()


class Doubled(nn.Linear):
    """A layer that replaced its base class's forward."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_a_replaced_forward_is_not_served_by_the_rule_of_the_base_class() -> None:
    torch.manual_seed(0)
    engine = check(Doubled(3, 2).double(), torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 1, 2, 0]))
    assert "weight: Doubled alone" in engine.explain()


def test_a_parametrized_weight() -> None:
    torch.manual_seed(0)
    model = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)).double()
    engine = check(model, torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 1, 2, 0]))
    assert "bias: the rule" in engine.explain()


@pytest.mark.parametrize(
    "layer", [nn.LSTM(3, 4, batch_first=True), nn.GRU(3, 4), nn.Bilinear(3, 3, 2), nn.ConvTranspose1d(3, 2, 2)]
)
def test_layers_without_a_rule(layer: nn.Module) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer
            self.out = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            if isinstance(layer, nn.Bilinear):
                return self.out(self.layer(x, x))
            if isinstance(layer, nn.GRU):
                return self.out(self.layer(x.transpose(0, 1))[0].transpose(0, 1)[..., :2])
            if isinstance(layer, nn.LSTM):
                return self.out(self.layer(x)[0][..., :2])
            return self.out(self.layer(x.transpose(1, 2)).transpose(1, 2))

    torch.manual_seed(0)
    explanation = check(Model().double(), torch.randn(6, 3, 3, dtype=torch.float64), torch.arange(6) % 4).explain()
    assert "out.weight: the rule of Linear" in explanation
    one_by_one = isinstance(layer, nn.LSTM)  # vmap has no rule for it; the GRU has its rows second
    assert ("alone, run again for each environment" in explanation) == one_by_one
    assert ("backward passes" in explanation) == isinstance(layer, nn.GRU)


class Branching(nn.Module):
    """A module that looks at its values, so that it cannot be mapped."""

    calls: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("mean", torch.zeros(3))
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        self.seen = self.seen + 1
        self.mean = x.detach().mean(0)
        return x * self.scale if x.shape[-1] == 3 and bool((x < 100).all()) else x


def test_a_module_that_cannot_be_mapped_is_run_again_for_each_environment() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), Branching()).double()
    x, groups = torch.randn(10, 3, dtype=torch.float64), torch.tensor([4, 0, 0, 2, 2, 2, 2, 0, 4, 7])
    engine = check(model, x, groups)
    assert "1.scale: Branching alone, run again for each environment" in engine.explain()
    Branching.calls.clear()
    seen = model[1].seen
    losses = squares(model(x))
    mean = model[1].mean
    engine.statistics(losses, groups)
    assert Branching.calls == [10, 4, 3, 2, 1]  # the forward pass, and no attempt to map it
    assert model[1].mean is mean
    assert model[1].seen == seen + 1
