"""Random calls with arguments of all kinds, and checks of their results."""
