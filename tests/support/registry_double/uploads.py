"""Upload sessions: POST, mount, PATCH, PUT, status and cancel."""

from __future__ import annotations

import re

from tests.support.registry_double.content import Content, Upload, digest_text, is_digest
from tests.support.registry_double.manifests import Rules
from tests.support.registry_double.wire import Answer, Exchange, error

CONTENT_RANGE = re.compile(r"(?:bytes[ =])?(\d+)-(\d+)(?:/.*)?", re.ASCII)
UNKNOWN = error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")


def progress(repository: str, upload: Upload, status: int) -> Answer:
    """Where the session stands and where its next request goes."""
    upload.renew()
    location = f"/v2/{repository}/blobs/uploads/{upload.identity}?_state={upload.state}"
    headers = {"Location": location, "Range": upload.range, "Docker-Upload-UUID": upload.identity}
    return Answer(status, headers)


def begin(content: Content, repository: str) -> Answer:
    upload = Upload()
    content.at(repository).uploads[upload.identity] = upload
    return progress(repository, upload, 202)


def stored(content: Content, repository: str, digest: str, data: bytes) -> Answer:
    content.at(repository).blobs[digest] = data
    return stands(repository, digest)


def stands(repository: str, digest: str) -> Answer:
    location = f"/v2/{repository}/blobs/{digest}"
    return Answer(201, {"Location": location, "Docker-Content-Digest": digest})


async def post(content: Content, rules: Rules, repository: str, exchange: Exchange) -> Answer:
    """A new session, a mount, or the whole blob at once (distribution-spec, end-4a, end-4b, end-11)."""
    query = exchange.request.query
    if "mount" in query:
        return mount(content, rules, repository, query["mount"], query.get("from"))
    body = await exchange.body()
    if "digest" in query:
        return finish(content, repository, query["digest"], body)
    return begin(content, repository)


def mount(content: Content, rules: Rules, repository: str, digest: str, source: str | None) -> Answer:
    """201 where the source has the blob; 202 means: upload it here."""
    if source is not None:
        held = content.find(source)
        data = held.blobs.get(digest) if held else None
    else:
        held_by_any = (each.blobs.get(digest) for each in content.repositories.values())
        data = next(filter(None, held_by_any), None) if rules.anonymous_mount else None
    if data is None:
        return begin(content, repository)
    return stored(content, repository, digest, data)


def finish(content: Content, repository: str, digest: str, data: bytes) -> Answer:
    if not is_digest(digest):
        return error(400, "DIGEST_INVALID", "digest parsing failed", digest)
    if digest_text(data, digest.partition(":")[0]) != digest:
        return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content", digest)
    return stored(content, repository, digest, data)


async def proceed(
    content: Content, rules: Rules, repository: str, identity: str, exchange: Exchange
) -> Answer:
    """A request to an open session; the state in the Location is one of the query parameters to be kept."""
    held = content.find(repository)
    upload = held.uploads.get(identity) if held else None
    if held is None or upload is None:
        return UNKNOWN
    if exchange.request.method in ("GET", "HEAD"):
        return progress(repository, upload, 204)
    if exchange.request.method == "DELETE":
        del held.uploads[identity]
        return Answer(204)
    if exchange.request.query.get("_state") != upload.state:
        return error(404, "BLOB_UPLOAD_INVALID", "the upload's state is missing or was used before")
    if rules.max_chunk is not None and (exchange.request.content_length or 0) > rules.max_chunk:
        return Answer(413, {"Content-Type": "text/html"}, b"<h1>413 Request Entity Too Large</h1>")
    return await write(content, repository, upload, exchange)


async def write(content: Content, repository: str, upload: Upload, exchange: Exchange) -> Answer:
    refusal = refuse_range(repository, upload, exchange)
    if refusal:
        return refusal
    # Bytes count as soon as they arrive: a client that goes away finds them in the session's range.
    async for chunk in exchange.chunks():
        upload.data.extend(chunk)
    if exchange.request.method == "PATCH":
        return progress(repository, upload, 202)
    del content.at(repository).uploads[upload.identity]
    return finish(content, repository, exchange.request.query.get("digest", ""), bytes(upload.data))


def refuse_range(repository: str, upload: Upload, exchange: Exchange) -> Answer | None:
    """A chunk has to begin where the last one ended (distribution-spec, Pushing a blob in chunks)."""
    said = exchange.request.headers.get("Content-Range")
    if said is None:
        return None
    form = CONTENT_RANGE.fullmatch(said)
    if form is None or int(form.group(1)) != len(upload.data):
        return progress(repository, upload, 416)
    length = exchange.request.content_length
    if length is None or length == int(form.group(2)) - int(form.group(1)) + 1:
        return None
    return error(400, "SIZE_INVALID", "Content-Range and Content-Length differ")
