"""Weights read from a folder, slice by slice."""
