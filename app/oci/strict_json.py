"""Parses untrusted JSON; refuses documents that readers may understand differently."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import NoReturn, TypeAlias

from app.errors import SourceInvalid, as_sentence
from app.oci.text import shown

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

MAX_DEPTH = 32
# The limit of brackets and commas: twice as many as 1,024 manifests with ten annotations each have.
MAX_STRUCTURE = 50_000
# The length of the largest finite float in decimal digits.
MAX_DIGITS = 309

# An unclosed string matches to the end of the text, so that no text makes the search backtrack.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_PLAIN = rb'[^"\[\]{},]*+'
_NEXT = re.compile(_PLAIN + rb"(?:" + _STRING + _PLAIN + rb")*+(?:([\[{])|([\]}])|,|\Z)", re.DOTALL)
_OPENS, _CLOSES = 1, 2
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class _Refused(ValueError):
    """JSON that is rejected; the message follows the name of the document."""


def loads(raw: bytes, *, what: str) -> Json:
    """The document, or SourceInvalid; `what` names it at the start of the detail.

    Besides invalid JSON, it refuses repeated keys (readers differ on which one counts), NaN and infinities,
    invalid Unicode, NUL (Postgres can't store it), and excessive nesting, breadth or numbers.
    """
    try:
        return _load(raw)
    except _Refused as error:
        raise SourceInvalid(as_sentence(f"{what} {error}")) from None
    except RecursionError:
        raise SourceInvalid(as_sentence(f"{what} is nested too deeply")) from None
    except UnicodeError:
        raise SourceInvalid(as_sentence(f"{what} is not valid UTF-8")) from None
    except json.JSONDecodeError as error:
        reason = f"{error.msg}, at line {error.lineno} column {error.colno}"
        raise SourceInvalid(as_sentence(f"{what} is not valid JSON: {reason}")) from None


def _load(raw: bytes) -> Json:
    _check_shape(raw)
    document: Json = json.loads(
        raw.decode("utf-8"),
        object_pairs_hook=_object,
        parse_constant=_constant,
        parse_float=_float,
        parse_int=_int,
    )
    _check_strings(raw, document)
    return document


def _check_shape(raw: bytes) -> None:
    """Check depth and breadth before parsing; for a small document, three counts in C are enough."""
    brackets = raw.count(b"[") + raw.count(b"{")
    if brackets <= MAX_DEPTH and raw.count(b",") <= MAX_STRUCTURE:
        return
    depth = 0
    for place, token in enumerate(_NEXT.finditer(raw)):
        if token.lastindex == _OPENS:
            depth += 1
        elif token.lastindex == _CLOSES:
            depth -= 1
        if depth > MAX_DEPTH:
            raise _Refused(f"is nested more than {MAX_DEPTH} levels deep")
        if place > MAX_STRUCTURE:
            raise _Refused("has too many members")


def _check_strings(raw: bytes, document: Json) -> None:
    """Refuse NUL and lone surrogates, which only escapes can produce."""
    if b"\\u0000" in raw and _ESCAPED_NUL.search(raw):
        raise _Refused("contains the character U+0000")
    if _ESCAPED_SURROGATE.search(raw):
        json.dumps(document, ensure_ascii=False).encode("utf-8")


def _object(pairs: Iterable[tuple[str, Json]]) -> dict[str, Json]:
    members: dict[str, Json] = {}
    for key, value in pairs:
        if key in members:
            raise _Refused(f'has the key "{shown(key, 64)}" twice in one object')
        members[key] = value
    return members


def _constant(name: str) -> NoReturn:
    raise _Refused(f"has {name} for a number, which is not JSON")


def _int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise _Refused("has a number that is too large")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _Refused("has a number that is too large")
    return number
