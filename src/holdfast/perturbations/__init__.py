"""Changes to rows: exchanges of one column, factor or part of a picture between them, and corruptions of images."""

from holdfast.perturbations.blocks import block_exchanged
from holdfast.perturbations.image_parts import image_swaps
from holdfast.perturbations.simple_corruptions import SIMPLE_CORRUPTIONS
from holdfast.perturbations.swaps import Swap, exchangeable

__all__ = ["SIMPLE_CORRUPTIONS", "Swap", "block_exchanged", "exchangeable", "image_swaps"]
