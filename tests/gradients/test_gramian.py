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


class Remembers:
    """A weighting that keeps the Gramian it was given."""

    def __call__(self, gramian: Tensor, state) -> tuple[Tensor, dict]:
        self.gramian = gramian
        return torch.arange(1.0, len(gramian) + 1).to(gramian), state


def networks() -> list[nn.Module]:
    attention = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    convolutions = nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 8, 3, padding=1), nn.Conv1d(8, 2, 3, padding=1))
    return [
        nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)),
        nn.Sequential(nn.Flatten(), nn.Linear(12, 3), convolutions),
        attention,
        nn.Sequential(nn.LSTM(4, 3, batch_first=True)),
    ]


@pytest.mark.parametrize("groups", [[5, 0, 0, 2, 2, 2, 5, 9], [3, 1, 0, 2, 7, 6, 5, 4], "per-example"])
@pytest.mark.parametrize("network", range(4))
@pytest.mark.parametrize("chunk_bytes", [1, 2**20])
def test_inner_products_are_those_of_gradients_taken_one_by_one(groups, network: int, chunk_bytes: int) -> None:
    torch.manual_seed(0)
    model = networks()[network].double()
    x = torch.randn(8, 3, 4, dtype=torch.float64)
    engine, weighting = GramianEngine(model, chunk_bytes=chunk_bytes), Remembers()
    output = model(x)
    losses = squares(output[0] if isinstance(output, tuple) else output)
    codes = torch.arange(8) if groups == "per-example" else torch.tensor(groups)
    weights = torch.rand(8, dtype=torch.float64) + 0.1
    parameters = list(model.parameters())
    rows = []
    for code in codes.unique():
        inside = codes == code
        mean = (weights[inside] * losses[inside]).sum() / weights[inside].sum()
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(mean, parameters, retain_graph=True)]))
    jacobian = torch.stack(rows)
    given = groups if groups == "per-example" else codes
    engine.backward(losses, given, weighting=weighting, row_weights=weights)
    torch.testing.assert_close(weighting.gramian, jacobian @ jacobian.t())
    wanted = torch.arange(1.0, len(rows) + 1).double() @ jacobian / len(rows)
    torch.testing.assert_close(torch.cat([p.grad.flatten() for p in parameters]), wanted)


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
