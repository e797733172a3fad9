"""A plan held against a count of every rank and a sample of routing."""
