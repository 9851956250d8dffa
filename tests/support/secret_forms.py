"""The forms in which servers repeat a secret that was sent to them."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Mapping
from urllib.parse import quote, quote_plus

Form = Callable[[str], str]


def _in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _in_url_base64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _all_quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def _half_quoted(text: str) -> str:
    return text[: len(text) // 2] + _all_quoted(text[len(text) // 2 :])


def _in_escapes(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


FORMS: Mapping[str, Form] = {
    "raw": str,
    "base64": _in_base64,
    "base64 for URLs": _in_url_base64,
    "base64 with a user": lambda text: _in_base64(f"user:{text}"),
    "base64 with a longer user": lambda text: _in_base64(f"robots:{text}"),
    "base64 with the longest user": lambda text: _in_base64(f"manager:{text}"),
    "URL-encoded": quote_plus,
    "URL-encoded in lower case": lambda text: quote(text, safe="").lower(),
    "URL-encoded throughout": _all_quoted,
    "URL-encoded in part": _half_quoted,
    "URL-encoded twice": lambda text: quote(_all_quoted(text)),
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal in upper case": lambda text: text.encode().hex().upper(),
    "hexadecimal with colons": lambda text: text.encode().hex(":"),
    "JSON": json.dumps,
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "escapes": _in_escapes,
    "HTML": html.escape,
    "joined with the user": lambda text: f"user:{text}",
    "in an address": lambda text: f"https://user:{text}@registry.test/v2/",
    "spaced": " ".join,
    "hyphenated": "-".join,
    "upper case": str.upper,
    "lower case": str.lower,
    "its beginning": lambda text: text[:8],
    "its end": lambda text: text[-8:],
    "its beginning in base64": lambda text: _in_base64(text)[:10],
    "all but its end": lambda text: text[:-3],
    "broken into lines": lambda text: f"{text[:9]}\r\n\t{text[9:]}",
}
