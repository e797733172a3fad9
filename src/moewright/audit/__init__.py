"""What a document claims: read it, find its premises, recompute its numbers, and say which hold."""
