"""Sums of amounts, and the terms they are of."""
