"""Analyses in overlapping tiles: where tiles lie, how they add up, and their Dask graph."""
