"""The header `X-Registry-Auth`: each value is a credential, and names the place that it is for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from app import errors
from app.errors.collecting import Mistakes
from app.registry.auth.credentials import Credential, decode_base64, parse_entry, text_member
from app.registry.auth.places import parse_place

__all__ = ["GivenCredential", "parse_registry_auth", "parse_registry_auths"]

_LONGEST = 64 * 1024
_MOST = 16

GivenCredential = tuple[str | None, Credential]
"""A caller's credential with its place; None if the caller did not name one."""


def parse_registry_auths(values: Sequence[str]) -> tuple[GivenCredential, ...]:
    """Parse a repeatable header; RFC 9110 lets proxies join its values with commas.

    One error names every unusable credential.
    """
    texts = [part for value in values for part in value.split(",") if part.strip()]
    if len(texts) <= 1:
        return (parse_registry_auth(texts[0] if texts else ""),)
    if len(texts) > _MOST:
        raise _bad_header(f"It holds more than {_MOST} credentials.")
    given: list[GivenCredential] = []
    mistakes = Mistakes()
    for number, text in enumerate(texts, start=1):
        with mistakes.found():
            given.append(_parse(text, f"Credential {number} of {len(texts)}: "))
    counts = Counter(place for place, _ in given)
    for place in (place for place, count in counts.items() if count > 1):
        shown = f"are for {place}" if place else "have no serveraddress"
        mistakes.add(_bad_header(f"Several of its credentials {shown}."))
    mistakes.raise_all()
    return tuple(given)


def parse_registry_auth(value: str) -> GivenCredential:
    """Parse one value (Docker Engine API). Its serveraddress may name a path: `host/team`."""
    return _parse(value, "")


def _parse(value: str, which: str) -> GivenCredential:
    if len(value) > _LONGEST:
        raise _bad_header(f"{which}It is too long.")
    try:
        document = json.loads(decode_base64(value))
    except (ValueError, RecursionError) as error:
        raise _bad_header(f"{which}It is not the base64 form of a JSON object.") from error
    if not isinstance(document, dict):
        raise _bad_header(f"{which}It is not the base64 form of a JSON object.")
    try:
        credential = parse_entry(document, "X-Registry-Auth")
        address = text_member(document, "serveraddress", "X-Registry-Auth")
    except errors.InvalidInput as error:
        raise _bad_header(which + error.detail) from error
    place = parse_place(address) if address else None
    if address and place is None:
        raise _bad_header(
            f"{which}Its serveraddress is not the host of a registry, with or without a path of repositories."
        )
    return place, credential


def _bad_header(reason: str) -> errors.InvalidHeader:
    return errors.InvalidHeader(
        f"X-Registry-Auth can't be read. {reason}",
        errors=(errors.FieldError("header:X-Registry-Auth", reason),),
    )
