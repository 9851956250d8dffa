"""Searches bytes for the canaries: raw, in base64, URL-encoded, hexadecimal and escaped."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from urllib.parse import quote

__all__ = ["Search"]

_TAIL = 8
_SHOWN = 60


class Search:
    """Counts what it finds; `hits` has where, which kind and which form."""

    def __init__(self, secrets: Mapping[str, str], mark: str) -> None:
        # Every canary begins with the mark; so its forms are enough for the beginning of each.
        self._needles = [*_needles("any", mark)]
        for kind, secret in secrets.items():
            self._needles += _needles(f"{kind}, its end", secret[-_TAIL:])
        self.searched = 0
        self.hits: Counter[tuple[str, str]] = Counter()
        self.examples: dict[tuple[str, str], str] = {}

    def add(self, kind: str, secret: str) -> None:
        """Search for one more secret, which need not begin with the mark."""
        self._needles += _needles(kind, secret)

    def look(self, where: str, data: bytes) -> None:
        self.searched += len(data)
        for name, needle in self._needles:
            found = data.find(needle)
            if found >= 0:
                hit = (where, name)
                self.hits[hit] += 1
                around = data[max(0, found - _SHOWN) : found + _SHOWN]
                self.examples.setdefault(hit, around.decode(errors="replace"))


def _needles(kind: str, secret: str) -> Iterator[tuple[str, bytes]]:
    raw = secret.encode()
    forms = {
        "raw": secret,
        "URL-encoded": quote(secret, safe=""),
        "URL-encoded throughout": "".join(f"%{byte:02x}" for byte in raw),
        "hexadecimal": raw.hex(),
        "hexadecimal in upper case": raw.hex().upper(),
        "JSON": json.dumps(secret)[1:-1],
        "JSON escapes": "".join(f"\\u{ord(each):04x}" for each in secret),
    }
    for before in range(3):
        # Alone and behind a user name of any length.
        text = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        core = text[before + 1 if before else 0 : len(text) - ((before + len(raw)) % 3 != 0)]
        forms[f"base64 at {before}"] = core
        forms[f"base64 for URLs at {before}"] = core.replace("+", "-").replace("/", "_")
    seen: set[str] = set()
    for form, text in forms.items():
        if text not in seen:
            seen.add(text)
            yield f"{kind} ({form})", text.encode()
