"""A module a target: the files that start the processes of a plan there."""
