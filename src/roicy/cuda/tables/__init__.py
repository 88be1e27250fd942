"""Boxes to tables on the device, a file a kind: uses geometry, and knows an operator by that alone."""
