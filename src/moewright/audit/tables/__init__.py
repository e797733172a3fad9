"""Figures of tables: against the others of their rows and columns, and against the sizes of their option."""
