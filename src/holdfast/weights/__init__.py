"""Operations on the weights of networks: combine, connect, align, repair, and look at the landscape around them.

Everything works on a :class:`WeightTree`, and on any architecture: what a network says with other weights is asked
without changing it (:class:`Functional`).
"""

from holdfast.weights.curve import Curve, CurveNetwork, fit_curve
from holdfast.weights.diagonal import diagonal_by_environment, diagonal_gauss_newton
from holdfast.weights.directions import dot, filter_norms, flat, norm, random_direction, unflat
from holdfast.weights.files import StoredWeights, combine_files, read_weights, stored_weights, write_weights
from holdfast.weights.functional import Evaluate, Functional, Objective
from holdfast.weights.line import Profile, line_profile
from holdfast.weights.matching import Matching, aligned, match_activations, match_weights
from holdfast.weights.permutations import Axis, PermutationSpec, permuted
from holdfast.weights.products import GaussNewtonProduct, HessianProduct, Product
from holdfast.weights.recalibration import has_running_statistics, recalibrate
from holdfast.weights.repair import activation_moments, repair, variance_ratios
from holdfast.weights.slices import TrajectoryPlane, slice_along, slice_of_plane, trajectory_plane
from holdfast.weights.spectrum import SpectralDensity, TraceEstimate, spectral_density, top_eigenvalues, trace
from holdfast.weights.tree import Direction, WeightTree, check_alike, check_finite, combined, difference, interpolated

__all__ = [
    "Axis",
    "Curve",
    "CurveNetwork",
    "Direction",
    "Evaluate",
    "Functional",
    "GaussNewtonProduct",
    "HessianProduct",
    "Matching",
    "Objective",
    "PermutationSpec",
    "Product",
    "Profile",
    "SpectralDensity",
    "StoredWeights",
    "TraceEstimate",
    "TrajectoryPlane",
    "WeightTree",
    "activation_moments",
    "aligned",
    "check_alike",
    "check_finite",
    "combine_files",
    "combined",
    "diagonal_by_environment",
    "diagonal_gauss_newton",
    "difference",
    "dot",
    "filter_norms",
    "fit_curve",
    "flat",
    "has_running_statistics",
    "interpolated",
    "line_profile",
    "match_activations",
    "match_weights",
    "norm",
    "permuted",
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
