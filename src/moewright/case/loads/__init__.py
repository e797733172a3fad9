"""Expert loads and request traces from files."""
