"""The header `X-Registry-Auth`: each value is a credential, and names the place that it is for."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence

from app import errors
from app.registry.auth.credentials import Credential, parse_entry, text_member
from app.registry.auth.places import parse_place

__all__ = ["GivenCredential", "parse_registry_auth", "parse_registry_auths"]

_LONGEST = 64 * 1024
_MOST = 16

GivenCredential = tuple[str | None, Credential]
"""A caller's credential with its place; None if the caller did not name one."""


def parse_registry_auths(values: Sequence[str]) -> tuple[GivenCredential, ...]:
    """Parse a header that may be repeated; RFC 9110 lets proxies join its values with commas."""
    texts = [part for value in values for part in value.split(",") if part.strip()]
    if len(texts) <= 1:
        return (parse_registry_auth(texts[0] if texts else ""),)
    if len(texts) > _MOST:
        raise _bad_header(f"It holds more than {_MOST} credentials.")
    given: list[GivenCredential] = []
    for number, text in enumerate(texts, start=1):
        place, credential = _parse(text, f"Credential {number} of {len(texts)}: ")
        if any(place == other for other, _ in given):
            shown = f"are for {place}" if place else "have no serveraddress"
            raise _bad_header(f"Several of its credentials {shown}.")
        given.append((place, credential))
    return tuple(given)


def parse_registry_auth(value: str) -> GivenCredential:
    """Parse one value (Docker Engine API). Its serveraddress may name a path: `host/team`."""
    return _parse(value, "")


def _parse(value: str, which: str) -> GivenCredential:
    if len(value) > _LONGEST:
        raise _bad_header(f"{which}It is too long.")
    text = value.strip().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        document = json.loads(raw)
    except (binascii.Error, ValueError, RecursionError) as error:
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
