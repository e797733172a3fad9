"""What ``moewright place`` is given, and its watch over a folder."""
