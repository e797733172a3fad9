"""Figures that stand side by side: rates in two units, work and its time, fractions in words, states of one table."""
