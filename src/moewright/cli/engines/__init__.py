"""Verbs on engines: what commands do, and what was measured."""
