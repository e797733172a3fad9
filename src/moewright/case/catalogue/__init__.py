"""Models, devices and clusters that are known by name."""
