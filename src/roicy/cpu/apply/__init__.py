"""Tables applied to arrays, a file a kind of table and pass: knows no operator. Uses all folders."""
