"""The version, in its only place: the package, files that moewright writes, the docs and --version have it from it."""

__version__ = "0.2.0.dev0"
