"""A second derivation of a training plan's figures, by the walk of ``planning.proof.walk``."""
