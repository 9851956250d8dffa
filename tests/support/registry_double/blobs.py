"""Blobs: GET with ranges, HEAD and DELETE."""

from __future__ import annotations

import re
from dataclasses import replace

from tests.support.registry_double.content import Content, is_digest
from tests.support.registry_double.wire import Answer, error

RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


def blob_unknown(digest: str) -> Answer:
    return error(404, "BLOB_UNKNOWN", "blob unknown to registry", digest)


def get(content: Content, repository: str, digest: str, wanted: str | None) -> Answer:
    if not is_digest(digest):
        return error(400, "DIGEST_INVALID", "invalid digest", digest)
    held = content.find(repository)
    data = held.blobs.get(digest) if held else None
    if data is None:
        return blob_unknown(digest)
    headers = {
        "Content-Type": "application/octet-stream",
        "Docker-Content-Digest": digest,
        "Accept-Ranges": "bytes",
        "ETag": f'"{digest}"',
    }
    whole = Answer(200, headers, data)
    return whole if wanted is None else part(whole, wanted)


def part(whole: Answer, wanted: str) -> Answer:
    """RFC 9110, 14.2: a Range that can't be read is ignored, one that can't be met is 416."""
    form = RANGE.fullmatch(wanted)
    if form is None or form.group(0) == "bytes=-":
        return whole
    size = len(whole.body)
    first, last = bounds(form.group(1), form.group(2), size)
    if first >= size or last < first:
        return error(416, "RANGE_INVALID", "invalid range").with_headers(Content_Range=f"bytes */{size}")
    cut = replace(whole, status=206, body=whole.body[first : last + 1])
    return cut.with_headers(Content_Range=f"bytes {first}-{last}/{size}")


def bounds(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:
        return max(size - int(last), 0), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1


def delete(content: Content, repository: str, digest: str) -> Answer:
    held = content.find(repository)
    if held is None or held.blobs.pop(digest, None) is None:
        return blob_unknown(digest)
    return Answer(202, {"Docker-Content-Digest": digest})
