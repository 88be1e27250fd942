"""Apply tables to arrays: a file for each kind of table and pass. Knows no operator. Uses all folders."""
