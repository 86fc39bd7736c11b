"""What rows look like: to a model, and in plain numbers."""

from holdfast.representations.features import frozen_features
from holdfast.representations.image_summaries import image_summaries

__all__ = ["frozen_features", "image_summaries"]
