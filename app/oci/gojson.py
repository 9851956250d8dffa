"""JSON exactly as Go's encoding/json writes it, because digests depend on every byte."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from app.oci.strict_json import Json

_SHORT = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}
# Go also escapes HTML's special characters and JavaScript's line ends; a lone surrogate becomes U+FFFD.
_ESCAPED = re.compile('[\x00-\x1f"\\\\<>&\u2028\u2029\ud800-\udfff]')


def marshal(value: Json | Mapping[str, Json] | Sequence[Json], indent: str = "") -> bytes:
    """Encode a value: members keep their order, and the text has no trailing newline.

    Without an indent, the text has no white space. Floats are refused: no document of the broker has any, and
    Go formats them differently.
    """
    return _render(value, indent, "\n" if indent else "").encode("utf-8")


def _render(value: object, indent: str, newline: str) -> str:
    if isinstance(value, str):
        return _quote(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    deeper = newline + indent
    if isinstance(value, Mapping):
        colon = ": " if indent else ":"
        members = [f"{_quote(key)}{colon}{_render(member, indent, deeper)}" for key, member in value.items()]
        return _enclose("{", members, "}", newline, deeper)
    if isinstance(value, Sequence):
        return _enclose("[", [_render(item, indent, deeper) for item in value], "]", newline, deeper)
    raise TypeError(f"no JSON is made of {type(value).__name__}")


def _enclose(opening: str, parts: Sequence[str], closing: str, newline: str, deeper: str) -> str:
    if not parts:
        return opening + closing
    return f"{opening}{deeper}{f',{deeper}'.join(parts)}{newline}{closing}"


def _quote(text: str) -> str:
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    if "\ud800" <= char <= "\udfff":
        return "\\ufffd"
    return _SHORT.get(char) or f"\\u{ord(char):04x}"
