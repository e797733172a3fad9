"""Figures against the others of the same document: each judge finds its kind of pair, and tells what follows."""
