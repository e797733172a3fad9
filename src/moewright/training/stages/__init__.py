"""Layers on stages, schedules, and the seconds and bytes of a whole step."""
