"""holdfast: find what a model relies on, make it rely on what holds."""

__version__ = "0.1.0"
