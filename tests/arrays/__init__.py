"""What arrays and options may be, and what is said about others."""
