"""The fast engine against the slow one."""

import copy
import gc
import itertools
import weakref

import pytest
import torch
from gradient_checks import ALL, assert_equal, check, reference, squares
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from holdfast.core.errors import Diverged, UserError
from holdfast.gradients import AndMask, GradientEngine, Mean, ReferenceEngine, Stats

groupings = st.lists(st.integers(-1, 5), min_size=2, max_size=14)


@settings(max_examples=40, deadline=None)
@given(
    groups=groupings,
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_linear_layers_equal_the_reference(groups: list[int], sizes: list[int], bias: bool, seed: int) -> None:
    torch.manual_seed(seed)
    layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b, bias=bias), nn.Tanh())]
    model = nn.Sequential(*layers).double()
    x = torch.randn(2 * len(groups), sizes[0], dtype=torch.float64)[::2]
    check(model, x, torch.tensor(groups))
    check(model, x, "per-example")


@settings(max_examples=15, deadline=None)
@given(groups=groupings, positions=st.lists(st.integers(1, 3), max_size=2), seed=st.integers(0, 99))
def test_positions_between_rows_and_features(groups: list[int], positions: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.randn(len(groups), *positions, 3, dtype=torch.float64)
    check(model, x, torch.tensor(groups))
    check(model, x, "per-example")


@settings(max_examples=15, deadline=None)
@given(groups=groupings, seed=st.integers(0, 99))
def test_weights_of_rows_and_environments(groups: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.randn(len(groups), 3, dtype=torch.float64)
    environments = len(set(groups))
    check(
        model,
        x,
        torch.tensor(groups),
        row_weights=torch.rand(len(groups), dtype=torch.float64) + 0.1,
        environment_weights=torch.randn(environments, dtype=torch.float64),
    )


def test_float32() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(), nn.Linear(16, 3))
    check(model, torch.randn(24, 8), torch.arange(24) % 5, tolerance=1e-5)
    check(model, torch.randn(24, 8), "per-example", tolerance=1e-5)


class Reused(nn.Module):
    """One layer called twice, two layers with one weight, a frozen one, one never called, and a raw parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4)
        self.other = nn.Linear(4, 4)
        self.other.weight = self.tied.weight
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.unused = nn.Linear(4, 4)
        self.shift = nn.Parameter(torch.randn(4))
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(torch.tanh(self.twice(x)))
        x = self.frozen(self.other(torch.tanh(self.tied(x))))
        return self.out(torch.tanh(x) * self.shift)


def test_reused_tied_frozen_unused_and_raw_parameters() -> None:
    torch.manual_seed(1)
    model = Reused().double()
    x = torch.randn(9, 4, dtype=torch.float64)
    engine = check(model, x, torch.tensor([4, 4, 0, 2, 2, 2, 0, 9, 9]))
    check(model, x, "per-example")
    assert "unused.weight: the losses do not depend on it" in engine.explain()
    assert "shift: Reused alone" in engine.explain()
    assert "frozen" not in engine.explain()


class ReadOutside(nn.Module):
    """A weight that is read by a function beside its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(torch.tanh(self.layer(x)), self.layer.weight)


def test_a_weight_read_beside_its_layer_gets_a_pass_per_environment() -> None:
    torch.manual_seed(1)
    engine = check(ReadOutside().double(), torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2]))
    assert "layer.weight: 3 backward passes: it is read outside" in engine.explain()
    assert "layer.bias: the rule of Linear" in engine.explain()


class WithAttention(nn.Module):
    def __init__(self, dropout: float = 0.0, *, batch_first: bool = True) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=dropout, batch_first=batch_first)
        self.out = nn.Linear(4, 2)
        self.batch_first = batch_first

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.batch_first else x.transpose(0, 1)
        x, _ = self.attention(x, x, x)
        x = self.out(x)
        return x if self.batch_first else x.transpose(0, 1)


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_whose_inner_layer_is_never_called(batch_first: bool) -> None:
    torch.manual_seed(1)
    model = WithAttention(batch_first=batch_first).double()
    groups = torch.tensor([0, 1, 1, 2, 2, 2])
    engine = check(model, torch.randn(6, 3, 4, dtype=torch.float64), groups)
    way = "MultiheadAttention alone" if batch_first else "3 backward passes"
    assert f"attention.out_proj.weight: {way}" in engine.explain()
    assert "out.weight: the rule of Linear" in engine.explain()


