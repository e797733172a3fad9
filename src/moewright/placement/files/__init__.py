"""Placement files: of moewright and of engines, read and written."""
