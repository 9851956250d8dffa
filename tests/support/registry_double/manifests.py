"""Manifests: GET, HEAD, PUT and DELETE by tag and by digest."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.registry_double.content import (
    MANIFEST_TYPES,
    Content,
    RepositoryContent,
    StoredManifest,
    digest_text,
    is_digest,
)
from tests.support.registry_double.journal import Journal, TagPut
from tests.support.registry_double.wire import Answer, Exchange, error

INDEX_TYPES = tuple(each for each in MANIFEST_TYPES if "list" in each or "index" in each)
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(slots=True)
class Rules:
    """What this registry insists on; each can be switched while it runs."""

    require_children: bool = True
    referrers_api: bool = True
    immutable_tags: bool = False
    require_accept: bool = False
    max_manifest_size: int = 4 * 1024 * 1024
    max_chunk: int | None = None
    ranges: bool = True
    tags_per_page: int | None = None
    referrers_per_page: int | None = None
    anonymous_mount: bool = True


def manifest_unknown(reference: str) -> Answer:
    return error(404, "MANIFEST_UNKNOWN", "manifest unknown", {"unknown": reference})


def get(content: Content, rules: Rules, repository: str, reference: str, accept: Sequence[str]) -> Answer:
    held = content.find(repository)
    found = held.find_manifest(reference) if held else None
    if found is None:
        return manifest_unknown(reference)
    digest, stored = found
    if rules.require_accept and not any(stored.media_type in each for each in accept):
        return error(404, "MANIFEST_UNKNOWN", f"found, but Accept does not name {stored.media_type}")
    headers = {"Content-Type": stored.media_type, "Docker-Content-Digest": digest, "ETag": f'"{digest}"'}
    return Answer(200, headers, stored.raw)


def delete(content: Content, repository: str, reference: str) -> Answer:
    held = content.find(repository)
    if held is None:
        return error(404, "NAME_UNKNOWN", "repository name not known to registry")
    if is_digest(reference):
        return Answer(202) if held.delete_manifest(reference) else manifest_unknown(reference)
    return Answer(202) if held.tags.pop(reference, None) else manifest_unknown(reference)


async def put(content: Content, journal: Journal, rules: Rules, exchange: Exchange) -> Answer:
    """Everything about the body is checked before anything is kept."""
    repository, reference = parse_target(exchange.request.path)
    raw = await exchange.body()
    held = content.find(repository) or RepositoryContent()
    stored = StoredManifest(media_type_of(exchange), raw)
    refusal = refuse_form(rules, reference, stored) or refuse_content(rules, held, reference, stored)
    digest = reference if is_digest(reference) else digest_text(raw)
    if not is_digest(reference):
        missing = held.missing(stored) if well_formed(stored) else ()
        journal.tag_puts.append(TagPut(repository, reference, digest, missing, refusal is None))
    if refusal:
        return refusal
    keep(content.at(repository), reference, digest, stored)
    return created(rules, repository, digest, stored)


def parse_target(path: str) -> tuple[str, str]:
    repository, _, reference = path.removeprefix("/v2/").rpartition("/manifests/")
    return repository, reference


def media_type_of(exchange: Exchange) -> str:
    return exchange.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def well_formed(stored: StoredManifest) -> bool:
    """Whether the body has the shape that its references can be read from."""
    try:
        return all(isinstance(digest, str) for digest in (*stored.blobs(), *stored.child_manifests()))
    except (KeyError, TypeError):
        return False


def refuse_form(rules: Rules, reference: str, stored: StoredManifest) -> Answer | None:
    """Size, reference, JSON, and the type said twice (image-spec, media type in body and header)."""
    if len(stored.raw) > rules.max_manifest_size:
        return error(413, "SIZE_INVALID", f"manifest is larger than {rules.max_manifest_size} bytes")
    if not is_digest(reference) and not TAG.fullmatch(reference):
        code = "DIGEST_INVALID" if ":" in reference else "TAG_INVALID"
        return error(400, code, "the reference is neither a digest nor a tag", reference)
    if stored.media_type not in MANIFEST_TYPES:
        return error(400, "MANIFEST_INVALID", f"media type {stored.media_type!r} is not known")
    return refuse_body(stored)


def refuse_body(stored: StoredManifest) -> Answer | None:
    try:
        document = json.loads(stored.raw)
    except ValueError as reason:
        return error(400, "MANIFEST_INVALID", f"the body is not JSON: {reason}")
    if not isinstance(document, dict) or document.get("schemaVersion") != 2 or not well_formed(stored):
        return error(400, "MANIFEST_INVALID", "the body is not a manifest of schema version 2")
    lists = stored.media_type in INDEX_TYPES
    if ("manifests" in document) is not lists or ("config" in document) is lists:
        return error(400, "MANIFEST_INVALID", "an index has manifests and no config, an image the reverse")
    said = document.get("mediaType")
    if said != stored.media_type and (said is not None or "docker" in stored.media_type):
        return error(400, "MANIFEST_INVALID", f"mediaType is {said!r}, Content-Type {stored.media_type!r}")
    return None


def refuse_content(
    rules: Rules, held: RepositoryContent, reference: str, stored: StoredManifest
) -> Answer | None:
    if is_digest(reference) and digest_text(stored.raw, reference.partition(":")[0]) != reference:
        return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
    if rules.immutable_tags and reference in held.tags:
        return error(400, "TAG_INVALID", f"tag {reference} already exists and is immutable")
    missing = held.directly_missing(stored) if rules.require_children else ()
    if missing:
        entries = [
            {"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry", "detail": digest}
            for digest in missing
        ]
        return Answer(400, {"Content-Type": "application/json"}, json.dumps({"errors": entries}).encode())
    return None


def keep(held: RepositoryContent, reference: str, digest: str, stored: StoredManifest) -> None:
    """A manifest put by sha512 answers to its canonical digest as well."""
    held.manifests[digest] = held.manifests[digest_text(stored.raw)] = stored
    if not is_digest(reference):
        held.tags[reference] = digest


def created(rules: Rules, repository: str, digest: str, stored: StoredManifest) -> Answer:
    headers = {"Location": f"/v2/{repository}/manifests/{digest}", "Docker-Content-Digest": digest}
    subject = stored.document().get("subject")
    if subject and rules.referrers_api:
        headers["OCI-Subject"] = subject["digest"]
    return Answer(201, headers)
