"""Annotations that callers set, under image-spec's rules, and the well-known keys."""

from __future__ import annotations

import re
from collections.abc import Mapping

from app.errors import InvalidAnnotation
from app.errors.collecting import Mistakes, pointer_to
from app.oci.text import shown

# The annotations that link an attestation of BuildKit to its image.
REFERENCE_TYPE = "vnd.docker.reference.type"
REFERENCE_DIGEST = "vnd.docker.reference.digest"
ATTESTATION_MANIFEST = "attestation-manifest"

# image-spec annotations.md, "Pre-Defined Annotation Keys".
CREATED = "org.opencontainers.image.created"
REVISION = "org.opencontainers.image.revision"
SOURCE = "org.opencontainers.image.source"
VERSION = "org.opencontainers.image.version"
URL = "org.opencontainers.image.url"
TITLE = "org.opencontainers.image.title"
DESCRIPTION = "org.opencontainers.image.description"
LICENSES = "org.opencontainers.image.licenses"
REF_NAME = "org.opencontainers.image.ref.name"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"

MAX_COUNT = 256
MAX_KEY = 255
MAX_VALUE = 64 * 1024
# Registries take manifests of 4 MiB; this leaves room for a thousand entries beside the annotations.
MAX_TOTAL = 512 * 1024

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def parse_annotations(mapping: Mapping[str, object]) -> dict[str, str]:
    """The same annotations, sorted by key; raises InvalidAnnotation, which names each that breaks a rule."""
    if len(mapping) > MAX_COUNT:
        raise InvalidAnnotation(f"The {len(mapping)} annotations exceed the limit of {MAX_COUNT}.")
    mistakes = Mistakes()
    parsed = {}
    for key in sorted(mapping):
        # No pointer shows a key that can't be printed.
        with mistakes.at(pointer_to(key) if key and key.isprintable() else ""):
            parsed[key] = _parse_value(_parse_key(key), mapping[key])
    mistakes.raise_all()
    if sum(len(key) + len(value) for key, value in parsed.items()) > MAX_TOTAL:
        raise InvalidAnnotation(f"The annotations together exceed the limit of {MAX_TOTAL} characters.")
    return parsed


def _parse_key(key: str) -> str:
    if not key:
        raise InvalidAnnotation("An annotation has an empty key.", annotation="")
    if len(key) > MAX_KEY:
        raise _refusal(key, f"has a key longer than {MAX_KEY} characters")
    if _CONTROL.search(key) or _UNSTORABLE.search(key):
        raise _refusal(key, "has control characters in its key")
    return key


def _parse_value(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise _refusal(key, "has a value that is not a string")
    if len(value) > MAX_VALUE:
        raise _refusal(key, f"has a value longer than {MAX_VALUE} characters")
    if _UNSTORABLE.search(value):
        raise _refusal(key, "has a value with U+0000 or half a surrogate pair")
    return value


def _refusal(key: str, reason: str) -> InvalidAnnotation:
    name = shown(key, 64)
    return InvalidAnnotation(f'The annotation "{name}" {reason}.', annotation=name)
