"""Specs, grids, executors, the cell store, search."""
