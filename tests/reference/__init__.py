"""The operators in slow and obvious NumPy: the specification."""
