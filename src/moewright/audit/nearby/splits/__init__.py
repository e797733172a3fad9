"""Experts, heads, tokens and groups by the sizes that they are divided by."""
