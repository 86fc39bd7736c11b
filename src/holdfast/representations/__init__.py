"""What rows look like: to a model, and in plain numbers."""

from holdfast.representations.class_clusters import class_clusters
from holdfast.representations.features import frozen_features
from holdfast.representations.image_summaries import image_summaries

__all__ = ["class_clusters", "frozen_features", "image_summaries"]
