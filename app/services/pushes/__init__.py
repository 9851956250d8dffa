"""Pushes: requests, plans, the work itself, and its outcome."""
