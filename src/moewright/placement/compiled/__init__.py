"""Searches over one layer's arrays, compiled by Numba: the only modules that import it."""
