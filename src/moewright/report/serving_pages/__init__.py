"""Pages about serving: what users will see, which layout is best, what fits, how near predictions come."""
