"""Boxes to tables on the device, a file a kind: the only place that knows an operator's geometry."""
