"""Fill tables on the device: a file for each kind. Uses geometry; knows operators by their geometry."""
