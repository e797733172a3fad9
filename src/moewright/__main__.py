"""python -m moewright"""

from moewright.cli import main

main()
