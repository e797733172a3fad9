"""What a document takes for given, and what its figures are of."""
