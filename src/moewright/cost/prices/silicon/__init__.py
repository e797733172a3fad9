"""Measured kernel and collective tables: files, monotone interpolation, look-ups by shape."""

from moewright.cost.prices.silicon.table_files import SYSTEMS, system_of, tables_folder
from moewright.cost.prices.silicon.tables import Found as Found
from moewright.cost.prices.silicon.tables import Tables as Tables
from moewright.cost.prices.silicon.tables import tables_of as tables_of

__all__ = ["SYSTEMS", "Found", "Tables", "system_of", "tables_folder", "tables_of"]
