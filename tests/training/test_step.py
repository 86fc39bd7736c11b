from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from holdfast.core.data import Batch
from holdfast.core.errors import UserError
from holdfast.core.ledger import Ledger
from holdfast.core.task import Needs, TrainingView, training_view
from holdfast.gradients import AndMask, Mean, PCGrad
from holdfast.losses import ExponentiatedGroups, MeanOfEnvironments, PooledMean, VarianceOfRisks
from holdfast.losses.environments import EnvironmentLosses
from holdfast.models.mlp import MLP
from holdfast.testing import toy_task
from holdfast.training import SGD, Adam, Budget, GradientStep, Schedule, StepContext, Trainer

TASK = toy_task(model=MLP(hidden=(5,)))
LR = 0.1


def view() -> TrainingView:
    return training_view(TASK, Needs(), Ledger())


def rows(weighted: bool = False) -> Batch:
    """20 rows of double precision in environments of 10, 6 and 4."""
    batch = view().train.to("cpu", torch.float64).batch(torch.arange(20))
    environment = torch.tensor([0] * 10 + [1] * 6 + [2] * 4)
    weight = torch.linspace(0.5, 2, 20, dtype=torch.float64) if weighted else None
    return Batch(batch.x, batch.y, environment, {}, weight, batch.index)


def network() -> nn.Module:
    torch.manual_seed(0)
    return TASK.model.build((6,), 3).double()


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def moved(step: GradientStep, batch: Batch, times: int = 1, progress: float = 0.0) -> Tensor:
    """How far one or more updates move the weights, divided by −learning rate: the gradient, for one step of SGD."""
    model = network()
    optimizers = step.setup({"model": model}, view(), Trainer(precision="64-true"))
    before = flat(model)
    for _ in range(times):
        step({"model": model}, batch, optimizers, progress)
    return (before - flat(model)) / LR


def gradient(objective: Callable[[Tensor], Tensor], batch: Batch) -> Tensor:
    """Of a function of the losses (B,), by autograd alone."""
    model = network()
    losses = nn.functional.cross_entropy(model(batch.x), batch.labels, reduction="none")
    return torch.cat([g.flatten() for g in torch.autograd.grad(objective(losses), list(model.parameters()))])


SGD_STEP = {"optimizer": SGD(lr=LR)}
MEANS = torch.tensor(
    [[0.1] * 10 + [0] * 10, [0] * 10 + [1 / 6] * 6 + [0] * 4, [0] * 16 + [0.25] * 4], dtype=torch.float64
)


@pytest.mark.parametrize("weighted", [False, True])
def test_by_default_the_risk_is_the_pooled_mean_over_rows(weighted: bool) -> None:
    batch = rows(weighted)
    weight = torch.ones(20, dtype=torch.float64) if batch.weight is None else batch.weight
    expected = gradient(lambda losses: (weight * losses).sum() / weight.sum(), batch)
    torch.testing.assert_close(moved(GradientStep(**SGD_STEP), batch), expected)
    torch.testing.assert_close(moved(GradientStep(risk=PooledMean(), **SGD_STEP), batch), expected)


def test_a_risk_sees_environments() -> None:
    expected = gradient(lambda losses: (MEANS @ losses).mean(), rows())
    torch.testing.assert_close(moved(GradientStep(risk=MeanOfEnvironments(), **SGD_STEP), rows()), expected)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "risk", [None, PooledMean(), MeanOfEnvironments(), "group-dro"], ids=["none", "pooled", "mean", "group-dro"]
)
def test_the_mean_as_aggregator_is_the_risk_itself(risk: object, weighted: bool) -> None:
    """The aggregator gets w_e ∇L_e with w_e = ∂risk/∂L_e, so that their sum is the gradient of the risk."""

    def make() -> object:
        return ExponentiatedGroups(3, step_size=1.0).double() if risk == "group-dro" else risk

    plain = moved(GradientStep(risk=make(), **SGD_STEP), rows(weighted), times=3)
    aggregated = moved(GradientStep(risk=make(), aggregator=Mean(), **SGD_STEP), rows(weighted), times=3)
    torch.testing.assert_close(aggregated, plain)


