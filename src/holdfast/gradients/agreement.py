"""How far environments agree on where the weights should go: the signs of their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from holdfast.core.errors import UserError

LEAST_EXCESS = 0.01
"""Agreement beyond chance, as a share of the components, below which no threshold is suggested."""


@dataclass(frozen=True)
class Suggestion:
    """A threshold for a mask.

    Attributes:
        threshold: In (0, 1].
        share: Of the components that some environment moves, how many agree so far.
        chance: The same share for signs that are tossed.
    """

    threshold: float
    share: float
    chance: float


@dataclass(frozen=True, eq=False)
class SignAgreement:
    """The signs of E environments' gradients.

    Shares are of the components that move: whose gradient is not zero in every environment.

    Attributes:
        signs: Name of each parameter to (E, P) int8 of its P components.
    """

    signs: Mapping[str, Tensor]

    @staticmethod
    def of(model: nn.Module, losses: Iterable[Callable[[], Tensor]]) -> SignAgreement:
        """From the mean losses of the environments, each made when its gradient is taken.

        Args:
            model: Its trainable parameters are looked at.
            losses: One function for each environment, without arguments, to a scalar with a graph.

        Raises:
            UserError: There are fewer than two environments, nothing to train, or a gradient is not finite.

        >>> model = nn.Linear(2, 1, bias=False)
        >>> rows = (torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, -1.0]]))
        >>> SignAgreement.of(model, [lambda x=x: model(x).sum() for x in rows]).signs["weight"].tolist()
        [[1, 1], [1, -1]]
        """
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not parameters:
            raise UserError("no parameter of the model requires a gradient")
        rows = [_signs(loss(), list(parameters.values())) for loss in losses]
        if len(rows) < 2:
            raise UserError("agreement is between environments: there must be two at least")
        return SignAgreement({name: torch.stack(of_one) for name, *of_one in zip(parameters, *rows, strict=True)})

    @property
    def environments(self) -> int:
        """E."""
        return len(next(iter(self.signs.values())))

    def share(self, threshold: float) -> float:
        """Share of the components where |Σ_e sign(g_e)| ≥ threshold · E, as the AND-mask has it."""
        counts = [self._kept(signs, threshold) for signs in self.signs.values()]
        return _ratio(sum(kept for kept, _ in counts), sum(moved for _, moved in counts))

    def share_by_layer(self, threshold: float) -> dict[str, float]:
        """The same for each layer, by the names of its parameters up to the last dot; NaN where nothing moves."""
        layers: dict[str, tuple[int, int]] = {}
        for name, signs in self.signs.items():
            layer = name.rpartition(".")[0] or name
            kept, moved = self._kept(signs, threshold)
            before = layers.get(layer, (0, 0))
            layers[layer] = before[0] + kept, before[1] + moved
        return {layer: _ratio(*counts) for layer, counts in layers.items()}

    def between_pairs(self) -> Tensor:
        """(E, E) share of components of equal sign less that of opposite sign, among those that move; 1 is agreement.

        On the diagonal stands the share whose own gradient is not zero.
        """
        total = torch.zeros(self.environments, self.environments, dtype=torch.float64)
        moved = 0
        for signs in self.signs.values():
            total += (signs.float() @ signs.float().T).double()
            moved += int((signs != 0).any(dim=0).sum())
        return total / max(moved, 1)

    def thresholds(self) -> tuple[float, ...]:
        """Those at which the number of agreeing environments changes, ascending to 1."""
        e = self.environments
        return tuple(count / e for count in range(2 - e % 2, e + 1, 2))

    def suggestion(self) -> Suggestion | None:
        """The threshold at which most is kept beyond what tossed signs would keep; None where that is nothing."""
        found = [Suggestion(t, self.share(t), chance(t, self.environments)) for t in self.thresholds()]
        best = max(found, key=lambda one: one.share - one.chance)
        return best if best.share - best.chance >= LEAST_EXCESS else None

    def _kept(self, signs: Tensor, threshold: float) -> tuple[int, int]:
        """How many components of a parameter agree, and how many move."""
        moved = (signs != 0).any(dim=0)
        agreeing = signs.sum(dim=0, dtype=torch.int32).abs() >= _needed(threshold, self.environments)
        return int((agreeing & moved).sum()), int(moved.sum())


def chance(threshold: float, environments: int) -> float:
    """Probability that E tossed signs agree so far.

    >>> chance(1.0, 3)
    0.25
    """
    needed = _needed(threshold, environments)
    ways = sum(math.comb(environments, k) for k in range(environments + 1) if abs(2 * k - environments) >= needed)
    return float(ways / 2**environments)


def _needed(threshold: float, environments: int) -> int:
    return math.ceil(threshold * environments - 1e-9)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _signs(loss: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
    if not all(bool(gradient.isfinite().all()) for gradient in gradients):
        raise UserError("a gradient is not finite: take weights from before training diverged")
    return [gradient.detach().sign().to(torch.int8).flatten().cpu() for gradient in gradients]
