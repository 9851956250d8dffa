"""How values of the domain are written as JSON, and read back."""
