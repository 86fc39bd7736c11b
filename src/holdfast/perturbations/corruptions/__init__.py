"""The common corruptions of images, of five severities each, in batches: noise, blur, weather and digital."""

from holdfast.perturbations.corruptions.corruption import Corruption, Scale
from holdfast.perturbations.corruptions.suite import (
    COMMON,
    CORRUPTIONS,
    EXTRA,
    SEVERITIES,
    check_names,
    check_shape,
    corrupt,
    corrupt_each,
)

__all__ = [
    "COMMON",
    "CORRUPTIONS",
    "EXTRA",
    "SEVERITIES",
    "Corruption",
    "Scale",
    "check_names",
    "check_shape",
    "corrupt",
    "corrupt_each",
]
