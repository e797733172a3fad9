"""The version, which files that moewright writes carry."""

__version__ = "0.1.0"
