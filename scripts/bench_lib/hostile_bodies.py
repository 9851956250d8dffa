"""Documents and answers that are meant to harm who reads them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping

from app.oci.digest import digest_of
from app.oci.media_types import OCI_CONFIG, OCI_MANIFEST
from app.oci.strict_json import MAX_STRUCTURE

FULL = 4 * 1024 * 1024
EMPTY = {"mediaType": OCI_CONFIG, "digest": str(digest_of(b"{}")), "size": 2}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: " + OCI_MANIFEST.encode() + b"\r\n"


def documents() -> Mapping[str, Callable[[], bytes]]:
    """Bodies of 4 MiB that a reader of JSON has trouble with, by name."""
    return {
        "deep arrays": lambda: b"[" * FULL,
        "deep objects": lambda: b'{"a":' * (FULL // 5),
        "deep in a manifest": lambda: _manifest(b'"x":' + b"[" * 1_000_000 + b"]" * 1_000_000),
        "wide numbers": lambda: b"[" + b"1," * (FULL // 2 - 2) + b"1]",
        "wide strings": lambda: b'["' + b'","' * (FULL // 3 - 2) + b'"]',
        "wide objects": lambda: b"[" + b"{}," * (FULL // 3 - 2) + b"{}]",
        "as many keys as are taken": lambda: _manifest(_keys()).ljust(FULL),
        "as many floats as are taken": lambda: _manifest(b'"x":[' + _floats() + b"]").ljust(FULL),
        "long numbers": lambda: _manifest(b'"x":[' + (b"1" * 300 + b",") * 13_000 + b"1]"),
        "one string": lambda: _manifest(b'"x":"' + b"a" * (FULL - 1000) + b'"'),
        "one string of escapes": lambda: _manifest(b'"x":"' + b"\\u0061" * ((FULL - 1000) // 6) + b'"'),
        "quotes never closed": lambda: b'{"x":"' + b"\\\\" * (FULL // 2 - 10),
        "annotations": lambda: _manifest(b'"annotations":{' + _keys(b'"v"') + b"}").ljust(FULL),
        "white space": lambda: b" " * FULL,
        "one byte too many": lambda: b"[" * (FULL + 1),
    }


def small_documents() -> Mapping[str, Callable[[], bytes]]:
    """As large as what is read at once."""
    return {
        "64 KiB of numbers": lambda: b"[" + b"1," * (32 * 1024 - 2) + b"1]",
        "64 KiB of objects": lambda: b"[" + b"{}," * 21_000 + b"1]",
    }


def answers() -> Mapping[str, Callable[[], bytes]]:
    """Answers, head and all, that are harmful before their body is understood."""
    bomb = gzip.compress(b"[" * (64 * FULL))
    return {
        "bomb of gzip": lambda: _answer(bomb, "Content-Encoding: gzip"),
        "bomb of ten gzips": lambda: _answer(
            gzip.compress(bomb), "Content-Encoding: " + ", ".join(["gzip"] * 10)
        ),
        "bomb of brotli by name": lambda: _answer(bomb, "Content-Encoding: br"),
        "bomb that is not announced": lambda: _answer(bomb),
        "header of 5 MB": lambda: HEAD + b"X: " + b"a" * 5_000_000 + b"\r\n\r\n",
        "9,000 headers": lambda: HEAD + b"".join(b"X-%d: a\r\n" % i for i in range(9_000)) + b"\r\n",
        "20,000 times 100 Continue": lambda: b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000 + _answer(b"[]"),
        "chunks of one byte": lambda: (
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 700_000 + b"0\r\n\r\n"
        ),
        "4 MiB as an error": lambda: _answer(b"[" * FULL).replace(b"200 OK", b"404 Not Found"),
    }


def _manifest(member: bytes) -> bytes:
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": EMPTY["digest"], "size": 2}
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": EMPTY, "layers": [layer]}
    return json.dumps(document).encode()[:-1] + b"," + member + b"}"


def _keys(value: bytes = b"1") -> bytes:
    return b",".join(b'"k%d":%b' % (place, value) for place in range(MAX_STRUCTURE - 100))


def _floats() -> bytes:
    return b",".join([b"1.1234567890123e5"] * (MAX_STRUCTURE - 100))


def _answer(body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    return HEAD + f"Content-Length: {len(body)}\r\n{lines}\r\n".encode() + body
