"""Boxes to tables, a file a kind: uses runtime, and is the only place that knows an operator's geometry."""
