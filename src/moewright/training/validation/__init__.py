"""Measured training steps: read, predicted, scored."""
