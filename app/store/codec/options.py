"""The options of a list in its columns, which have the names of their fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.lists.options import OPTION_NAMES, Options, Order
from app.oci.descriptor import Descriptor
from app.oci.index import Format
from app.oci.platform import Platform
from app.oci.reference import Reference, parse_reference
from app.store.codec.platforms import encode_platform, read_descriptor, read_platform


def encode_options(options: Options) -> dict[str, Any]:
    return {name: _encode(getattr(options, name)) for name in OPTION_NAMES}


def _encode(value: Any) -> Any:
    match value:
        case Platform():
            return encode_platform(value)
        case Reference():
            return str(value)
        case Descriptor():
            return value.document()
        case tuple():
            return [_encode(each) for each in value]
        case Mapping():
            return dict(value)
        case _:
            return value


def read_options(columns: Mapping[Any, Any]) -> Options:
    return Options(**{name: _READ.get(name, _as_it_is)(columns[name]) for name in OPTION_NAMES})


def _as_it_is(value: Any) -> Any:
    return value


_READ: Mapping[str, Callable[[Any], Any]] = {
    "format": Format,
    "order": Order,
    "subject": read_descriptor,
    "tags": tuple,
    "targets": lambda names: tuple(parse_reference(name) for name in names),
    "expected_platforms": lambda documents: tuple(read_platform(document) for document in documents),
}
