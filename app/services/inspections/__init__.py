"""Inspections of lists, and of registries as operations."""
