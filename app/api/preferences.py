"""How long a caller wants to wait (RFC 7240)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Header

from app.errors import FieldError, InvalidHeader

DEFAULT_SECONDS = 10
PUSH_SECONDS = 60
# Proxies between caller and broker seldom keep a silent request longer.
LONGEST_SECONDS = 300

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds to hold the answer, and what the answer says of the caller's preference."""

    seconds: float
    applied: str | None = None


def parse_prefer(header: str | None, default: int) -> Wait:
    """`respond-async` does not wait, `wait=N` waits up to N seconds; other preferences are ignored (§2)."""
    if header is None:
        return Wait(default)
    found: dict[str, str] = {}
    for part in header.split(","):
        preference, _, _ = part.partition(";")
        name, _, value = (each.strip() for each in preference.partition("="))
        if not _TOKEN.fullmatch(name):
            raise _invalid("Prefer is not a list of preferences (RFC 7240)")
        # The first of a kind counts (§2).
        found.setdefault(name.lower(), value.strip('"'))
    if "wait" in found:
        seconds = min(_parse_seconds(found["wait"]), LONGEST_SECONDS)
        return Wait(seconds, f"wait={seconds}")
    if "respond-async" in found:
        return Wait(0, "respond-async")
    return Wait(default)


def _parse_seconds(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise _invalid("Prefer: wait=N takes a whole number of seconds")
    return int(text)


def _invalid(detail: str) -> InvalidHeader:
    return InvalidHeader(detail, errors=[FieldError("header:Prefer", detail)])


PreferHeader = Annotated[
    str | None,
    Header(
        alias="Prefer",
        description="`wait=N` holds the answer up to N seconds, `respond-async` does not wait (RFC 7240).",
        examples=["wait=30"],
    ),
]


def waits(default: int) -> Callable[[str | None], Wait]:
    """A dependency that reads the header."""

    def wait(prefer: PreferHeader = None) -> Wait:
        return parse_prefer(prefer, default)

    return wait
