"""A machine measured, and a run timed."""
