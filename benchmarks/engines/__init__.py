"""Commands that ``moewright launch`` writes, held against the engines' own parsers."""
