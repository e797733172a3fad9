"""The search for a placement: counts, positions and shares of every layer."""
