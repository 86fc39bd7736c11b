"""The fast engine against the slow one: what all tests of it share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from holdfast.gradients import GradientEngine, ReferenceEngine, Stat, Stats
from holdfast.losses.environments import environment_means

ALL = frozenset(Stat)


def squares(outputs: Tensor) -> Tensor:
    """(B, …) to (B,): a loss that gives every output a gradient of its own."""
    flat = outputs.flatten(1)
    return (flat * torch.linspace(0.5, 1.5, flat.shape[1], dtype=flat.dtype) + 0.1).square().sum(1)


def reference(model: nn.Module, losses: Tensor, groups: Tensor, row_weights=None, weights=None) -> dict[str, Stats]:
    means = environment_means(losses, groups, row_weights).values
    weights = torch.full_like(means, 1 / len(means)) if weights is None else weights
    return ReferenceEngine(model)._statistics(means * weights, ALL, retain_graph=False)


def assert_equal(found: dict[str, Stats], wanted: dict[str, Stats], tolerance: float = 1e-10) -> None:
    assert found.keys() == wanted.keys()
    scale = max(s.square.max().item() for s in wanted.values()) ** 0.5
    for name, w in wanted.items():
        f = found[name]
        assert f.environments == w.environments
        assert (f.sum - w.sum).norm() <= tolerance * max(w.sum.norm(), scale), name
        assert (f.square - w.square).norm() <= tolerance * max(w.square.norm(), scale**2), name
        sure = (w.square > (1e4 * tolerance * scale) ** 2) & (w.log > -15 * w.environments) & (w.nonzero == f.nonzero)
        assert torch.equal(f.sign[sure].to(torch.int32), w.sign[sure]), name
        assert torch.allclose(f.log[sure], w.log[sure], rtol=1e4 * tolerance, atol=1e4 * tolerance), name


def check(
    model: nn.Module,
    x: Tensor,
    groups: Tensor | str,
    tolerance: float = 1e-10,
    *,
    chunk_bytes: int = 2000,
    **weights: Tensor,
) -> GradientEngine:
    """Compare twice: the second step runs without the first step's checks."""
    engine = GradientEngine(model, chunk_bytes=chunk_bytes)
    labels = torch.arange(len(x)) if isinstance(groups, str) else groups
    losses = squares(model(x))
    wanted = reference(model, losses, labels, weights.get("row_weights"), weights.get("environment_weights"))
    for _ in range(2):
        assert_equal(engine.statistics(squares(model(x)), groups, needs=ALL, **weights), wanted, tolerance)
    return engine
