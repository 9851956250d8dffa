"""Inspections: of lists at once, of registries as operations."""
