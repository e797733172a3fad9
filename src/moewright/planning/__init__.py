"""Which strategy is best, and the proof of it."""
