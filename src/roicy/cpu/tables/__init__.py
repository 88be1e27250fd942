"""Fill tables from boxes: a file for each kind. Uses geometry, runtime; knows operators by their geometry."""
