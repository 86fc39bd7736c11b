"""Mean corruption error: one number for the errors under many corruptions.

Hendrycks, Dietterich, *Benchmarking neural network robustness to common corruptions and perturbations*, ICLR 2019,
arXiv:1903.12261. Errors are shares of wrong rows, from 0 to 1, under each corruption: one for every severity, or their
mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from holdfast.core.errors import UserError, unknown_name

ALEXNET: Mapping[str, float] = {
    "gaussian-noise": 0.886,
    "shot-noise": 0.894,
    "impulse-noise": 0.923,
    "defocus-blur": 0.820,
    "glass-blur": 0.826,
    "motion-blur": 0.786,
    "zoom-blur": 0.798,
    "snow": 0.867,
    "frost": 0.827,
    "fog": 0.819,
    "brightness": 0.565,
    "contrast": 0.853,
    "elastic-transform": 0.646,
    "pixelate": 0.718,
    "jpeg-compression": 0.607,
}
"""AlexNet's published mean errors on ImageNet-C over the five severities, by which the paper divides."""

ALEXNET_CLEAN = 0.435
"""AlexNet's published error on ImageNet."""

LEAST_LOSS = 0.005
"""A reference that loses less under a corruption is no measure of what another loses."""

Errors = Mapping[str, ArrayLike]


def mce(errors: Errors, reference: Errors | None = None) -> float:
    """Mean over corruptions of the mean error, each divided by the reference's where there is one.

    Args:
        errors: For each corruption, the errors at its severities.
        reference: The same of another model, which may be given as means; corruptions that ``errors`` lacks are not
            looked at.

    Raises:
        UserError: No corruption, an error outside [0, 1], or a corruption that the reference lacks or never fails on.

    >>> errors = {"fog": [0.1, 0.3], "snow": [0.4, 0.6]}
    >>> round(mce(errors), 3), round(mce(errors, {"fog": 0.4, "snow": 1.0}), 3)
    (0.35, 0.5)
    """
    own = means(errors)
    if reference is None:
        return float(np.mean(list(own.values())))
    other = divisors(own, reference, 0.0)
    return float(np.mean([own[name] / other[name] for name in own]))


def relative_mce(errors: Errors, clean: float, reference: Errors | None = None, reference_clean: float = 0.0) -> float:
    """Mean over corruptions of what is lost under them, each divided by what the reference loses where there is one.

    Args:
        errors: For each corruption, the errors at its severities.
        clean: The error without corruption.
        reference: The errors of another model, which may be given as means.
        reference_clean: The other model's error without corruption.

    Raises:
        UserError: As :func:`mce`, and where the reference loses next to nothing, so that the quotient says nothing.

    >>> errors = {"fog": [0.1, 0.3], "snow": [0.4, 0.6]}
    >>> round(relative_mce(errors, 0.1), 3), round(relative_mce(errors, 0.1, {"fog": 0.4, "snow": 1.0}, 0.2), 3)
    (0.25, 0.5)
    """
    own = means(errors)
    _check_rates("clean", clean)
    if reference is None:
        return float(np.mean([error - clean for error in own.values()]))
    other = divisors(own, reference, reference_clean)
    return float(np.mean([(own[name] - clean) / other[name] for name in own]))


def means(errors: Errors) -> dict[str, float]:
    """The mean error under each corruption.

    Raises:
        UserError: No corruption, or an error outside [0, 1].
    """
    if not errors:
        raise UserError("a mean corruption error needs errors under one corruption at least")
    return {name: float(np.mean(_check_rates(name, values))) for name, values in errors.items()}


def divisors(names: Iterable[str], reference: Errors, reference_clean: float) -> dict[str, float]:
    """What the reference loses under these corruptions, from its clean error on; from zero, its error.

    Raises:
        UserError: It lacks a corruption, or loses next to nothing.
    """
    wanted: dict[str, ArrayLike] = {}
    for name in names:
        if name not in reference:
            raise unknown_name("corruption of the reference", name, reference)
        wanted[name] = reference[name]
    lost = {name: error - reference_clean for name, error in means(wanted).items()}
    for name, loss in lost.items():
        if loss < LEAST_LOSS:
            raise UserError(
                f"the reference loses {loss:.3g} under {name!r}, too little to divide by: leave that corruption out or "
                "take another reference"
            )
    return lost


def _check_rates(name: str, values: ArrayLike) -> np.ndarray:
    rates = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if not rates.size or not ((rates >= 0) & (rates <= 1)).all():
        raise UserError(f"errors under {name!r} must be shares from 0 to 1, got {np.round(rates[:5], 4).tolist()}")
    return rates
