"""Shortens and escapes untrusted text for messages."""

from __future__ import annotations

SHOWN = 256


def shown(text: str, limit: int = SHOWN) -> str:
    """A short, printable form of untrusted text, safe for logs, JSON and Postgres."""
    printable = "".join(char if char.isprintable() else "\ufffd" for char in text[:limit])
    return printable if len(text) <= limit else f"{printable}…"
