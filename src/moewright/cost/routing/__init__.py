"""Where a router sends tokens: its law, samples of it, and what is expected of them."""
