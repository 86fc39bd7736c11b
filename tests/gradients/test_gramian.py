"""PCGrad and GradVac against vectors worked on directly."""

from __future__ import annotations

import pytest
import torch
from gradient_checks import squares
from torch import Tensor, nn

from holdfast.gradients import GradVac, GramianEngine, Mean, PCGrad, ReferenceEngine


def surgery(gradients: Tensor, order: list[list[int]]) -> Tensor:
    """PCGrad on (E, P) gradients themselves."""
    total = torch.zeros_like(gradients[0])
    for i, others in enumerate(order):
        g = gradients[i].clone()
        for j in others:
            if i != j and g @ gradients[j] < 0:
                g -= (g @ gradients[j]) / gradients[j].square().sum() * gradients[j]
        total += g
    return total


@pytest.mark.parametrize("seed", range(5))
def test_pcgrad(seed: int) -> None:
    torch.manual_seed(seed)
    gradients = torch.randn(4, 3, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1_000_003 * seed)
    order = [torch.randperm(4, generator=generator).tolist() for _ in range(4)]
    weights, state = PCGrad(seed)(gradients @ gradients.t(), {})
    assert torch.allclose(weights @ gradients, surgery(gradients, order))
    assert state == {"updates": 1}


@pytest.mark.parametrize("weighting", [PCGrad(), GradVac()])
def test_without_conflict_nothing_changes(weighting) -> None:
    gramian = torch.tensor([[2.0, 0.5, 0.1], [0.5, 1.0, 0.3], [0.1, 0.3, 3.0]])
    assert torch.equal(weighting(gramian, {})[0], torch.ones(3))


def test_gradvac_reaches_its_targets() -> None:
    gradients = torch.tensor([[1.0, 0.0], [-0.5, 1.0]], dtype=torch.float64)
    target = torch.full((2, 2), 0.3, dtype=torch.float64)
    weighting = GradVac(beta=0.5)
    weights, state = weighting(gradients @ gradients.t(), {"targets": target})
    cosine = torch.cosine_similarity(gradients[0], gradients[1], dim=0)
    assert torch.allclose(state["targets"][0, 1], 0.5 * target[0, 1] + 0.5 * cosine)
    turned = []
    for i, j in ((0, 1), (1, 0)):
        root = (1 - 0.3**2) ** 0.5
        gain = gradients[i].norm() * (0.3 * (1 - cosine**2).sqrt() - cosine * root) / (gradients[j].norm() * root)
        turned.append(gradients[i] + gain * gradients[j])
        assert torch.isclose(torch.cosine_similarity(turned[-1], gradients[j], dim=0), torch.tensor(0.3).double())
    assert torch.allclose(weights @ gradients, turned[0] + turned[1])


def test_the_engine_adds_the_combination_to_the_gradients() -> None:
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double() for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    x, groups = torch.randn(9, 3).double(), torch.arange(9) % 3

    class Equal:
        def __call__(self, gramian, state):
            return torch.ones(len(gramian), dtype=gramian.dtype), state

    for _ in range(2):
        GramianEngine(models[0]).backward(squares(models[0](x)), groups, weighting=Equal())
        ReferenceEngine(models[1]).backward(squares(models[1](x)), groups, aggregator=Mean())
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad)
    result = GramianEngine(models[0]).backward(squares(models[0](x)), groups, weighting=PCGrad())
    assert -1 <= result.diagnostics["mean cosine"] <= 1
