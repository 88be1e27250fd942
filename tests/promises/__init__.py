"""What every operator promises, asked of each by its record."""
