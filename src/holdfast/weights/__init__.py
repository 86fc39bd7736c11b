"""Operations on the weights of networks: combine, connect, align, repair, and look at the landscape around them.

Everything works on a :class:`WeightTree`, and on any architecture: what a network says with other weights is asked
without changing it (:class:`Functional`).
"""

from holdfast.weights.consistency import (
    QuadraticInconsistency,
    diagonal_log_det_gap,
    karcher_mean,
    log_det_gap,
    quadratic_inconsistency,
)
from holdfast.weights.curve import Curve, CurveNetwork, fit_curve
from holdfast.weights.diagonal import diagonal_by_environment, diagonal_gauss_newton, gauss_newton_matrix
from holdfast.weights.directions import dot, filter_norms, flat, norm, random_direction, unflat
from holdfast.weights.environment_losses import LossesByEnvironment
from holdfast.weights.files import StoredWeights, combine_files, read_weights, stored_weights, write_weights
from holdfast.weights.functional import Evaluate, Functional, Objective
from holdfast.weights.kronecker import KroneckerFactors, KroneckerGap, kronecker_factors, kronecker_log_det_gap
from holdfast.weights.level_sets import (
    Bound,
    Inconsistency,
    LevelSetPath,
    WithinEachWeight,
    WithinNorm,
    level_set_search,
)
from holdfast.weights.line import Profile, line_profile
from holdfast.weights.matching import Matching, aligned, match_activations, match_weights
from holdfast.weights.permutations import Axis, PermutationSpec, permuted
from holdfast.weights.products import GaussNewtonProduct, HessianProduct, Product
from holdfast.weights.recalibration import has_running_statistics, recalibrate
from holdfast.weights.repair import activation_moments, repair, variance_ratios
from holdfast.weights.rows import by_environment
from holdfast.weights.slices import TrajectoryPlane, slice_along, slice_of_plane, trajectory_plane
from holdfast.weights.spectrum import SpectralDensity, TraceEstimate, spectral_density, top_eigenvalues, trace
from holdfast.weights.tree import Direction, WeightTree, check_alike, check_finite, combined, difference, interpolated

__all__ = [
    "Axis",
    "Bound",
    "Curve",
    "CurveNetwork",
    "Direction",
    "Evaluate",
    "Functional",
    "GaussNewtonProduct",
    "HessianProduct",
    "Inconsistency",
    "KroneckerFactors",
    "KroneckerGap",
    "LevelSetPath",
    "LossesByEnvironment",
    "Matching",
    "Objective",
    "PermutationSpec",
    "Product",
    "Profile",
    "QuadraticInconsistency",
    "SpectralDensity",
    "StoredWeights",
    "TraceEstimate",
    "TrajectoryPlane",
    "WeightTree",
    "WithinEachWeight",
    "WithinNorm",
    "activation_moments",
    "aligned",
    "by_environment",
    "check_alike",
    "check_finite",
    "combine_files",
    "combined",
    "diagonal_by_environment",
    "diagonal_gauss_newton",
    "diagonal_log_det_gap",
    "difference",
    "dot",
    "filter_norms",
    "fit_curve",
    "flat",
    "gauss_newton_matrix",
    "has_running_statistics",
    "interpolated",
    "karcher_mean",
    "kronecker_factors",
    "kronecker_log_det_gap",
    "level_set_search",
    "line_profile",
    "log_det_gap",
    "match_activations",
    "match_weights",
    "norm",
    "permuted",
    "quadratic_inconsistency",
    "random_direction",
    "read_weights",
    "recalibrate",
    "repair",
    "slice_along",
    "slice_of_plane",
    "spectral_density",
    "stored_weights",
    "top_eigenvalues",
    "trace",
    "trajectory_plane",
    "unflat",
    "variance_ratios",
    "write_weights",
]