def test_dropout_within_a_module_that_would_be_run_again_is_noticed() -> None:
    torch.manual_seed(1)
    model = WithAttention(dropout=0.5).double()
    engine = GradientEngine(model)
    for _ in range(2):
        losses = squares(model(torch.randn(6, 3, 4, dtype=torch.float64)))
        found = engine.statistics(losses, torch.arange(6) % 3, needs=ALL, retain_graph=True)
        assert_equal(found, reference(model, losses, torch.arange(6) % 3))
    assert "attention.in_proj_weight: 3 backward passes: its module draws random numbers" in engine.explain()


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def test_activations_in_place() -> None:
    torch.manual_seed(1)
    check(InPlace().double(), torch.randn(8, 4, dtype=torch.float64), torch.arange(8) % 3)


class PerPosition(nn.Module):
    """Embeds positions, once for all rows."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Embedding(3, 4)
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(x + self.positions(torch.arange(3))))


@pytest.mark.parametrize("rows", [3, 5, 6])
def test_a_layer_that_is_called_once_for_all_rows(rows: int) -> None:
    torch.manual_seed(1)
    check(PerPosition().double(), torch.randn(rows, 3, 4, dtype=torch.float64), torch.arange(rows) % 3)


class Flattened(nn.Module):
    """Calls its layer with the rows' positions, or two copies of the batch, as if they were rows."""

    def __init__(self, *, copies: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.copies = copies

    def forward(self, x: Tensor) -> Tensor:
        if self.copies:
            first, second = self.layer(torch.cat([x[:, 0], x[:, 1]])).chunk(2)
            return torch.tanh(first) * second
        return torch.tanh(self.layer(x.flatten(0, 1))).unflatten(0, (len(x), -1))


@pytest.mark.parametrize("copies", [True, False])
def test_layers_that_see_more_rows_than_there_are_losses(copies: bool) -> None:
    torch.manual_seed(1)
    engine = check(Flattened(copies=copies).double(), torch.randn(6, 2, 4, dtype=torch.float64), torch.arange(6) % 4)
    assert "layer.weight: the rule of Linear" in engine.explain()


def small_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


X = torch.linspace(-1, 1, 18).view(6, 3)
GROUPS = torch.tensor([5, 5, 0, 1, 1, 1])


def test_the_update_is_that_of_the_reference_and_gradients_accumulate() -> None:
    fast, slow = small_model(), small_model()
    engine, reference_engine = GradientEngine(fast), ReferenceEngine(slow)
    for aggregator in (Mean(), AndMask(0.5)):
        engine.backward(squares(fast(X)), GROUPS, aggregator=aggregator)
        reference_engine.backward(squares(slow(X)), GROUPS, aggregator=aggregator)
    for p, q in zip(fast.parameters(), slow.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, atol=1e-6)


def test_one_group_without_rescaling_equals_plain_backward() -> None:
    model = small_model()
    GradientEngine(model).backward(squares(model(X)), torch.full((6,), 3), aggregator=AndMask(rescale="none"))
    found = [p.grad for p in model.parameters()]
    wanted = torch.autograd.grad(squares(model(X)).mean(), list(model.parameters()))
    assert all(torch.equal(f, w) for f, w in zip(found, wanted, strict=True))


def test_the_order_of_rows_and_the_number_of_copies_of_every_environment_change_nothing() -> None:
    model = small_model().double()
    x = X.double()
    engine = GradientEngine(model)

    def update(x: Tensor, groups: Tensor) -> list[Tensor]:
        model.zero_grad()
        engine.backward(squares(model(x)), groups, aggregator=AndMask(0.6))
        return [p.grad for p in model.parameters()]

    plain = update(x, GROUPS)
    shuffle = torch.randperm(6)
    for other in (
        update(x[shuffle], GROUPS[shuffle]),
        update(torch.cat([x, x]), torch.cat([GROUPS, GROUPS + 50])),
    ):
        assert all(torch.allclose(p, q, rtol=1e-10, atol=1e-14) for p, q in zip(plain, other, strict=True))


def test_signs_are_counted_as_whole_numbers() -> None:
    model = nn.Linear(2, 1, bias=False)
    x = torch.cat([torch.ones(300, 2), torch.tensor([[-1.0, 1.0]]).expand(212, 2)])
    stats = GradientEngine(model).statistics(model(x).squeeze(1), "per-example", needs=ALL)["weight"]
    assert stats.sign.tolist() == [[88, 512]]
    assert stats.nonzero.tolist() == [[512, 512]]


def test_a_scale_is_in_the_gradient_and_not_in_the_statistics() -> None:
    plain, scaled = small_model(), small_model()
    needs_scale = GradientEngine(scaled)
    GradientEngine(plain).backward(squares(plain(X)), GROUPS, aggregator=AndMask(0.5))
    needs_scale.backward(squares(scaled(X)), GROUPS, aggregator=AndMask(0.5), scale=1024.0)
    for p, q in zip(plain.parameters(), scaled.parameters(), strict=True):
        assert torch.allclose(1024 * p.grad, q.grad, rtol=1e-4)
    stats = needs_scale.statistics(squares(scaled(X)), GROUPS, needs=ALL, scale=64.0)
    assert_equal(stats, reference(scaled, squares(scaled(X)), GROUPS), tolerance=1e-5)
    assert needs_scale.explain().count("rule of Linear") == 4


def test_an_infinite_scaled_gradient_reaches_the_scaler() -> None:
    model = small_model()
    GradientEngine(model).backward(1e6 * squares(model(X)), GROUPS, aggregator=AndMask(1.0), scale=1e36)
    assert all(p.grad.isnan().all() for p in model.parameters())


def test_autocast_sums_in_float32() -> None:
    model = small_model()
    engine = GradientEngine(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = squares(model(X).float())
    found = engine.statistics(losses, GROUPS, needs=ALL)
    wanted = reference(model, squares(model(X)), GROUPS)
    for name in wanted:
        assert found[name].sum.dtype == torch.float32
        assert torch.allclose(found[name].sum, wanted[name].sum, rtol=0.05, atol=0.05)
    assert engine.explain().count("rule of Linear") == 4


def test_losses_from_before_the_engine_take_the_slow_way() -> None:
    model = small_model().double()
    losses = squares(model(X.double()))
    engine = GradientEngine(model)
    found = engine.statistics(losses, GROUPS, needs=ALL, retain_graph=True)
    assert_equal(found, reference(model, losses, GROUPS))
    assert "0.weight: 3 backward passes" in engine.explain()


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) for m in model.modules())


