"""An adversary that tells environments apart by what the head reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from holdfast.core.taps import REPRESENTATION
from holdfast.losses.alignment import row_weights

if TYPE_CHECKING:
    from holdfast.training.context import StepContext


class EnvironmentAdversary(nn.Module):
    """DANN: a network predicts the environment from the representation, which is trained to mislead it.

    The penalty is the adversary's cross-entropy, which its own weights lower; the gradient that reaches the
    representation is reversed and multiplied by ``strength``. It is to be added with weight 1, and the step must tap
    :data:`~holdfast.core.taps.REPRESENTATION`. Rows of unknown environment do not count.

    Ganin et al., *Domain-adversarial training of neural networks*, JMLR 2016, arXiv:1505.07818.

    Args:
        width: D of the representation.
        environments: How many.
        strength: λ ≥ 0.
        hidden: Width of the adversary's two hidden layers.
    """

    def __init__(self, width: int, environments: int, *, strength: float = 1.0, hidden: int = 64) -> None:
        super().__init__()
        self.strength = strength
        self.network = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, environments)
        )

    def forward(self, context: StepContext) -> Tensor:
        environment = context.batch.environment
        logits = self.network(reversed_gradient(context.features[REPRESENTATION], self.strength))
        losses = F.cross_entropy(logits, environment, reduction="none", ignore_index=-1)
        weights = row_weights(context.batch).to(losses) * (environment >= 0)
        return (weights * losses).sum() / weights.sum().clamp_min(1e-12)


def reversed_gradient(features: Tensor, strength: float) -> Tensor:
    """The same values; gradients that pass are multiplied by −strength.

    >>> import torch
    >>> x = torch.tensor([2.0], requires_grad=True)
    >>> reversed_gradient(x, 0.5).square().sum().backward()
    >>> x.grad
    tensor([-2.])
    """
    return features.detach() * (1 + strength) - strength * features
