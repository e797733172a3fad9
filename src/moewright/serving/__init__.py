"""What the users of an engine will see."""