def test_hooks_go_with_the_engine() -> None:
    model = small_model()
    engine = GradientEngine(model)
    assert hooks(model) == 2
    engine.close()
    assert hooks(model) == 0
    with pytest.raises(UserError, match="closed"):
        engine.backward(squares(model(X)), GROUPS)
    with GradientEngine(model):
        assert hooks(model) == 2
    assert hooks(model) == 0
    engine = GradientEngine(model)
    del engine
    gc.collect()
    assert hooks(model) == 0


def test_inputs_are_freed_with_their_graph_and_after_the_step() -> None:
    model = small_model()
    engine = GradientEngine(model)
    seen = []
    model[1].register_forward_hook(lambda m, a, out: seen.append(weakref.ref(out)))
    losses = squares(model(X))
    gc.collect()
    assert seen[-1]() is not None
    del losses
    gc.collect()
    assert seen[-1]() is None
    for _ in range(3):  # the first two steps keep their graph for their checks
        losses = squares(model(X))
        engine.backward(losses, GROUPS)
    gc.collect()
    assert seen[-1]() is None


def test_no_hook_costs_anything_without_gradients() -> None:
    model = small_model()
    GradientEngine(model)
    with torch.no_grad():
        assert model(X).grad_fn is None


def test_a_copy_of_a_hooked_model_works() -> None:
    model = small_model()
    engine = GradientEngine(model)
    other = copy.deepcopy(model)
    assert torch.equal(other(X), model(X))
    GradientEngine(other).backward(squares(other(X)), GROUPS)
    assert all(p.grad is None for p in model.parameters())
    engine.backward(squares(model(X)), GROUPS)


class Fails:
    needs = frozenset()

    def __call__(self, stats: dict[str, Stats], state: dict) -> None:
        raise ArithmeticError("no")


