"""Webhooks: registration, signing and delivery."""
