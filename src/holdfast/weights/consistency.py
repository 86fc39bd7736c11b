"""Whether environments agree on the curvature around a solution: closed forms for quadratic losses.

G. Parascandolo, A. Neitz, A. Orvieto, L. Gresele, B. Schölkopf, *Learning explanations that are hard to vary*, ICLR
2021, arXiv:2009.00329, section 2.2. They hold for losses ½ (θ − θ*)ᵀ H_e (θ − θ*) with a common minimum θ*, and to
second order for others, with Hessians or Gauss–Newton matrices in place of H_e.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.core.errors import UserError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class QuadraticInconsistency:
    """The inconsistency of a minimum of quadratic losses.

    Attributes:
        matrix: (E, E), the largest loss of e' (the column) where that of e (the row) is at most ε; ε for e = e'.
        epsilon: ε, in units of the loss.
        damping: What was added to the eigenvalues of H_e.
    """

    matrix: Array
    epsilon: float
    damping: float

    @property
    def value(self) -> float:
        """The largest of the matrix."""
        return float(self.matrix.max())

    @property
    def pair(self) -> tuple[int, int]:
        """The least consistent two environments (e, e')."""
        apart = np.where(np.eye(len(self.matrix), dtype=bool), -np.inf, self.matrix)
        row, column = np.unravel_index(int(apart.argmax()), apart.shape)
        return int(row), int(column)


def quadratic_inconsistency(curvatures: Tensor, epsilon: float, damping: float = 0.0) -> QuadraticInconsistency:
    """ε·λ_max(H_e^{-½} H_e' H_e^{-½}) for each two environments, as a generalised eigenvalue problem.

    For two diagonal matrices this is the paper's ε·max_i max(λ_i/λ'_i, λ'_i/λ_i). It is infinite where H_e is singular
    in a direction in which H_e' is not. With ``damping`` μ in the place of H_e there is H_e + μI. The weights at which
    both ½ dᵀH_e d ≤ ε and ‖d‖ ≤ R contain those of ½ dᵀ(H_e + μI)d ≤ ε for μ = 2ε/R², and lie within those of 2ε: with
    that damping the value is a lower bound of the inconsistency within radius R, and twice the value an upper one.

    Args:
        curvatures: (E, P, P) positive semidefinite matrices H_e.
        epsilon: How much an environment's loss may change.
        damping: μ ≥ 0, in units of the curvature.

    Raises:
        UserError: A damped matrix is not positive definite.

    >>> first, second = torch.diag(torch.tensor([0.05, 1.0])), torch.diag(torch.tensor([1.0, 0.05]))
    >>> round(quadratic_inconsistency(torch.stack([first, second]), epsilon=0.1).value, 6)
    2.0
    """
    from scipy.linalg import LinAlgError, eigh

    matrices = curvatures.double().numpy()
    size = matrices.shape[1]
    matrix = np.diag(np.full(len(matrices), epsilon))
    for row, kept in enumerate(matrices):
        for column, target in enumerate(matrices):
            if row == column:
                continue
            try:
                (largest,) = eigh(
                    target, kept + damping * np.eye(size), eigvals_only=True, subset_by_index=[size - 1, size - 1]
                )
            except LinAlgError:
                raise UserError(_SINGULAR) from None
            matrix[row, column] = epsilon * float(largest)
    return QuadraticInconsistency(matrix, epsilon, damping)


def log_det_gap(curvatures: Tensor, damping: float = 0.0) -> float:
    """Log det of the mean curvature less the mean log det: 0 where all environments bend alike, else positive.

    The second term is the log determinant of the geometric (Karcher) mean. For two quadratic losses the inconsistency
    is at most 4ε·exp(2·gap).

    Args:
        curvatures: (E, P, P) positive semidefinite matrices.
        damping: μ ≥ 0, added to all eigenvalues.

    Raises:
        UserError: A damped matrix is not positive definite.

    >>> first, second = torch.diag(torch.tensor([0.05, 1.0])), torch.diag(torch.tensor([1.0, 0.05]))
    >>> import math
    >>> round(math.exp(log_det_gap(torch.stack([first, second]))), 1)
    5.5
    """
    damped = curvatures.double() + damping * torch.eye(curvatures.shape[-1], dtype=torch.float64)
    return _log_det(damped.mean(0)) - float(np.mean([_log_det(each) for each in damped]))


def diagonal_log_det_gap(diagonals: Tensor, damping: float = 0.0) -> float:
    """The same of diagonal matrices, such as the diagonals of Gauss–Newton matrices.

    Args:
        diagonals: (E, P), not negative.
        damping: μ ≥ 0, added to each entry.

    Raises:
        UserError: A damped entry is not positive.

    >>> import math
    >>> round(math.exp(diagonal_log_det_gap(torch.tensor([[0.01, 1.0], [1.0, 0.01]]))), 1)
    25.5
    """
    damped = diagonals.double() + damping
    if not bool((damped > 0).all()):
        raise UserError(_SINGULAR)
    return float((damped.mean(0).log() - damped.log().mean(0)).sum())


def karcher_mean(matrices: Tensor, tolerance: float = 1e-10, steps: int = 100) -> Tensor:
    """The geometric mean of positive definite matrices: of all, the least sum of squared geodesic distances to it.

    By the fixed-point iteration X ← X^½ exp(mean_e log(X^{-½} H_e X^{-½})) X^½; for commuting matrices that is
    exp(mean_e log H_e). M. Moakher, *A differential geometric approach to the geometric mean of symmetric
    positive-definite matrices*, SIAM J. Matrix Analysis and Applications 2005.

    Args:
        matrices: (E, P, P).
        tolerance: The iteration ends when the mean logarithm has a smaller Frobenius norm.
        steps: Iterations at most.

    Raises:
        UserError: A matrix is not positive definite, or the iteration does not end: they are too far apart.

    >>> karcher_mean(torch.tensor([[[4.0]], [[9.0]]]))
    tensor([[6.]], dtype=torch.float64)
    """
    given = matrices.double()
    if not bool((torch.linalg.eigvalsh(given) > 0).all()):
        raise UserError(_SINGULAR)
    mean = given.mean(0)
    for _ in range(steps):
        values, vectors = torch.linalg.eigh(mean)
        root = vectors * values.sqrt() @ vectors.T
        inverse = vectors / values.sqrt() @ vectors.T
        logarithm = _of_eigenvalues(inverse @ given @ inverse, torch.log).mean(0)
        mean = root @ _of_eigenvalues(logarithm, torch.exp) @ root
        if float(logarithm.norm()) < tolerance:
            symmetric: Tensor = (mean + mean.T) / 2
            return symmetric
    raise UserError(f"the geometric mean has not converged in {steps} steps: give more, or damp the matrices")


def _of_eigenvalues(matrices: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    values, vectors = torch.linalg.eigh((matrices + matrices.mT) / 2)
    made: Tensor = (vectors * function(values)[..., None, :]) @ vectors.mT
    return made


def _log_det(matrix: Tensor) -> float:
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if int(failed):
        raise UserError(_SINGULAR)
    return 2 * float(factor.diagonal().log().sum())


_SINGULAR = "a curvature is not positive definite, as where weights outnumber rows: give a larger damping"
