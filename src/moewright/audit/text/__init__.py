"""A document's text: statements, numbers, formulas."""
