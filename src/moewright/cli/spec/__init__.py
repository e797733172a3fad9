"""A spec by options, or by questions."""
