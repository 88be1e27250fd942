"""The package as a whole: what it is made of, what a process does with it, what its pages say."""
