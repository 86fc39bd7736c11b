"""What rows look like: to a model, and in plain numbers."""

from holdfast.representations.image_summaries import image_summaries

__all__ = ["image_summaries"]