def test_penalties_and_decay_come_after_the_mask() -> None:
    masked = moved(GradientStep(aggregator=AndMask(), **SGD_STEP), rows())
    step = GradientStep(
        aggregator=AndMask(), penalties=[(0.7, VarianceOfRisks())], optimizer=SGD(lr=LR, l1=0.2, weight_decay=0.3)
    )
    penalty = gradient(lambda losses: (MEANS @ losses).var(correction=0), rows())
    weights = flat(network())
    torch.testing.assert_close(moved(step, rows()), masked + 0.7 * penalty + 0.2 * weights.sign() + 0.3 * weights)
    assert (masked == 0).any()
    assert step.passes == 2


def test_penalties_add_up() -> None:
    mean = gradient(lambda losses: losses.mean(), rows())
    penalty = gradient(lambda losses: (MEANS @ losses).var(correction=0), rows())
    step = GradientStep(penalties=[(2.0, VarianceOfRisks()), (3.0, VarianceOfRisks())], **SGD_STEP)
    torch.testing.assert_close(moved(step, rows()), mean + 5 * penalty)
    assert step.passes == 1


def test_an_annealed_penalty_counts_partly_before_and_fully_after() -> None:
    mean = gradient(lambda losses: losses.mean(), rows())
    penalty = gradient(lambda losses: (MEANS @ losses).var(correction=0), rows())
    for progress, factor in ((0.0, 0.01), (0.49, 0.01), (0.5, 1.0)):
        schedule = Schedule(penalty_from=0.5, penalty_before=0.01)
        step = GradientStep(penalties=[(2.0, VarianceOfRisks())], schedule=schedule, **SGD_STEP)
        torch.testing.assert_close(moved(step, rows(), progress=progress), mean + 2 * factor * penalty)


@pytest.mark.parametrize(("reset", "count"), [(True, 1), (False, 4)])
def test_the_optimizer_forgets_when_penalties_switch_on(reset: bool, count: int) -> None:
    schedule = Schedule(penalty_from=0.5, reset_optimizer=reset)
    step = GradientStep(penalties=[(1.0, VarianceOfRisks())], optimizer=Adam(), schedule=schedule)
    model = network()
    optimizers = step.setup({"model": model}, view(), Trainer(precision="64-true"))
    for progress in (0.0, 0.2, 0.4, 0.6):
        scalars = step({"model": model}, rows(), optimizers, progress)
        assert ("penalty" in scalars) == (progress >= 0.5)
    assert {int(state["step"]) for state in optimizers["model"].state.values()} == {count}
    step({"model": model}, rows(), optimizers, 0.8)
    assert {int(state["step"]) for state in optimizers["model"].state.values()} == {count + 1}


def test_the_learning_rate_follows_the_schedule() -> None:
    step = GradientStep(optimizer=SGD(lr=LR, drops=(0.5,), drop_factor=0.25))
    torch.testing.assert_close(
        moved(step, rows(), progress=0.5), 0.25 * moved(GradientStep(**SGD_STEP), rows()), rtol=1e-6, atol=1e-9
    )


def test_a_negative_weight_under_a_mask_warns() -> None:
    class Difference:
        def __call__(self, losses: EnvironmentLosses) -> Tensor:
            return losses.values[0] - losses.values[1]

    with pytest.warns(UserWarning, match="negative weight"):
        moved(GradientStep(risk=Difference(), aggregator=AndMask(), **SGD_STEP), rows())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        moved(GradientStep(risk=MeanOfEnvironments(), aggregator=AndMask(), **SGD_STEP), rows())


def test_penalties_find_tapped_features() -> None:
    seen: list[StepContext] = []

    def penalty(context: StepContext) -> Tensor:
        seen.append(context)
        return context.features["features"].square().mean()

    moved(GradientStep(penalties=[(1.0, penalty)], taps=["features"], **SGD_STEP), rows(), times=2, progress=0.3)
    assert [(c.step, c.progress, c.features["features"].shape) for c in seen] == [(0, 0.3, (20, 5)), (1, 0.3, (20, 5))]


