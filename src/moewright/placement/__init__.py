"""Where each expert, or slice or replica of one, lives."""
