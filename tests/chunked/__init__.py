"""`roicy.dask`, where Dask is installed: the results of `roicy`, whatever the chunks are."""
