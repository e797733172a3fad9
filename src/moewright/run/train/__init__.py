"""A training step executed on forked ranks: forward, backward, reduction and optimizer, against one process."""