class LearnedScale(nn.Module):
    """A part with a parameter and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, context: StepContext) -> Tensor:
        self.calls += 1
        return (self.scale * context.losses.detach()).mean()


def test_parts_are_trained_and_kept() -> None:
    part = LearnedScale()
    step = GradientStep(penalties=[(1.0, part)], **SGD_STEP)
    optimizers = step.setup({"model": network()}, view(), Trainer(precision="64-true"))
    assert [group["name"] for group in optimizers["model"].param_groups] == ["model", "parts"]
    moved(step, rows(), times=2)
    assert part.scale.item() < 1
    again = GradientStep(penalties=[(1.0, LearnedScale())], **SGD_STEP)
    again.load_state_dict(step.state_dict())
    assert int(again.penalties[0][1].calls) == 2
    assert again.penalties[0][1].scale.item() == part.scale.item()
    assert again.updates == 2


class Tempered(nn.Module):
    """A loss with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs * self.temperature, y, reduction="none")


def test_a_loss_with_parameters_is_trained_under_an_aggregator_as_without() -> None:
    plain, aggregated = Tempered(), Tempered()
    moved(GradientStep(loss=plain, **SGD_STEP), rows(), times=2)
    moved(GradientStep(loss=aggregated, aggregator=Mean(), **SGD_STEP), rows(), times=2)
    assert plain.temperature.item() != 1
    assert aggregated.temperature.item() == pytest.approx(plain.temperature.item())


def test_rows_without_labels_are_refused() -> None:
    batch = rows()
    hidden = Batch(batch.x, None, batch.environment, {}, None, batch.index)
    with pytest.raises(UserError, match="have no labels"):
        moved(GradientStep(**SGD_STEP), hidden)


def test_gradients_of_the_step_before_are_forgotten() -> None:
    first = moved(GradientStep(**SGD_STEP), rows())
    model = network()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    step = GradientStep(**SGD_STEP)
    optimizers, before = step.setup({"model": model}, view(), Trainer(precision="64-true")), flat(model)
    step({"model": model}, rows(), optimizers, 0.0)
    torch.testing.assert_close((before - flat(model)) / LR, first)


def test_no_hook_is_left_on_the_model_however_training_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def hooks(model: nn.Module) -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())

    for stop in (None, KeyboardInterrupt):
        model = toy_task().model.build((6,), 3)
        step = GradientStep(aggregator=AndMask())
        if stop is not None:
            monkeypatch.setattr(step, "_run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        view = training_view(toy_task(), Needs(), Ledger())
        with contextlib.suppress(KeyboardInterrupt):
            Trainer(budget=Budget(3)).fit(model, view, step)
        assert hooks(model) == 0


def test_a_weighting_combines_gradients_by_their_inner_products() -> None:
    """PCGrad against its definition, on two environments that want opposite things."""
    some = rows().x[:10]  # type: ignore[index]
    y = torch.arange(10) % 3
    half = torch.arange(20) // 10
    opposed = Batch(torch.cat([some, some]), torch.cat([y, (y + 1) % 3]), half, {}, None, torch.arange(20))
    first, second = (gradient(lambda losses, e=e: losses[half == e].mean(), opposed) for e in range(2))  # type: ignore[misc]
    product = first @ second
    assert product < 0
    mended = first - product / second.square().sum() * second + second - product / first.square().sum() * first
    step = GradientStep(weighting=PCGrad(), **SGD_STEP)
    torch.testing.assert_close(moved(step, opposed), mended / 2)
    assert step.passes == 2


@pytest.mark.parametrize("more", [{"risk": MeanOfEnvironments()}, {"aggregator": AndMask()}])
def test_a_weighting_takes_the_place_of_risk_and_aggregator(more: Any) -> None:
    with pytest.raises(ValueError, match="takes the place"):
        GradientStep(weighting=PCGrad(), **more)
