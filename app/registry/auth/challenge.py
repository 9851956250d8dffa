"""Parse WWW-Authenticate (RFC 9110, section 11.6.1): several challenges, quoted strings, any case."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["Challenge", "choose_challenge", "parse_challenges"]

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - the grammar's word
_SPACE = r"[ \t]*"
_NAME = re.compile(_TOKEN)
_GAP = re.compile(r"[ \t,]*")
_PARAMETER = re.compile(rf'({_TOKEN}){_SPACE}={_SPACE}(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}(?![^ \t,])))')
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))")
_QUOTED_PAIR = re.compile(r"\\(.)")
_LONGEST = 8192


@dataclass(frozen=True, slots=True)
class Challenge:
    """A way to authenticate that a registry offers; scheme and parameter names are in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """The challenges in the values of WWW-Authenticate, in order.

    Parsing a value stops at its first syntax error. A challenge that repeats a parameter is dropped,
    because its meaning is ambiguous.
    """
    return tuple(challenge for header in headers for challenge in _parse(header[:_LONGEST]))


def choose_challenge(challenges: Iterable[Challenge]) -> Challenge | None:
    """The challenge to answer: Bearer with a realm before Basic."""
    offered = tuple(challenges)
    for challenge in offered:
        if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
            return challenge
    return next((challenge for challenge in offered if challenge.scheme == "basic"), None)


def _parse(text: str) -> list[Challenge]:
    challenges: list[Challenge] = []
    position = _skip(text, 0)
    while found := _NAME.match(text, position):
        parameters, position = _parse_parameters(text, _skip_spaces(text, found.end()))
        if parameters is not None:
            challenges.append(Challenge(found[0].lower(), parameters))
        after = _skip(text, position)
        if after == position:
            break
        position = after
    return challenges


def _parse_parameters(text: str, position: int) -> tuple[dict[str, str] | None, int]:
    parameters: dict[str, str] = {}
    is_clear = True
    # Skip spaces and commas only when a parameter follows them.
    while found := _PARAMETER.match(text, _skip(text, position)):
        name = found[1].lower()
        value = found[3] if found[2] is None else _QUOTED_PAIR.sub(r"\1", found[2])
        is_clear = is_clear and name not in parameters
        parameters[name] = value
        position = found.end()
    if not parameters and (blob := _TOKEN68.match(text, position)):
        position = blob.end()
    return (parameters if is_clear else None), position


def _skip(text: str, position: int) -> int:
    found = _GAP.match(text, position)
    return found.end() if found else position


def _skip_spaces(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t":
        position += 1
    return position
