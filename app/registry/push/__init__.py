"""Copies an index and everything it lists to its targets, then moves the tags."""
