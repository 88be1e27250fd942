"""Apply tables on the device: a source for each kind and pass, a module of launches for each kind."""
