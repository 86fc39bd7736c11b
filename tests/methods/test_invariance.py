"""IRM and V-REx against a linear model in which the anti-causal shortcut and its strength are known."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch

from holdfast.core.data import Column, Dataset
from holdfast.core.method import Method
from holdfast.core.registry import create
from holdfast.core.task import TrainingView
from holdfast.models.linear import Linear
from holdfast.training import Budget, Trainer

FAST = "optimizer.lr=0.01"


def two_environments(n: int = 2000) -> TrainingView:
    """Arjovsky et al. 2019, section 2.1: x₁ → y → x₂, and the noise of x₁ and y differs between environments.

    y = x₁ + σ_e ε and x₂ = y + ε' with σ_e = 0.5 and 2 and x₁ ~ N(0, σ_e²): invariant is only y = x₁.
    """
    rng = torch.Generator().manual_seed(0)
    sigma = torch.cat([torch.full((n,), 0.5), torch.full((n,), 2.0)])
    x1 = sigma * torch.randn(2 * n, generator=rng)
    y = x1 + sigma * torch.randn(2 * n, generator=rng)
    x2 = y + torch.randn(2 * n, generator=rng)
    data = Dataset(torch.stack([x1, x2], dim=1), y, Column(torch.arange(2 * n) // n, ("quiet", "loud")))
    return TrainingView("regression", (), 1, (2,), Linear(bias=False), {"train": data})


@functools.cache
def weights(reference: str, row_weight: torch.Tensor | None = None) -> torch.Tensor:
    trainer, view = Trainer(budget=Budget(400), batch_size=512), two_environments()
    weighted = dataclasses.replace(view, data={"train": dataclasses.replace(view.train, weight=row_weight)})
    model = create(Method, reference).fit(weighted, trainer)
    return model.head.weight.detach().squeeze(0)


def test_erm_takes_the_shortcut() -> None:
    """Its solution is that of the normal equations of both environments together."""
    data = two_environments().train
    solution = torch.linalg.lstsq(data.x, data.labels[:, None]).solution.squeeze(1)
    torch.testing.assert_close(weights(f"erm:{FAST}"), solution, atol=0.05, rtol=0.05)
    assert solution[1] > 0.65


def test_irm_relies_on_the_shortcut_less() -> None:
    assert weights(f"irm:penalty=1000:{FAST}")[1] < 0.6 * weights(f"erm:{FAST}")[1]


def mean_losses(reference: str) -> torch.Tensor:
    data = two_environments().train
    return (data.x @ weights(reference) - data.labels).square().view(2, -1).mean(1)


def test_v_rex_makes_losses_more_equal() -> None:
    plain, equal = (
        losses.diff().abs() for losses in (mean_losses(f"erm:{FAST}"), mean_losses(f"v-rex:penalty=100:{FAST}"))
    )
    assert equal < 0.5 * plain


def test_a_high_quantile_of_risks_lowers_the_worse_one() -> None:
    assert mean_losses(f"eqrm:level=0.99:{FAST}").max() < mean_losses(f"erm:{FAST}").max()


def test_gradient_alignment_makes_gradients_more_equal() -> None:
    def apart(reference: str) -> float:
        data = two_environments().train
        residual = (data.x @ weights(reference) - data.labels)[:, None] * data.x
        first, second = residual.view(2, -1, 2).mean(1)
        return float((first - second).norm())

    assert apart(f"iga:penalty=10:{FAST}") < 0.5 * apart(f"erm:{FAST}")


@pytest.mark.parametrize("method", ["irm", "v-rex", "coral", "mmd", "iga", "fishr:penalty_from=0"])
def test_a_penalty_of_zero_is_the_mean_of_environments(method: str) -> None:
    """Of which each counts the same, however much its rows weigh."""
    unequal = torch.arange(1.0, 3.0).repeat_interleave(2000)
    weighted = weights(f"{method}:penalty=0:{FAST}", unequal)
    torch.testing.assert_close(weighted, weights(f"erm:{FAST}"), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(weights(f"erm:{FAST}", unequal), weighted, atol=1e-2)


@pytest.mark.parametrize("method", ["irm", "v-rex"])
def test_the_penalty_switches_on_at_its_part_of_the_budget(method: str) -> None:
    """Until then it counts as with factor 1, which the first update after it, from the same weights, multiplies."""

    def history(options: str) -> list[dict[str, float]]:
        trainer = Trainer(budget=Budget(20), batch_size=512)
        create(Method, f"{method}:{options}").fit(two_environments(), trainer)
        return list(trainer.fits["main"].history)

    switched, constant = history("penalty=50:penalty_from=0.5"), history("penalty=1:penalty_from=0")
    for a, b in zip(switched[:10], constant[:10], strict=True):
        assert a == pytest.approx(b, rel=1e-3)
    assert switched[10]["penalty"] == pytest.approx(50 * constant[10]["penalty"], rel=1e-3)
