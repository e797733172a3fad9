"""A module an engine: what it cannot run, and the command of each of its processes."""
