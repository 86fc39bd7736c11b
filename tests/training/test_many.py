"""Several trainings as one program, against one after another."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import HoldfastError, UserError
from holdfast.core.task import TrainingView
from holdfast.gradients import AndMask, GeometricMean, Mean, SandMask
from holdfast.losses import ExponentiatedGroups, InvariantRisk, MeanOfEnvironments, VarianceOfRisks
from holdfast.models.cnn import CNN
from holdfast.models.mlp import MLP
from holdfast.training import (
    SGD,
    Adam,
    AdamW,
    AndAdam,
    Budget,
    FolderStore,
    GradientStep,
    Member,
    Schedule,
    Trainer,
    Validation,
    fit_many,
    why_apart,
)

CLASSES = ("a", "b", "c")


def rows(n: int = 96, shape: tuple[int, ...] = (6,), seed: int = 0, weighted: bool = False) -> Dataset:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, *shape, generator=rng)
    y = (x.flatten(1)[:, :3] + 0.5 * torch.randn(n, 3, generator=rng)).argmax(1)
    weight = torch.rand(n, generator=rng) if weighted else None
    return Dataset(x, y, Column(torch.arange(n) % 3, ("e", "f", "g")), weight=weight)


def view(data: Dataset | None = None) -> TrainingView:
    train = rows() if data is None else data
    return TrainingView(
        "classification", CLASSES, 3, train.input_shape, MLP(), {"train": train, "selection": rows(60, seed=1)}
    )


def network(seed: int, shape: tuple[int, ...] = (6,)) -> nn.Module:
    torch.manual_seed(seed)
    model = MLP(hidden=(8, 7)) if len(shape) == 1 else CNN(channels=(4, 4), groups=2)
    return model.build(shape, 3).double()


def trainer(seed: int = 0, steps: int = 25, **more: Any) -> Trainer:
    return Trainer(seed=seed, budget=Budget(steps), batch_size=24, precision="64-true", **more)


Steps = list[Callable[[], GradientStep]]


def risk(eta: float) -> Callable[[], GradientStep]:
    return lambda: GradientStep(risk=ExponentiatedGroups(3, eta), optimizer=Adam(lr=1e-2))


def penalized(penalty: Any, weight: float) -> Callable[[], GradientStep]:
    return lambda: GradientStep(
        risk=MeanOfEnvironments(),
        penalties=[(weight, penalty)],
        schedule=Schedule(penalty_from=0.4, penalty_before=0.1),
        optimizer=Adam(lr=1e-2, drops=(0.7,)),
    )


def aggregated(aggregator: Any, **more: Any) -> Callable[[], GradientStep]:
    return lambda: GradientStep(aggregator=aggregator, optimizer=Adam(lr=1e-2), **more)


def optimized(*optimizers: Any) -> Steps:
    return [lambda o=optimizer: GradientStep(optimizer=o) for optimizer in optimizers]  # type: ignore[misc]


CASES: dict[str, Steps] = {
    "seeds": optimized(*[Adam(lr=1e-2)] * 3),
    "adam": optimized(Adam(lr=1e-2), Adam(lr=3e-2, weight_decay=0.1)),
    "adamw": optimized(AdamW(lr=1e-2, weight_decay=0.1), AdamW(lr=3e-2, weight_decay=1.0)),
    "and-adam": optimized(AndAdam(lr=1e-2), AndAdam(lr=3e-2, weight_decay=1.0)),
    "sgd": optimized(SGD(lr=0.1, momentum=0.9), SGD(lr=0.03, momentum=0.9, weight_decay=0.1)),
    "l1": optimized(Adam(l1=0.01), Adam(l1=0.02, weight_decay=0.1), Adam()),
    "group-dro": [risk(0.1), risk(0.5)],
    "v-rex": [penalized(VarianceOfRisks(), 1.0), penalized(VarianceOfRisks(), 10.0)],
    "irm": [penalized(InvariantRisk(), 1.0), penalized(InvariantRisk(), 10.0)],
    "and-mask": [
        aggregated(AndMask(0.3)),
        aggregated(AndMask(1.0, rescale="none")),
        aggregated(AndMask(0.9, rescale="global")),
    ],
    "sand-mask": [aggregated(SandMask(0.5)), aggregated(SandMask(0.9))],
    "geometric-mean": [aggregated(GeometricMean())] * 2,
    "mask and penalty": [aggregated(AndMask(0.5), penalties=[(0.5, VarianceOfRisks())])] * 2,
}


def both(
    steps: Steps, data: Dataset | None = None, shape: tuple[int, ...] = (6,), **more: Any
) -> tuple[list[Any], list[Any]]:
    """The fits together and one after another, from the same initial weights."""
    networks = [network(seed, shape) for seed in range(len(steps))]
    apart = [
        trainer(seed).fit(copy.deepcopy(net), view(data), step(), **({"select": "last"} | more))
        for seed, (net, step) in enumerate(zip(networks, steps, strict=True))
    ]
    members = [Member(seed, net, step()) for seed, (net, step) in enumerate(zip(networks, steps, strict=True))]
    assert why_apart(trainer(), members) is None
    return fit_many(trainer(99), members, view(data), **more), apart


def assert_same(together: list[Any], apart: list[Any]) -> None:
    for one, other in zip(together, apart, strict=True):
        assert (one.steps, one.kept, one.selected) == (other.steps, other.kept, other.selected)
        for step in one.kept:
            for name, weights in other.weights_at(step).items():
                torch.testing.assert_close(one.weights_at(step)[name], weights, rtol=1e-8, atol=1e-11)
        for name, weights in other.model.state_dict().items():
            torch.testing.assert_close(one.model.state_dict()[name], weights, rtol=1e-8, atol=1e-11)
        losses = [[h["loss"] for h in fit.history] for fit in (one, other)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-6)
        assert (one.ledger.steps, one.ledger.gradients) == (other.ledger.steps, other.ledger.gradients)


@pytest.mark.parametrize("case", CASES)
def test_together_is_the_same_as_apart(case: str) -> None:
    assert_same(*both(CASES[case]))


def test_pictures_and_weighted_rows() -> None:
    assert_same(*both(CASES["seeds"], rows(48, (2, 5, 5)), (2, 5, 5)))
    for case in ("seeds", "v-rex", "and-mask"):
        assert_same(*both(CASES[case], rows(weighted=True)))


def test_members_do_not_touch_each_other() -> None:
    """A member of a large learning rate leaves the others as they would be without it."""
    calm = [Member(seed, network(seed), GradientStep(optimizer=Adam(lr=1e-3))) for seed in range(2)]
    wild = Member(7, network(7), GradientStep(optimizer=Adam(lr=10.0)))
    alone = fit_many(trainer(), copy.deepcopy(calm), view())
    beside = fit_many(trainer(), [*calm, wild], view())
    assert_same(beside[:2], alone)


def test_members_share_the_seconds_of_their_training(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(100_000))
    monkeypatch.setattr("holdfast.training.trainer.time.monotonic", lambda: float(next(ticks)))
    members = [Member(seed, network(seed), GradientStep()) for seed in range(4)]
    joint = trainer(steps=5)
    fits = fit_many(joint, members, view())
    assert joint.ledger.seconds["main"] > 0
    assert sum(fit.ledger.seconds["main"] for fit in fits) == pytest.approx(joint.ledger.seconds["main"])


def test_the_rule_chooses_for_each_member() -> None:
    rates = (1e-4, 1e-1, 1.0)
    steps: Steps = [lambda lr=lr: GradientStep(optimizer=Adam(lr=lr)) for lr in rates]  # type: ignore[misc]
    together, apart = both(steps, select=Validation())
    assert_same(together, apart)
    assert len({fit.selected for fit in together}) > 1
    assert together[0].records[0].role == "selection"


def test_what_was_trained_is_not_trained_again(tmp_path: Any) -> None:
    def members() -> list[Member]:
        return [Member(seed, network(seed), risk(0.1)()) for seed in range(2)]

    first = fit_many(trainer(store=FolderStore(tmp_path), checkpoint_seconds=0), members(), view())
    again_members = members()
    for member in again_members:
        member.step.forward = None  # type: ignore[assignment, method-assign]
    again = fit_many(trainer(store=FolderStore(tmp_path)), again_members, view())
    assert_same(again, first)


def test_a_stopped_training_goes_on(tmp_path: Any) -> None:
    class Stop(Exception):
        pass

    def stop(stage: str, progress: float) -> None:
        if progress > 0.2:
            raise Stop

    def members() -> list[Member]:
        return [Member(seed, network(seed), penalized(VarianceOfRisks(), 3.0)()) for seed in range(2)]

    stopped = trainer(store=FolderStore(tmp_path), checkpoint_seconds=0, steps=1500, report_progress=stop)
    with pytest.raises(Stop):
        fit_many(stopped, members(), view())
    gone_on = fit_many(trainer(store=FolderStore(tmp_path), steps=1500), members(), view())
    assert_same(gone_on, fit_many(trainer(steps=1500), members(), view()))


class Halved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: Member(1, nn.Sequential(nn.Linear(6, 3), nn.Dropout()), m.step), "Dropout is no layer"),
        (lambda m: Member(1, nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)), m.step), "BatchNorm1d is no layer"),
        (lambda m: Member(1, nn.Sequential(nn.Linear(6, 3), Halved()), m.step), "Halved is no layer"),
        (lambda m: Member(1, MLP(hidden=(9,)).build((6,), 3).double(), m.step), "architectures differ"),
        (lambda m: Member(1, m.model, GradientStep(optimizer=SGD())), "differ in more than numbers"),
        (lambda m: Member(1, m.model, GradientStep(risk=MeanOfEnvironments())), "differ in more than numbers"),
        (lambda m: Member(1, m.model, GradientStep(optimizer=Adam(decay=0.9))), "differ in more than numbers"),
        (lambda m: Member(1, m.model, GradientStep(taps=["features"])), "look into layers"),
    ],
)
def test_what_cannot_be_stacked_is_trained_apart_and_said(change: Any, reason: str) -> None:
    members = [Member(0, network(0), GradientStep()), change(Member(1, network(1), GradientStep()))]
    assert reason in str(why_apart(trainer(), members))
    expected = [trainer(m.seed, 5).fit(copy.deepcopy(m.model), view(), copy.deepcopy(m.step)) for m in members]
    with pytest.warns(UserWarning, match="2 members are trained one after another: .*"):
        fits = fit_many(trainer(steps=5), members, view())
    for fit, other in zip(fits, expected, strict=True):
        for name, weights in other.model.state_dict().items():
            assert torch.equal(fit.model.state_dict()[name], weights)


def test_augmented_images_and_frozen_weights_are_apart() -> None:
    from holdfast.augmentations.horizontal_flip import HorizontalFlip

    assert (
        why_apart(trainer(augment=[HorizontalFlip()]), [Member(0, network(0), GradientStep())])
        == "images are augmented"
    )
    frozen = network(0)
    next(frozen.parameters()).requires_grad_(False)
    assert why_apart(trainer(), [Member(0, frozen, GradientStep())]) == "some weights are not trained"
    assert why_apart(trainer(), [Member(0, network(0), GradientStep(aggregator=Mean()))]) is None


def test_no_member_and_a_diverging_one_are_refused() -> None:
    with pytest.raises(UserError, match="give one member at least"):
        fit_many(trainer(), [], view())
    wild = [Member(k, network(k), GradientStep(optimizer=SGD(lr=lr))) for k, lr in enumerate((1e-3, 1e200))]
    with pytest.raises(HoldfastError, match="lower the learning rate"):
        fit_many(trainer(), wild, view())
