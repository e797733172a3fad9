"""Processes, process groups and what travels between them."""
