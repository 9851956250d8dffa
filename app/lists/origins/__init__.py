"""Where entries come from: how an index lists them, and when a list is an exact copy of it."""
