"""Canaries: secrets that must never come back, and the search for them wherever the broker leaves a trace."""
