"""How hostile text is shown in our own messages."""

from __future__ import annotations

SHOWN = 256


def shown(text: str, limit: int = SHOWN) -> str:
    """A short, printable form of what someone sent, safe for logs, JSON and Postgres."""
    printable = "".join(char if char.isprintable() else "\ufffd" for char in text[:limit])
    return printable if len(text) <= limit else f"{printable}…"
