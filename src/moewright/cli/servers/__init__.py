"""Verbs that keep a server running."""
