"""Cases by options of a command line, and the files that stand for them."""
