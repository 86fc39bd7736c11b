"""Differentiable penalties on how the gradients of environments differ."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from holdfast.gradients.checks import check_losses


def inter_environment_alignment(environment_losses: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """IGA: Σ_e ‖∇L_e − mean_e ∇L_e‖², the mean not differentiated.

    Koyama, Yamaguchi, *When is invariance useful in an out-of-distribution generalization problem?*, 2020,
    arXiv:2008.01883.

    Args:
        environment_losses: (E,) with a graph.
        parameters: Those compared; all must be reached by the losses.

    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> inter_environment_alignment(torch.stack([w[0], 3 * w[0]]), [w]).item()
    2.0
    """
    gradients = [torch.autograd.grad(loss, parameters, create_graph=True) for loss in environment_losses]
    return torch.stack([_spread(torch.stack(of_parameter)) for of_parameter in zip(*gradients, strict=True)]).sum()


def head_gradient_variances(
    losses: Tensor, outputs: Tensor, features: Tensor, groups: Tensor, row_weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Variances over each environment's rows of the gradient of a linear head, differentiable.

    The gradient of row i is δ_i ⊗ (a_i, 1) with δ the gradient of its loss in the outputs and a the head's input, so
    that its square is δ_i² ⊗ (a_i², 1): products of two matrices, never a gradient per row.

    Args:
        losses: (B,) per-example losses.
        outputs: (B, C) of the head; the losses must depend on the parameters through them.
        features: (B, D) what the head read.
        groups: (B,) environments.
        row_weights: (B,) weights of the rows in their environment; equal by default.

    Returns:
        (E, C · (D + 1)) variances divided by the number of rows, weights before the biases of each output, and (E,)
        the codes of the environments.

    Raises:
        UserError: ``losses`` are reduced, or ``groups`` do not match them.
        Diverged: A loss is not finite.
    """
    check_losses(losses, groups)
    (delta,) = torch.autograd.grad(losses.sum(), outputs, create_graph=True)
    features = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
    weights = torch.ones_like(features[:, 0]) if row_weights is None else row_weights.to(features)
    codes = torch.unique(groups[weights > 0])
    variances = []
    for code in codes:
        rows = groups == code
        d, a, w = delta[rows], features[rows], weights[rows, None] / weights[rows].sum()
        variances.append(((w * d.square()).t() @ a.square() - ((w * d).t() @ a).square()).flatten())
    return torch.stack(variances), codes


def fishr(variances: Tensor) -> Tensor:
    """The mean over environments of the squared distance of the gradients' variances from their mean.

    Ramé, Dancette, Cord, *Fishr: invariant gradient variances for out-of-distribution generalization*, ICML 2022,
    arXiv:2109.02934. The published training smooths the variances of each environment over steps first.

    Args:
        variances: (E, P), as from :func:`head_gradient_variances`.

    >>> fishr(torch.tensor([[1.0, 2.0], [3.0, 2.0]]))
    tensor(1.)
    """
    return (variances - variances.mean(0)).square().sum(1).mean()


def _spread(gradients: Tensor) -> Tensor:
    return (gradients - gradients.mean(0).detach()).square().sum()
