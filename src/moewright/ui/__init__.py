"""A local page where a plan follows what is typed."""
