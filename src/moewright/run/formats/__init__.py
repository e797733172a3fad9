"""Number formats that the executor multiplies in."""
