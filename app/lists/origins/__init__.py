"""The origins of entries: their listing in an index, and exact copies of an index."""
