"""Predictions held against measured serving results."""
