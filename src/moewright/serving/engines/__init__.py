"""Engines as data: scheduler defaults, memory rules, fitted constants; and their steady state."""
