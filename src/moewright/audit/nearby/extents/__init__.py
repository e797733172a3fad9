"""Figures of one and of many of the same things."""
