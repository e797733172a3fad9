"""A plan's figures, each beside what the walk of its ranks found."""
