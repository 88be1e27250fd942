"""The package as a whole: its files, its use in processes, its documentation."""
