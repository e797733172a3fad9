"""Bytes of parameters by the size of an element."""
