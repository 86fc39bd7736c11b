"""The common corruptions of images, of five severities each, in batches: noise, blur, weather and digital."""

from holdfast.perturbations.corruptions.corruption import Corruption, Scale
from holdfast.perturbations.corruptions.reader import CorruptedReader, corrupted_inputs
from holdfast.perturbations.corruptions.suite import (
    COMMON,
    CORRUPTIONS,
    EXTRA,
    FAMILIES,
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
    "FAMILIES",
    "SEVERITIES",
    "CorruptedReader",
    "Corruption",
    "Scale",
    "check_names",
    "check_shape",
    "corrupt",
    "corrupt_each",
    "corrupted_inputs",
]
