"""Changes to rows: exchanges of one column, factor or part of a picture between them."""

from holdfast.perturbations.image_parts import image_swaps
from holdfast.perturbations.swaps import Swap, exchangeable

__all__ = ["Swap", "exchangeable", "image_swaps"]
