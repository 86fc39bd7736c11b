"""Kronecker-factored Gauss–Newton matrices of linear layers.

J. Martens, R. Grosse, *Optimizing neural networks with Kronecker-factored approximate curvature*, ICML 2015,
arXiv:1503.05671; with the exact curvature of the loss in the outputs in place of sampled labels: A. Botev, H. Ritter,
D. Barber, *Practical Gauss–Newton optimisation for deep learning*, ICML 2017, arXiv:1706.03662.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from holdfast.core.data import Batch
from holdfast.core.errors import UserError
from holdfast.weights.consistency import log_det_gap
from holdfast.weights.functional import Objective
from holdfast.weights.rows import output_curvature
from holdfast.weights.tree import WeightTree

MOST_EXACT = 1_000
"""Weights of a layer whose mean curvature over environments is made as a dense matrix."""


@dataclass(frozen=True, eq=False)
class KroneckerFactors:
    """G ⊗ A, the curvature of a linear layer's weights (O, I) or (O, I + 1) with the intercept as the last column.

    It equals the layer's block of the Gauss–Newton matrix where inputs and derivatives of outputs are independent over
    rows, as in a single linear layer under squared error.

    Attributes:
        inputs: A = E[a aᵀ] of inputs a, followed by 1 where there is an intercept.
        outputs: G = E[g gᵀ], (O, O): the Gauss–Newton matrix in the layer's outputs.
    """

    inputs: Tensor
    outputs: Tensor

    @property
    def size(self) -> int:
        """How many weights."""
        return len(self.inputs) * len(self.outputs)

    def dense(self) -> Tensor:
        """G ⊗ A, (O·I, O·I)."""
        return torch.kron(self.outputs, self.inputs)

    def log_det(self, damping: float = 0.0) -> float:
        """Log det(G ⊗ A + μI) from the eigenvalues of the factors; undamped it is I·log det G + O·log det A.

        >>> factors = KroneckerFactors(torch.diag(torch.tensor([1.0, 2.0])), torch.tensor([[3.0]]))
        >>> round(factors.log_det(), 4)  # of 3 · 6
        2.8904
        """
        values = torch.outer(torch.linalg.eigvalsh(self.outputs), torch.linalg.eigvalsh(self.inputs))
        return _log_sum(values, damping)


@dataclass(frozen=True)
class KroneckerGap:
    """The log-det gap of block-diagonal Kronecker-factored curvature.

    Attributes:
        value: Summed over layers.
        bounded: Layers for which it is an upper bound, since their mean over environments is too large to be made.
    """

    value: float
    bounded: tuple[str, ...]


def kronecker_factors(objective: Objective, tree: WeightTree) -> dict[str, KroneckerFactors]:
    """The factors of each linear layer, by its name.

    Args:
        objective: The mean loss over N rows; the network is in evaluation mode.
        tree: Where.

    Raises:
        UserError: The network has weights in other layers, or applies a layer more than once to a row.

    >>> from holdfast.core.data import Column, Dataset
    >>> from holdfast.losses import half_squared_error
    >>> from holdfast.weights import Functional
    >>> rows = Dataset(torch.tensor([[1.0], [3.0]]), torch.zeros(2), Column.constant(2))
    >>> net = nn.Linear(1, 1)
    >>> factors = kronecker_factors(Objective(Functional.of(net), rows, half_squared_error), WeightTree.of(net))
    >>> factors[""].inputs, factors[""].outputs
    (tensor([[5., 2.],
            [2., 1.]]), tensor([[1.]]))
    """
    layers = _layers(objective.network.module)
    inputs: dict[str, Tensor | float] = dict.fromkeys(layers, 0.0)
    outputs: dict[str, Tensor | float] = dict.fromkeys(layers, 0.0)
    for batch in objective.batches():
        share = objective.share(batch)
        for name, (given, slopes) in _seen(objective, tree, layers, batch).items():
            weights = share.to(given)[:, None]
            inputs[name] += given.T @ (weights * given)
            outputs[name] += sum(slope.T @ (weights * slope) for slope in slopes)
    return {name: KroneckerFactors(torch.as_tensor(inputs[name]), torch.as_tensor(outputs[name])) for name in layers}


def kronecker_log_det_gap(environments: Sequence[Mapping[str, KroneckerFactors]], damping: float = 0.0) -> KroneckerGap:
    """Log det of the mean curvature less the mean log det, where each environment's curvature is factored by layer.

    The second term is closed. The mean of Kronecker products is none: for layers of at most a thousand weights its log
    determinant is exact, by making it; for larger ones it is replaced by that of its diagonal in the eigenbasis of the
    mean factors (as in T. George, C. Laurent, X. Bouthillier, N. Ballas, P. Vincent, *Fast approximate natural gradient
    descent in a Kronecker-factored eigenbasis*, NeurIPS 2018, arXiv:1806.03884). By Hadamard's inequality that is no
    smaller, so the gap is an upper bound there.

    Args:
        environments: The factors of each environment, E of them.
        damping: μ ≥ 0, added to all eigenvalues of G ⊗ A.

    Raises:
        UserError: A damped curvature is not positive definite.
    """
    total, bounded = 0.0, []
    for name, first in environments[0].items():
        factors = [of_one[name] for of_one in environments]
        if first.size <= MOST_EXACT:
            total += log_det_gap(torch.stack([each.dense() for each in factors]), damping)
            continue
        bounded.append(name)
        total += _log_det_of_mean_bound(factors, damping) - sum(f.log_det(damping) for f in factors) / len(factors)
    return KroneckerGap(total, tuple(bounded))


def _log_det_of_mean_bound(factors: Sequence[KroneckerFactors], damping: float) -> float:
    """An upper bound of log det(mean_e G_e ⊗ A_e + μI)."""
    of_inputs = torch.linalg.eigh(torch.stack([f.inputs for f in factors]).mean(0))[1]
    of_outputs = torch.linalg.eigh(torch.stack([f.outputs for f in factors]).mean(0))[1]
    diagonals = [torch.outer(_diagonal_in(of_outputs, f.outputs), _diagonal_in(of_inputs, f.inputs)) for f in factors]
    return _log_sum(torch.stack(diagonals).mean(0), damping)


def _diagonal_in(basis: Tensor, matrix: Tensor) -> Tensor:
    return (basis * (matrix @ basis)).sum(0)


def _log_sum(values: Tensor, damping: float) -> float:
    damped = values.double().clamp_min(0.0) + damping  # rounding makes eigenvalues of 0 negative
    if not bool((damped > 0).all()):
        raise UserError("a curvature is singular, as where weights outnumber rows: give a larger damping")
    return float(damped.log().sum())


def _layers(module: nn.Module) -> dict[str, nn.Linear]:
    layers = {name: layer for name, layer in module.named_modules() if type(layer) is nn.Linear}
    factored = {id(p) for layer in layers.values() for p in layer.parameters()}
    others = [name for name, p in module.named_parameters() if id(p) not in factored]
    if others or not layers:
        raise UserError(
            f"Kronecker factors are for networks of linear layers, and this one has {(others or ['no layer'])[0]}: "
            "take the diagonal"
        )
    return layers


def _seen(
    objective: Objective, tree: WeightTree, layers: Mapping[str, nn.Linear], batch: Batch
) -> dict[str, tuple[Tensor, list[Tensor]]]:
    """Of each layer the inputs (B, I) or (B, I + 1), and K derivatives (B, O) whose outer products sum to H_out's."""
    with _recorded(layers) as (inputs, probes):
        outputs = objective.network.outputs(tree, batch.x)
    missing = [name for name in layers if name not in probes]
    if missing:
        raise UserError(f"the layer {missing[0]!r} takes no part in what the network says: take the diagonal")
    curvature = output_curvature(objective.loss, outputs.detach(), batch.labels)
    values, vectors = torch.linalg.eigh(curvature)
    roots = vectors * values.clamp_min(0.0).sqrt()[:, None, :]
    slopes = [
        torch.autograd.grad(outputs, list(probes.values()), roots[:, :, k], retain_graph=True)
        for k in range(outputs.shape[1])
    ]
    return {name: (inputs[name], [of_one[k] for of_one in slopes]) for k, name in enumerate(probes)}


@contextmanager
def _recorded(layers: Mapping[str, nn.Linear]) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """What layers are given, and zeros that are added to what they say, through which derivatives flow."""
    inputs: dict[str, Tensor] = {}
    probes: dict[str, Tensor] = {}

    def record(name: str, layer: nn.Linear, given: Tensor, said: Tensor) -> Tensor:
        if name in probes or given.ndim != 2:
            raise UserError(f"the layer {name!r} is applied more than once to a row: take the diagonal")
        ones = [given.new_ones(len(given), 1)] if "bias" in dict(layer.named_parameters()) else []
        inputs[name] = torch.cat([given.detach(), *ones], dim=1)
        probes[name] = torch.zeros_like(said, requires_grad=True)
        return said + probes[name]

    handles = [
        layer.register_forward_hook(lambda layer, given, said, name=name: record(name, layer, given[0], said))
        for name, layer in layers.items()
    ]
    try:
        yield inputs, probes
    finally:
        for handle in handles:
            handle.remove()
