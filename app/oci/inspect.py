"""The output of `docker manifest inspect` for a manifest, plain and verbose."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence

from app.oci import gojson, media_types
from app.oci.descriptor import Descriptor
from app.oci.manifest import Manifest
from app.oci.strict_json import Json

_TAB = b"\t"
_SPACE = b" \t\r\n"
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\],:]|[^ \t\r\n{}\[\],:"]+', re.DOTALL)
# The characters that Go's compaction escapes in strings, as UTF-8 bytes.
_HTML = re.compile(rb"[<>&]|\xe2\x80[\xa8\xa9]")


def plain_image(raw: bytes) -> bytes:
    """A manifest from a registry: indented, but otherwise unchanged, including white space at its end."""
    return _indent(raw) + b"\n"


def plain_entry(raw: bytes) -> bytes:
    """A manifest of a list's entry: Docker stores it compacted, with HTML's special characters escaped."""
    return _indent(_compact(raw)) + b"\n"


def verbose_document(ref: str, descriptor: Descriptor, manifest: Manifest) -> dict[str, Json]:
    """One image of `inspect -v`: Ref, Descriptor, Raw, and the manifest under the name of its kind."""
    document: dict[str, Json] = json.loads(_verbose(ref, descriptor, manifest))
    return document


def verbose_image(ref: str, descriptor: Descriptor, manifest: Manifest) -> bytes:
    """`inspect -v` of one image, as printed."""
    return _indent(_verbose(ref, descriptor, manifest)) + b"\n"


def verbose_list(images: Sequence[tuple[str, Descriptor, Manifest]]) -> bytes:
    """`inspect -v` of a list, as printed."""
    documents = b",".join(_verbose(*image) for image in images)
    return _indent(b"[" + documents + b"]") + b"\n"


def _verbose(ref: str, descriptor: Descriptor, manifest: Manifest) -> bytes:
    kind = "OCIManifest" if manifest.media_type == media_types.OCI_MANIFEST else "SchemaV2Manifest"
    head: dict[str, Json] = {"Ref": ref, "Descriptor": descriptor.document()}
    if manifest.raw:
        head["Raw"] = base64.b64encode(manifest.raw).decode("ascii")
    # The manifest is inserted as text, so that its numbers and escapes keep their spelling.
    return gojson.marshal(head)[:-1] + b',"' + kind.encode() + b'":' + _compact(manifest.raw) + b"}"


def _compact(raw: bytes) -> bytes:
    """Go's compact with HTML escaping."""
    return _HTML.sub(_escape, b"".join(_tokens(raw)))


def _escape(match: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(match[0].decode("utf-8"))


def _indent(raw: bytes) -> bytes:
    """Go's json.Indent: one member per line, empty values as `{}` and `[]`, trailing white space kept."""
    return b"".join(_indented(raw)) + raw[len(raw.rstrip(_SPACE)) :]


def _indented(raw: bytes) -> Iterator[bytes]:
    newline = b"\n"
    opened = False
    for token in _tokens(raw):
        closing = token in {b"}", b"]"}
        if opened and not closing:
            newline += _TAB
            yield newline
        if closing and not opened:
            newline = newline[:-1]
            yield newline
        opened = token in {b"{", b"["}
        yield token
        if token == b",":
            yield newline
        elif token == b":":
            yield b" "


def _tokens(raw: bytes) -> Iterator[bytes]:
    return (match[0] for match in _TOKEN.finditer(raw))
