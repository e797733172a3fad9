"""What one operation costs: FLOPs, bytes, seconds. Every function works on scalars and on arrays of candidates."""
