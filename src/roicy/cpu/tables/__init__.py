"""Boxes to tables, a file a kind: uses geometry and runtime, and knows an operator by its geometry alone."""
