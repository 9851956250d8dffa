"""The HTTP API: what callers send, read into values, and what they are answered."""
