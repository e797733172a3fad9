"""Verdicts, and what they stand on."""
