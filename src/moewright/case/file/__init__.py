"""A spec file read and checked."""
