"""Content discovery: tags with pages, and referrers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from multidict import MultiMapping

from tests.support.registry_double.content import Content, RepositoryContent, StoredManifest, is_digest
from tests.support.registry_double.manifests import Rules
from tests.support.registry_double.wire import Answer, error, json_answer

OCI_INDEX = "application/vnd.oci.image.index.v1+json"


def tags(content: Content, rules: Rules, repository: str, query: MultiMapping[str]) -> Answer:
    """Tags in byte order; `n` and `last` cut a page, Link leads on (distribution-spec, end-8a, end-8b)."""
    held = content.find(repository)
    if held is None:
        return error(404, "NAME_UNKNOWN", "repository name not known to registry", {"name": repository})
    limit = page_size(rules, query.get("n"))
    if limit is not None and limit < 0:
        return error(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested")
    rest = [tag for tag in sorted(held.tags) if tag > query.get("last", "")]
    page = rest if limit is None else rest[:limit]
    answer = json_answer(200, {"name": repository, "tags": page})
    if len(page) == len(rest) or not page:
        return answer
    following = urlencode({"n": limit, "last": page[-1]})
    return answer.with_headers(Link=f'</v2/{repository}/tags/list?{following}>; rel="next"')


def page_size(rules: Rules, asked: str | None) -> int | None:
    """-1 for what can't be read."""
    if asked is None:
        return rules.tags_per_page
    if not (asked.isascii() and asked.isdigit()):
        return -1
    return int(asked) if rules.tags_per_page is None else min(int(asked), rules.tags_per_page)


def referrers(
    content: Content, rules: Rules, repository: str, digest: str, query: MultiMapping[str]
) -> Answer:
    """An index of what names this digest as its subject; never 404 for a subject that is not there."""
    if not rules.referrers_api:
        return Answer(404, {"Content-Type": "text/plain; charset=utf-8"}, b"404 page not found\n")
    if not is_digest(digest):
        return error(400, "DIGEST_INVALID", "invalid digest", digest)
    wanted = query.get("artifactType")
    found = list(referring(content.find(repository) or RepositoryContent(), digest))
    kept = [each for each in found if wanted in (None, each["artifactType"])]
    begun = int(query.get("skip", "0"))
    page = kept[begun:][: rules.referrers_per_page]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": page}
    answer = json_answer(200, index, Content_Type=OCI_INDEX)
    if begun + len(page) < len(kept):
        path = f"/v2/{repository}/referrers/{digest}?{urlencode({**query, 'skip': begun + len(page)})}"
        answer = answer.with_headers(Link=f'<{path}>; rel="next"')
    return answer if wanted is None else answer.with_headers(OCI_Filters_Applied="artifactType")


def referring(held: RepositoryContent, digest: str) -> Iterator[dict[str, Any]]:
    for own, stored in held.manifests.items():
        document = stored.document()
        if (document.get("subject") or {}).get("digest") == digest:
            yield descriptor(own, stored, document)


def descriptor(digest: str, stored: StoredManifest, document: dict[str, Any]) -> dict[str, Any]:
    """artifactType falls back to the config's type (distribution-spec, Listing Referrers)."""
    config = document.get("config") or {}
    fields: dict[str, Any] = {
        "mediaType": stored.media_type,
        "digest": digest,
        "size": len(stored.raw),
        "artifactType": document.get("artifactType") or config.get("mediaType", ""),
    }
    annotations = document.get("annotations")
    return {**fields, "annotations": annotations} if annotations else fields
