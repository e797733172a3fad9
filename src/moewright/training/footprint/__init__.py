"""Bytes of a rank: what is kept of a micro-batch, what stays, and both over time."""
