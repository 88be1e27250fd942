"""Vectors of lanes, and the inner loops over them: uses nothing of roicy but the checks."""