def test_an_exception_leaves_the_model_as_it_was() -> None:
    model = small_model()
    engine = GradientEngine(model)
    with pytest.raises(ArithmeticError):
        engine.backward(squares(model(X)), GROUPS, aggregator=Fails())
    assert all(p.grad is None for p in model.parameters())
    engine.backward(squares(model(X)), GROUPS)
    assert all(p.grad is not None for p in model.parameters())


class MixesRows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.net[0](x)
        return self.net[1](x - x.mean(0))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (torch.zeros(5, dtype=torch.long), "give one each"),
        (torch.zeros(6), "whole numbers"),
        ("per example", "'per-example'"),
    ],
)
def test_bad_groups(groups: Tensor | str, message: str) -> None:
    model = small_model()
    with pytest.raises(UserError, match=message):
        GradientEngine(model).backward(squares(model(X)), groups)


def test_bad_losses() -> None:
    model = small_model()
    engine = GradientEngine(model)
    for losses, message in (
        (squares(model(X)).mean(), "reduction='none'"),
        (squares(model(X)).detach(), "depend on no parameter"),
    ):
        with pytest.raises(UserError, match=message):
            engine.backward(losses, "per-example")


def test_a_loss_or_a_gradient_that_is_not_finite() -> None:
    model = small_model()
    with pytest.raises(Diverged, match="a loss is not finite"):
        GradientEngine(model).backward(squares(model(X)) * torch.nan, "per-example")
    losses = (model(X) * 0).abs().sqrt().sum(1)
    with pytest.raises(Diverged, match="is not finite"):
        GradientEngine(model).backward(losses, GROUPS, aggregator=AndMask())


def test_mixed_rows_are_refused_unless_they_are_of_one_environment() -> None:
    for model in (MixesRows(), nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))):
        engine = GradientEngine(model)
        with pytest.raises(UserError, match="mixes"):
            engine.backward(squares(model(X)), GROUPS)
        engine.backward(squares(model(X)), torch.zeros(6, dtype=torch.long))
        found = [p.grad for p in model.parameters()]
        wanted = torch.autograd.grad(squares(model(X)).mean(), list(model.parameters()))
        assert all(torch.allclose(f, w, atol=1e-6) for f, w in zip(found, wanted, strict=True))


def test_a_model_that_was_changed() -> None:
    model = small_model()
    engine = GradientEngine(model)
    model[2] = nn.Linear(4, 2)
    with pytest.raises(UserError, match="make a new engine"):
        engine.backward(squares(model(X)), GROUPS)


def test_an_input_that_was_modified_in_place() -> None:
    model = nn.Linear(3, 2)
    engine = GradientEngine(model)
    x = X.clone()
    losses = squares(model(x))
    engine.backward(losses, GROUPS, retain_graph=True)
    x.add_(1)
    with pytest.raises((UserError, RuntimeError), match=r"in.?place"):
        engine.backward(losses, GROUPS)


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model() -> None:
    model = small_model().double()
    engine = GradientEngine(model)
    compiled = torch.compile(model, backend="aot_eager")
    wanted = reference(model, squares(model(X.double())), GROUPS)
    for _ in range(2):
        assert_equal(engine.statistics(squares(compiled(X.double())), GROUPS, needs=ALL), wanted)


def test_attention_that_gains_dropout_after_the_first_step() -> None:
    torch.manual_seed(1)
    model = WithAttention(dropout=0.5).double()
    engine = GradientEngine(model)
    x, groups = torch.randn(6, 3, 4, dtype=torch.float64), torch.arange(6) % 3
    for mode in (False, True, True):
        model.train(mode)
        losses = squares(model(x))
        found = engine.statistics(losses, groups, needs=ALL, retain_graph=True)
        assert_equal(found, reference(model, losses, groups))


def test_a_last_layer_that_starts_at_zero_hides_no_mixing() -> None:
    model = MixesRows()
    nn.init.zeros_(model.net[1].weight)
    engine = GradientEngine(model)
    engine.backward(squares(model(X)), GROUPS)  # nothing flows yet
    nn.init.ones_(model.net[1].weight)
    with pytest.raises(UserError, match="mixes"):
        engine.backward(squares(model(X)), GROUPS)
