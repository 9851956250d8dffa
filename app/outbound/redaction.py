"""Redacts exact secrets from a text, in all the forms in which servers echo them."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

__all__ = ["SHORTEST", "redact"]

# Shorter secrets occur within ordinary words, so redacting them would reveal their letters.
SHORTEST = 4
# The minimum length of a part of a secret that is redacted.
_PIECE = 8
_MARK = "…"
_ESCAPES = re.compile(
    # URL encoding, possibly repeated; JSON escapes; HTML entities. A backslash may itself be escaped.
    r"(?P<url>(?:%(?:25)*[0-9A-Fa-f]{2})+)"
    r"|\\+u(?P<code>[0-9A-Fa-f]{4})|\\+x(?P<byte>[0-9A-Fa-f]{2})|\\+(?P<plain>[^\sux])"
    r"|(?P<html>&(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});)"
)
_TWICE = re.compile(r"%(?:25)+")
_BYTES = "surrogateescape"
_URL_SAFE = str.maketrans("+/", "-_")
# The characters that each of the two readings of a text skips. One skips white space and invisible
# characters. The other skips everything but letters and digits, which finds base64 in both alphabets. The
# first reading omits the base64 of long secrets, because the second one finds its pieces anyway.
_INVISIBLE = re.compile(r"[\s\x00-\x1f\x7f-\xa0\xad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
_NON_ALPHANUMERIC = re.compile(r"[\W_]+")
_LONG = 512
_FEW = 128


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace each secret, and each part of one with at least eight characters, by a mark.

    The search ignores case, white space, punctuation and escapes, and includes base64 and hexadecimal forms.
    """
    known = [_Forms.of(secret) for secret in dict.fromkeys(secrets) if len(secret) >= SHORTEST]
    if not text or not known:
        return text
    hidden = bytearray(len(text))
    for reading, forms in (
        (_Reading.exact(text), [each.exact for each in known]),
        (_Reading.of(text, _INVISIBLE), [form for each in known for form in each.visible]),
        (_Reading.of(text, _NON_ALPHANUMERIC), [form for each in known for form in each.alphanumeric]),
    ):
        for start, end in reading.find(forms):
            hidden[start:end] = b"\1" * (end - start)
    return _marked(text, hidden) if any(hidden) else text


def _marked(text: str, hidden: bytearray) -> str:
    parts: list[str] = []
    for position, character in enumerate(text):
        if not hidden[position]:
            parts.append(character)
        elif not position or not hidden[position - 1]:
            parts.append(_MARK)
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class _Forms:
    """The lower-case forms of a secret: exact, without white space, and with letters and digits alone."""

    exact: str
    visible: tuple[str, ...]
    alphanumeric: tuple[str, ...]

    @classmethod
    def of(cls, secret: str) -> _Forms:
        raw = secret.encode(errors=_BYTES)
        shown = raw.decode(errors="replace")
        encoded = tuple(_in_base64(raw))
        meant = "".join(each for each, _ in _decode_escapes(shown))
        visible = [shown, meant, shown.replace(" ", "+")]
        if len(raw) <= _LONG:
            visible += [*encoded, *(each.translate(_URL_SAFE) for each in encoded)]
        alphanumeric = (shown, meant, *encoded, raw.hex())
        return cls(
            shown.casefold(),
            tuple({_without(_INVISIBLE, form) for form in visible}),
            tuple({_without(_NON_ALPHANUMERIC, form) for form in alphanumeric}),
        )


def _in_base64(raw: bytes) -> Iterator[str]:
    """The base64 of some bytes at each alignment, without the characters that depend on adjacent bytes."""
    for before in range(3):
        text = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        is_open = (before + len(raw)) % 3 != 0
        yield text[before + 1 if before else 0 : len(text) - is_open]


def _without(dropped: re.Pattern[str], text: str) -> str:
    return dropped.sub("", text.casefold())


@dataclass(frozen=True, slots=True)
class _Reading:
    """The characters of a text that a reading keeps, with their positions in the original."""

    text: str
    places: tuple[tuple[int, int], ...]

    @classmethod
    def exact(cls, text: str) -> _Reading:
        characters = [(each, index) for index, one in enumerate(text) for each in one.casefold()]
        return cls(
            "".join(each for each, _ in characters), tuple((index, index + 1) for _, index in characters)
        )

    @classmethod
    def of(cls, text: str, dropped: re.Pattern[str]) -> _Reading:
        characters: list[str] = []
        places: list[tuple[int, int]] = []
        for meant, place in _decode_escapes(text):
            for each in _without(dropped, meant):
                characters.append(each)
                places.append(place)
        return cls("".join(characters), tuple(places))

    def find(self, forms: Iterable[str]) -> Iterator[tuple[int, int]]:
        """The spans of the original text that contain a form, or a piece of one."""
        pieces: dict[str, list[int]] = {}
        for start in range(len(self.text) - _PIECE + 1):
            pieces.setdefault(self.text[start : start + _PIECE], []).append(start)
        for form in forms:
            if len(form) < _PIECE:
                yield from self._find_whole(form)
                continue
            for piece in _common(pieces, form):
                for start in pieces[piece]:
                    yield self._place(start, _PIECE)

    def _find_whole(self, form: str) -> Iterator[tuple[int, int]]:
        found = self.text.find(form) if len(form) >= SHORTEST else -1
        while found >= 0:
            yield self._place(found, len(form))
            found = self.text.find(form, found + 1)

    def _place(self, start: int, length: int) -> tuple[int, int]:
        return self.places[start][0], self.places[start + length - 1][1]


def _common(pieces: Collection[str], form: str) -> Iterable[str]:
    """The pieces that occur in a form. The faster algorithm depends on the number of pieces."""
    if len(pieces) < _FEW:
        return [piece for piece in pieces if piece in form]
    own = {form[start : start + _PIECE] for start in range(len(form) - _PIECE + 1)}
    return own.intersection(pieces)


def _decode_escapes(text: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """The decoded characters of a text, each with its span in the original. An escape is one span."""
    position = 0
    for found in _ESCAPES.finditer(text):
        for index in range(position, found.start()):
            yield text[index], (index, index + 1)
        yield _meaning(found), found.span()
        position = found.end()
    for index in range(position, len(text)):
        yield text[index], (index, index + 1)


def _meaning(found: re.Match[str]) -> str:
    if found["url"]:
        return unquote(_TWICE.sub("%", found["url"]))
    if code := found["code"] or found["byte"]:
        return chr(int(code, 16))
    return html.unescape(found["html"]) if found["html"] else found["plain"]
