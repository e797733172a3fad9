"""How a plan is started on an engine."""
