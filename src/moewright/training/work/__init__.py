"""The work of a step, what it is priced with, and the seconds of its units."""
