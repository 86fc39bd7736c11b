"""Models that were made elsewhere, as predictors: files of several makes, and what a dotted Python name leads to."""

from holdfast.foreign.load import Loaded, load

__all__ = ["Loaded", "load"]
