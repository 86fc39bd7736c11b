"""What changes after a first, checked step: each step equals the reference or is refused."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable

import pytest
import torch
from gradient_checks import ALL, assert_equal, reference, squares
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.prune import random_unstructured
from torch.optim.swa_utils import AveragedModel

from holdfast.core.errors import Diverged, UserError
from holdfast.gradients import GradientEngine, Mean, MicroBatches, SplitEnvironments

GROUPS = torch.arange(8) % 4


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.manual_seed(0)


def rows(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def equals_reference(engine: GradientEngine, losses: Tensor, groups: Tensor = GROUPS) -> None:
    found = engine.statistics(losses, groups, needs=ALL, retain_graph=True)
    assert_equal(found, reference(engine.model, losses, groups), tolerance=1e-9)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


class Between(nn.Module):
    """Two linear layers, and between them a function that steps may exchange."""

    def __init__(self, function: Callable[[Tensor], Tensor] = torch.tanh) -> None:
        super().__init__()
        self.first, self.function, self.second = nn.Linear(3, 4), function, nn.Linear(4, 2)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.function(self.first(x)))


@pytest.mark.parametrize("sizes", [[1, 5, 2, 4], [4, 2, 3, 3], [3, 3, 3, 3]])
def test_ragged_rows_in_a_tensor_whose_length_is_a_multiple_of_theirs(sizes: list[int]) -> None:
    model = Between()
    engine = GradientEngine(model)
    for of_step in ([3, 3, 3, 3], sizes):
        owner = torch.repeat_interleave(torch.arange(4), torch.tensor(of_step))
        model.function = lambda h, owner=owner: torch.zeros(4, 4, dtype=h.dtype).index_add(0, owner, torch.tanh(h))
        equals_reference(engine, squares(model(rows(12, 3))), torch.arange(4) % 2)


def test_rows_that_the_model_sorts() -> None:
    model = net()
    engine = GradientEngine(model)
    for order in (torch.arange(8), torch.randperm(8), torch.tensor([1, 0, 2, 3, 4, 5, 6, 7])):
        equals_reference(engine, squares(model(rows(8, 3)[order])[order.argsort()]))
    assert "0.weight: 4 backward passes: its layer does not keep the rows" in engine.explain()


@pytest.mark.parametrize(
    "mix",
    [
        lambda h: 0.7 * h + 0.3 * h[torch.tensor([1, 0, 3, 2, 5, 4, 7, 6])],
        lambda h: h + 0.5 * h.mean(0),
        lambda h: h - F.batch_norm(h, None, None, training=True),
    ],
)
def test_rows_that_come_to_be_mixed_are_refused(mix: Callable[[Tensor], Tensor]) -> None:
    model = Between()
    engine = GradientEngine(model)
    equals_reference(engine, squares(model(rows(8, 3))))
    model.function = mix
    with pytest.raises(UserError, match="mixes rows"):
        engine.backward(squares(model(rows(8, 3))), GROUPS)


def test_mixing_behind_a_gate_is_noticed_soon_after_it_opens() -> None:
    gate = torch.zeros((), dtype=torch.float64)
    model = Between(lambda h: torch.tanh(h + gate * h.mean(0)))
    engine = GradientEngine(model)
    for _ in range(2):
        equals_reference(engine, squares(model(rows(8, 3))))
    gate.fill_(0.5)
    engine.backward(squares(model(rows(8, 3))), GROUPS)  # the third step of its kind is not checked
    with pytest.raises(UserError, match="mixes rows"):
        engine.backward(squares(model(rows(8, 3))), GROUPS)


def test_a_layer_without_parameters_that_changes_its_mode() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False), nn.Tanh(), nn.Linear(4, 2)).double()
    model[1].eval()
    engine = GradientEngine(model)
    equals_reference(engine, squares(model(rows(8, 3))))
    model[1].train()
    with pytest.raises(UserError, match="mixes"):
        engine.backward(squares(model(rows(8, 3))), GROUPS)


def test_the_mode_at_the_forward_pass_counts() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    losses = squares(model(rows(8, 3)))
    engine = GradientEngine(model)
    losses = squares(model(rows(8, 3)))
    model.eval()
    with pytest.raises(UserError, match="mixes"):
        engine.backward(losses, GROUPS)


class Attention(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)
        self.attention = nn.MultiheadAttention(4, 2, dropout=dropout, batch_first=True)
        self.gate = 1.0
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x + self.gate * self.attention(x, x, x)[0])


def test_a_penalty_on_parameters_that_a_module_serves_alone() -> None:
    model = Attention()
    engine = GradientEngine(model)
    equals_reference(engine, squares(model(rows(8, 3, 4))))
    equals_reference(engine, squares(model(rows(8, 3, 4))) + model.attention.in_proj_weight.square().sum())


def test_parameters_that_are_thawed() -> None:
    model = Attention(dropout=0.5)
    model.attention.requires_grad_(False)
    engine = GradientEngine(model)
    equals_reference(engine, squares(model(rows(8, 3, 4))))
    model.attention.requires_grad_(True)
    equals_reference(engine, squares(model(rows(8, 3, 4))))


def test_dropout_behind_a_gate() -> None:
    model = Attention(dropout=0.5)
    model.gate = 0.0
    engine = GradientEngine(model)
    for gate in (0.0, 0.0, 0.0, 0.5):
        model.gate = gate
        equals_reference(engine, squares(model(rows(8, 3, 4))))


def test_random_numbers_stay_those_of_the_model() -> None:
    model = Attention(dropout=0.5)
    engine = GradientEngine(model)
    losses = squares(model(rows(8, 3, 4)))
    state = torch.get_rng_state()
    engine.backward(losses, GROUPS)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_gradient_penalty_that_is_switched_on() -> None:
    """Forward and double backward pass read the same transposed weight."""
    model = net()
    engine = GradientEngine(model)
    for factor in (0.0, 1.0):
        x = rows(8, 3).requires_grad_()
        losses = squares(model(x))
        (gradient,) = torch.autograd.grad(losses.sum(), x, create_graph=True)
        equals_reference(engine, losses + factor * gradient.square().sum(1))


def test_pruned_weights() -> None:
    model = net()
    engine = GradientEngine(model)
    engine.statistics(squares(model(rows(8, 3))), GROUPS)
    random_unstructured(model[0], "weight", 0.3)
    losses = squares(model(rows(8, 3)))
    (wanted,) = torch.autograd.grad(losses.mean(), model[0].weight_orig, retain_graph=True)
    engine.backward(losses, GROUPS)
    torch.testing.assert_close(model[0].weight_orig.grad, wanted)


def test_hooks_on_parameters_and_forwards_put_on_a_layer() -> None:
    model = net()
    engine = GradientEngine(model)
    equals_reference(engine, squares(model(rows(8, 3))))
    handle = model[0].weight.register_hook(lambda g: g * torch.tensor([0.0, 1.0, 1.0]))
    equals_reference(engine, squares(model(rows(8, 3))))
    handle.remove()
    forward = model[0].forward
    model[0].forward = lambda x: 2 * forward(x)
    equals_reference(engine, squares(model(rows(8, 3))))


def test_an_older_hook_that_begins_to_change_the_output() -> None:
    model, factor = net(), torch.ones(())
    model[0].register_forward_hook(lambda module, arguments, output: factor * output)
    engine = GradientEngine(model)
    for value in (1.0, 3.0):
        factor.fill_(value)
        equals_reference(engine, squares(model(rows(8, 3))))
    assert "0.weight: 4 backward passes: a hook that is older" in engine.explain()


def test_weights_that_stand_in_for_the_layers_own() -> None:
    model, mask = net(), torch.ones(4, 3, dtype=torch.float64)
    engine = GradientEngine(model)
    for _ in range(2):
        parameters = {**dict(model.named_parameters()), "0.weight": model[0].weight * mask}
        equals_reference(engine, squares(torch.func.functional_call(model, parameters, (rows(8, 3),))))
        mask[:2] = 0


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 3, 3), nn.GroupNorm(1, 3), nn.BatchNorm2d(3).eval()])
@pytest.mark.parametrize("frames", [2, 3])
def test_layers_over_frames(layer: nn.Module, frames: int) -> None:
    layer = copy.deepcopy(layer).double()
    engine = GradientEngine(layer)
    for _ in range(2):
        x = rows(8, frames, 3, 5, 5)
        equals_reference(engine, squares(torch.tanh(layer(x.flatten(0, 1))).unflatten(0, (8, frames))))
    assert f"weight: the rule of {type(layer).__name__}" in engine.explain()


@pytest.mark.parametrize("batch", [7, 8])
def test_a_layer_of_parameters_alone_mixes_no_rows(batch: int) -> None:
    class Modulated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.latents, self.read, self.first = nn.Parameter(torch.randn(8, 4)), nn.Linear(4, 4), nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.first(x)) @ self.read(self.latents).t()

    model = Modulated().double()
    equals_reference(GradientEngine(model), squares(model(rows(batch, 3))), torch.arange(batch) % 3)


@pytest.mark.parametrize("layer", [nn.GRU(3, 4, batch_first=True), nn.LSTM(3, 4, batch_first=True)])
def test_the_last_hidden_state(layer: nn.Module) -> None:
    model = nn.ModuleList([copy.deepcopy(layer), nn.Linear(4, 2)]).double()
    hidden = model[0](rows(8, 5, 3))[1]
    engine = GradientEngine(model)
    hidden = model[0](rows(8, 5, 3))[1]
    last = (hidden[0] if isinstance(hidden, tuple) else hidden)[-1]
    equals_reference(engine, squares(model[1](last)))


def test_a_scalar_beside_the_output() -> None:
    class WithPenalty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.rand(4))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return torch.tanh(x * self.scale), self.scale.square().sum()

    model = nn.ModuleList([nn.Linear(3, 4), WithPenalty(), nn.Linear(4, 2)]).double()
    engine = GradientEngine(model)
    y, penalty = model[1](model[0](rows(8, 3)))
    equals_reference(engine, squares(model[2](y)) + 0.1 * penalty)


def test_a_reentrant_checkpoint_is_refused() -> None:
    model = net()
    engine = GradientEngine(model)
    y = torch.utils.checkpoint.checkpoint(model, rows(8, 3).requires_grad_(), use_reentrant=True)
    with pytest.raises(UserError, match="use_reentrant=False"):
        engine.backward(squares(y), GROUPS)
    y = torch.utils.checkpoint.checkpoint(model, rows(8, 3), use_reentrant=False)
    equals_reference(engine, squares(y))


def test_copies_of_a_model_are_not_the_engines() -> None:
    model = net()
    engine = GradientEngine(model)
    for twin in (copy.deepcopy(model), AveragedModel(model)):
        squares(twin(rows(8, 3))).sum().backward()
    torch.save(model, io.BytesIO())
    equals_reference(engine, squares(model(rows(8, 3))))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rows_are_counted_however_coarse_the_losses(dtype: torch.dtype) -> None:
    model = nn.Linear(1, 1, bias=False)
    engine = GradientEngine(model)
    losses = model(torch.ones(6000, 1)).squeeze(1).to(dtype)
    found = engine.statistics(losses, torch.arange(6000) % 2)
    assert found["weight"].sum.item() == pytest.approx(1, rel=1e-2)


def test_rounding_under_autocast_is_no_mixing() -> None:
    model = nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 32), nn.LayerNorm(32))
    engine = GradientEngine(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = squares(model(torch.randn(64, 16)))
        found = engine.statistics(losses, torch.arange(64) % 4, needs=ALL)  # inside, too, sums are in float32
    assert {stats.square.dtype for stats in found.values()} == {torch.float32}
    assert "rule of LayerNorm" in engine.explain()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"environment_weights": torch.ones(5)}, "there are 4"),
        ({"environment_weights": torch.ones(4, 1)}, "there are 4"),
        ({"environment_weights": torch.tensor([1.0, 1, 1, torch.nan])}, "not finite"),
        ({"row_weights": torch.ones(7)}, "there are 8"),
        ({"row_weights": -torch.ones(8)}, "negative"),
        ({"scale": 0.0}, "positive"),
    ],
)
def test_weights_that_do_not_fit(weights: dict, message: str) -> None:
    model = net()
    with pytest.raises(UserError, match=message):
        GradientEngine(model).backward(squares(model(rows(8, 3))), GROUPS, **weights)


def test_pieces_of_environments_are_added_as_a_whole_or_not() -> None:
    model = net()
    pieces = SplitEnvironments(GradientEngine(model), Mean())
    x = rows(8, 3)
    pieces.add(squares(model(x)), GROUPS)
    with pytest.raises(Diverged, match="not finite"):
        pieces.add(squares(model(x)) + torch.where(GROUPS == 3, torch.inf, 0.0), GROUPS)
    pieces.finish()
    wanted = torch.autograd.grad(squares(model(x)).mean(), list(model.parameters()))
    for p, w in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(p.grad, w)
    mixing = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()
    pieces = SplitEnvironments(GradientEngine(mixing), Mean())
    with pytest.raises(UserError, match="mixes"):
        pieces.add(squares(mixing(x)), GROUPS)


def test_scaled_micro_batches() -> None:
    model = net()
    x = rows(8, 3)
    wanted = torch.autograd.grad(squares(model(x)).mean(), list(model.parameters()))
    for batches in (MicroBatches(GradientEngine(model), Mean()), SplitEnvironments(GradientEngine(model), Mean())):
        for codes in ((0, 1), (2, 3)):
            inside = torch.isin(GROUPS, torch.tensor(codes))
            batches.add(squares(model(x[inside])), GROUPS[inside], scale=64.0)
        batches.finish(scale=64.0)
        for p, w in zip(model.parameters(), wanted, strict=True):
            torch.testing.assert_close(p.grad, 64 * w)
            p.grad = None


def test_a_rank_without_rows_adds_nothing() -> None:
    model = net()
    engine = GradientEngine(model)
    nothing = engine.statistics(squares(model(rows(0, 3))), torch.arange(0), needs=ALL)
    something = engine.statistics(squares(model(rows(8, 3))), GROUPS, needs=ALL)
    for name, stats in something.items():
        both = nothing[name] + stats
        assert both.environments == 4
        assert torch.equal(both.log, stats.log)
    with pytest.raises(UserError, match="empty"):
        engine.backward(squares(model(rows(0, 3))), torch.arange(0))
