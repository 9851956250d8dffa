"""The HTTP API: reads requests into values and renders results and errors."""
