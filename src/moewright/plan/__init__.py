"""Which strategy is best: the legal space, its evaluation, the search, the checks, the record of a plan."""
