"""Calculations in blocks of code."""
