"""Reads members of untrusted JSON objects: checks their types, and refuses keys that resemble known ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache

from app.errors import SourceInvalid, as_sentence
from app.oci.strict_json import Json
from app.oci.text import shown

_TYPES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


def owner(document: Json, keys: tuple[str, ...], *, what: str) -> Mapping[str, Json]:
    """The document as an object; refuses a key that differs from one of `keys` only by letter case.

    Go accepts `Manifests`, or `size` with a long s, as the proper names (golang/go#14750); other readers
    don't. Documents with different meanings for different readers are refused.
    """
    if not isinstance(document, dict):
        raise SourceInvalid(as_sentence(f"{what} is {type_name(document)}, not an object"))
    for key in document:
        known = _folded(keys).get(key.casefold())
        if known is not None and key not in keys:
            detail = f'{what} has the key "{shown(key, 64)}", which some readers take for "{known}"'
            raise SourceInvalid(as_sentence(detail))
    return document


@cache
def _folded(keys: tuple[str, ...]) -> Mapping[str, str]:
    return {key.casefold(): key for key in keys}


def text(owner: Mapping[str, Json], key: str, *, what: str) -> str:
    """The string; empty if absent or null, as in Go."""
    value = owner.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _wrong_type(key, value, "a string", what)
    return value


def items(owner: Mapping[str, Json], key: str, *, what: str) -> Sequence[Json]:
    value = owner.get(key)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _wrong_type(key, value, "an array", what)
    return value


def texts(owner: Mapping[str, Json], key: str, *, what: str) -> tuple[str, ...]:
    """The strings; null becomes an empty string, as in Go."""
    values = []
    for value in items(owner, key, what=what):
        if value is not None and not isinstance(value, str):
            raise _wrong_type(key, value, "strings", what, of="contains")
        values.append(value or "")
    return tuple(values)


def texts_by_key(owner: Mapping[str, Json], key: str, *, what: str) -> dict[str, str]:
    value = owner.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong_type(key, value, "an object", what)
    strings = {name: member for name, member in value.items() if isinstance(member, str)}
    if len(strings) != len(value):
        raise SourceInvalid(f"`{key}` of {what} has values that are not strings.")
    return strings


def others(owner: Json | Mapping[str, Json], keys: AbstractSet[str]) -> tuple[str, ...]:
    """The names of the members that are not among `keys`, without those that are null; sorted."""
    if not isinstance(owner, Mapping):
        return ()
    return tuple(sorted(name for name, value in owner.items() if name not in keys and value is not None))


def type_name(value: Json) -> str:
    return "null" if value is None else _TYPES[type(value)]


def _wrong_type(key: str, value: Json, wanted: str, what: str, of: str = "is") -> SourceInvalid:
    return SourceInvalid(f"`{key}` of {what} {of} {type_name(value)}, not {wanted}.")
