"""Other systems: their calls, and ours beside them."""
