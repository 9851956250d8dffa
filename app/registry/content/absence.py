"""Decides whether a tag that a registry denies does not exist: some registries deny what is missing."""

from __future__ import annotations

import secrets

from app import errors
from app.oci import strict_json
from app.outbound.client import Answer
from app.outbound.url import Url
from app.registry.auth.scope import Scopes
from app.registry.content.locations import next_page
from app.registry.content.manifests import read_digest
from app.registry.repository import RemoteRepository

__all__ = ["is_absent", "is_listed"]

_OK, _NOT_FOUND = 200, 404
_MOST_PAGES = 20
_PER_PAGE = "n=1000"


async def is_absent(remote: RemoteRepository, tag: str, *, scopes: Scopes, can_read: bool) -> bool:
    """Whether a denied tag does not exist.

    The list of tags decides. Where it is not shown to a credential that `can_read` other manifests of the
    repository, the tag does not exist if the registry denies a tag that nobody has ever put, too.
    """
    listed = await is_listed(remote, tag, scopes=scopes)
    if listed is not None:
        return not listed
    return can_read and await _denies_what_is_missing(remote, scopes)


async def _denies_what_is_missing(remote: RemoteRepository, scopes: Scopes) -> bool:
    try:
        await read_digest(remote, f"no-such-tag-{secrets.token_hex(8)}", scopes=scopes)
    except errors.RegistryDenied:
        return True
    except errors.RegistryError:
        return False
    return False


async def is_listed(remote: RemoteRepository, tag: str, *, scopes: Scopes) -> bool | None:
    """Whether the list has the tag; None if the registry does not show the whole list."""
    try:
        return await _search(remote, tag, scopes)
    except (errors.RegistryError, errors.SourceUnusable, errors.UntrustedOrigin):
        return None


async def _search(remote: RemoteRepository, tag: str, scopes: Scopes) -> bool | None:
    target: str | Url = remote.tags_path
    for page in range(_MOST_PAGES):
        async with remote.reserve_memory() as memory:
            request = await remote.build_request(
                "GET",
                target,
                scopes,
                query=_PER_PAGE if page == 0 else None,
                limit=remote.state.limits.manifest_bytes,
                memory=memory,
            )
            answer = await remote.call(request, scopes)
            if answer.status == _NOT_FOUND and page == 0 and b"NAME_UNKNOWN" in answer.body:
                return False
            tags = _tags(answer)
        if tags is None or tag in tags:
            return None if tags is None else True
        links = answer.headers.getall("Link", [])
        below = remote.tags_path.removesuffix("list")
        following = next_page(request.url, links, below=below, context=request.context)
        if following is None:
            return False
        target = following
    return None


def _tags(answer: Answer) -> list[object] | None:
    if answer.status != _OK:
        return None
    try:
        document = strict_json.loads(answer.body, what="the list of tags")
    except errors.SourceInvalid:
        return None
    if not isinstance(document, dict) or "tags" not in document:
        return None
    listed: object = document["tags"]
    if listed is None:
        # Some registries answer null for none.
        return []
    return list(listed) if isinstance(listed, list) else None
