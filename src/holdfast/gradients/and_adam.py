"""AND-mask over time: an optimizer for batches that come from one environment at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor


class AndAdam(torch.optim.Optimizer):
    """Adam that moves a weight only where the sign of its gradient has been steady.

    With a ← β₃a + (1 − β₃)·sign(g), a component moves where |a| ≥ threshold, by Adam's step. Weight decay is decoupled
    and never masked. Draw each batch from one environment; batches that mix environments defeat the mask.

    From a = 0, |a| ≤ 1 − β₃ᵗ after t steps, so that nothing moves at first. At threshold 0 this is Adam to the bit.

    Parascandolo, Neitz, Orvieto, Gresele, Schölkopf, *Learning explanations that are hard to vary*, ICLR 2021,
    arXiv:2009.00329, algorithm 1.

    Args:
        params: Tensors or parameter groups.
        lr: Step size.
        betas: (β₁, β₂, β₃), each in [0, 1).
        threshold: In [0, 1].
        eps: Added to the root of the second moment.
        weight_decay: p ← p − lr · weight_decay · p at every step.
        bias_correction: Correct the first two moments for their start at zero, as Adam does; the paper does not.

    >>> weight = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = AndAdam([weight], lr=0.1, betas=(0.9, 0.999, 0.5), threshold=0.6)
    >>> for _ in range(2):  # |a| is 0.5, then 0.75
    ...     weight.grad = torch.tensor([3.0])
    ...     optimizer.step()
    ...     print(round(weight.item(), 4))
    1.0
    0.9
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: Sequence[float] = (0.9, 0.999, 0.8),
        *,
        threshold: float = 0.4,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        bias_correction: bool = True,
    ) -> None:
        if len(betas) != 3 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas={betas} must be three numbers in [0, 1)")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold={threshold} is out of range: it must lie in [0, 1]")
        if min(lr, eps, weight_decay) < 0:
            raise ValueError(f"lr={lr}, eps={eps} and weight_decay={weight_decay} must not be negative")
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "threshold": threshold,
                "eps": eps,
                "weight_decay": weight_decay,
                "bias_correction": bias_correction,
            },
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state.update({name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq", "exp_avg_sign")})
        state["step"] += 1
        beta1, beta2, beta3 = group["betas"]
        state["exp_avg"].lerp_(gradient, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        state["exp_avg_sign"].lerp_(gradient.sign(), 1 - beta3)
        if group["weight_decay"]:
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
        step = state["step"].item() if group["bias_correction"] else float("inf")
        step_size = group["lr"] / (1 - beta1**step)
        root = state["exp_avg_sq"].sqrt() / (1 - beta2**step) ** 0.5
        masked = state["exp_avg"] * (state["exp_avg_sign"].abs() >= group["threshold"])
        parameter.addcdiv_(masked, root.add_(group["eps"]), value=-step_size)
