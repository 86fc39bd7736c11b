"""Interventions on factors: rows are drawn again with another value of one factor and everything else as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Draw = Callable[[Mapping[str, Tensor], Tensor], Tensor]


def counterfactual_inputs(
    render: Draw, factors: Mapping[str, Tensor], noise_ids: Tensor, factor: str, value: int
) -> Tensor:
    """The rows under do(factor ← value): the same noise and the same other factors.

    J. Pearl, *Causality*, 2000, for the operator.

    Args:
        render: ``(factors, noise_ids) -> x``; equal factors and noise give equal rows.
        factors: By name (N,) int64 codes of every factor that ``render`` takes.
        noise_ids: (N,) int64.
        factor: The one that is set.
        value: Its code.

    Returns:
        (N, …) inputs.
    """
    return render({**factors, factor: torch.full_like(factors[factor], value)}, noise_ids)


def counterfactual_outputs(
    predict: Callable[[Tensor], Tensor],
    render: Draw,
    factors: Mapping[str, Tensor],
    noise_ids: Tensor,
    factor: str,
    values: Sequence[int],
) -> Tensor:
    """What a model says of the rows under each value of a factor: (V, N, C) for V values.

    Args:
        predict: ``x -> (N, C)``, any callable.
        render: As in :func:`counterfactual_inputs`.
        factors: By name (N,) codes.
        noise_ids: (N,) int64.
        factor: The one that is set.
        values: V codes of it.

    >>> reads_color = lambda x: torch.eye(2)[x[:, 1]]
    >>> draw = lambda factors, noise: torch.stack([factors["label"], factors["color"]], dim=1)
    >>> rows = {"label": torch.tensor([0, 1]), "color": torch.tensor([0, 0])}
    >>> counterfactual_outputs(reads_color, draw, rows, torch.arange(2), "color", range(2)).argmax(2).tolist()
    [[0, 0], [1, 1]]
    """
    return torch.stack([predict(counterfactual_inputs(render, factors, noise_ids, factor, value)) for value in values])
