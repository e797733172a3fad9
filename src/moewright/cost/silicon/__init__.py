"""Measured kernel and collective tables: files, monotone interpolation, look-ups by shape."""

from moewright.cost.silicon.files import ENGINES, SYSTEMS, tables_folder
from moewright.cost.silicon.tables import Found, Tables

__all__ = ["ENGINES", "SYSTEMS", "Found", "Tables", "tables_folder"]
