"""An engine's scheduler, step by step, over drawn requests."""
