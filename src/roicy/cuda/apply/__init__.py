"""Tables applied to arrays on the device: a source a kind of table and pass, a module of launches a kind."""
