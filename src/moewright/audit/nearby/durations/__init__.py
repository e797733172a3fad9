"""Times and rates beside what they follow from."""
