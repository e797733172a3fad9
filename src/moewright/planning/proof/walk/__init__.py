"""A second derivation of a plan's figures: its ranks are walked through one pass, tensor by tensor.

Nothing here knows ``moewright.cost`` (a test holds it to that): what both sides read is the case, the sizes of the
strategy, the model's list of tensors, and where experts were placed.
"""
