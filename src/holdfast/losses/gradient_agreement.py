"""Penalties on how the gradients of environments differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from holdfast.core.taps import REPRESENTATION
from holdfast.gradients.penalties import fishr, head_gradient_variances, inter_environment_alignment

if TYPE_CHECKING:
    from holdfast.training.context import StepContext


class GradientAlignment:
    """IGA: the squared distances of the environments' gradients from their mean, summed.

    Koyama, Yamaguchi, *When is invariance useful in an out-of-distribution generalization problem?*, 2020,
    arXiv:2008.01883.

    Args:
        parameters: Those whose gradients are compared.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = tuple(parameters)

    def __call__(self, context: StepContext) -> Tensor:
        return inter_environment_alignment(context.environment_losses.values, self.parameters)


class GradientVariances(nn.Module):
    """Fishr: how much the variance, over rows, of the head's gradient differs between environments.

    The variances of each environment are averaged over steps with factor ``memory`` and divided by 1 − ``memory``, so
    that those of the current batch keep their scale. The step must tap :data:`~holdfast.core.taps.REPRESENTATION`.

    Ramé, Dancette, Cord, *Fishr: invariant gradient variances for out-of-distribution generalization*, ICML 2022,
    arXiv:2109.02934.

    Args:
        head: The last linear layer.
        environments: How many; rows of unknown environment are one more.
        memory: In [0, 1).
    """

    averages: Tensor
    seen: Tensor

    def __init__(self, head: nn.Linear, environments: int, *, memory: float = 0.95) -> None:
        super().__init__()
        self.memory = memory
        size = head.out_features * (head.in_features + 1)
        self.register_buffer("averages", torch.zeros(environments + 1, size))
        self.register_buffer("seen", torch.zeros(environments + 1, dtype=torch.bool))

    def forward(self, context: StepContext) -> Tensor:
        batch, features = context.batch, context.features[REPRESENTATION]
        variances, codes = head_gradient_variances(
            context.losses, context.outputs, features, batch.environment, batch.weight
        )
        before = torch.where(self.seen[codes, None], self.averages[codes].to(variances), variances.detach())
        averages = self.memory * before + (1 - self.memory) * variances
        self.averages[codes] = averages.detach().to(self.averages)
        self.seen[codes] = True
        return fishr(averages / (1 - self.memory))
