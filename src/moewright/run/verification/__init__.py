"""A run held against the unsharded model and against the plan."""
