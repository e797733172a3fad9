"""``python -m moewright.run PLAN``: the command ``moewright run``, as torchrun starts it."""

import sys

from moewright.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["run"]
    main()
