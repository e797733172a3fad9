"""Judges of percentages: shares of figures, of named amounts and of means, and what changes by them lead to."""
