"""Lists the referrers of a manifest: from the API, or from the tag that stands in for it.

distribution-spec, "Listing Referrers" and "Unavailable Referrers API".
"""

from __future__ import annotations

from dataclasses import dataclass

from app import errors
from app.concurrency.document_memory import MemoryReservation
from app.oci import media_types
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import Index, parse_manifest
from app.oci.reference import Reference
from app.oci.referrers import referrers_tag
from app.outbound.client import Answer, Request
from app.outbound.url import Url
from app.registry.auth.renewals import AuthorizedRequest
from app.registry.auth.scope import Scopes, pulling
from app.registry.content.absence import is_absent
from app.registry.content.locations import next_page
from app.registry.content.manifests import fetch_manifest, read_digest
from app.registry.content.redirects import REDIRECTS
from app.registry.error_bodies import parse_upstream
from app.registry.errors import refusal
from app.registry.repository import RemoteRepository

__all__ = ["fetch_referrers_tag", "list_referrers"]

_MOST_PAGES = 100
_MOST_LISTED = 4096
_MOST_BYTES = 8 * 1024 * 1024
_OK, _BAD_REQUEST, _NOT_FOUND = 200, 400, 404
# Answers of registries without the API. Quay's 400 is about a manifest.
_WITHOUT_API = frozenset({_BAD_REQUEST, _NOT_FOUND, 405, 406, 501}) | REDIRECTS


@dataclass(frozen=True, slots=True)
class _Page:
    url: Url
    size: int
    listed: tuple[Descriptor, ...]
    following: Url | None


async def list_referrers(
    remote: RemoteRepository, subject: Digest, *, scopes: Scopes | None = None
) -> tuple[Descriptor, ...]:
    """The referrers, each once; a registry without the API is remembered."""
    scopes = scopes or pulling(remote.path)
    if (await remote.capabilities()).support_referrers:
        listed = await _list(remote, subject, scopes)
        if listed is not None:
            return listed
    try:
        index = await fetch_referrers_tag(remote, subject, scopes=scopes)
    except errors.SourceUnsupported:
        # "If … the tag schema does not return a valid image index", the list is empty.
        return ()
    return () if index is None else index.manifests


async def fetch_referrers_tag(remote: RemoteRepository, subject: Digest, *, scopes: Scopes) -> Index | None:
    """The index under the referrers tag; None if the tag does not exist.

    Raise SourceUnsupported if the tag holds anything else, such as the subject itself: GitLab's registry
    takes `sha256-…` for the digest (oras-go#1396).
    """
    reference = remote.repository.tagged(referrers_tag(subject))
    try:
        found = (await fetch_manifest(remote, reference, scopes=scopes)).manifest
    except errors.SourceNotFound:
        return None
    except errors.RegistryDenied:
        if await _is_absent(remote, reference, subject, scopes):
            return None
        raise
    is_index = isinstance(found, Index) and found.manifest.media_type == media_types.OCI_INDEX
    if not isinstance(found, Index) or not is_index or subject.matches(found.manifest.raw):
        raise errors.SourceUnsupported(
            f"{reference} is not an index of referrers.", **remote.context(reference).members
        )
    return found


async def _is_absent(remote: RemoteRepository, reference: Reference, subject: Digest, scopes: Scopes) -> bool:
    """Whether a denied tag does not exist: to take it for empty would lose what it lists."""
    try:
        can_read = await read_digest(remote, str(subject), scopes=scopes) is not None
    except errors.RegistryError:
        can_read = False
    return await is_absent(remote, str(reference.tag), scopes=scopes, can_read=can_read)


async def _list(remote: RemoteRepository, subject: Digest, scopes: Scopes) -> tuple[Descriptor, ...] | None:
    """All pages within limits, none twice; None from a registry without the API."""
    listed: dict[Digest, Descriptor] = {}
    seen: set[str] = set()
    size = 0
    target: str | Url = remote.referrers_path(subject)
    while len(seen) < _MOST_PAGES and len(listed) <= _MOST_LISTED and size <= _MOST_BYTES:
        page = await _page(remote, target, subject, scopes, is_first=not seen)
        if page is None:
            return None
        listed |= {descriptor.digest: descriptor for descriptor in page.listed}
        seen.add(str(page.url))
        size += page.size
        if page.following is None:
            return tuple(listed.values())
        if str(page.following) in seen:
            raise _not_a_registry(remote, "repeats a page in the list of referrers of", subject)
        target = page.following
    raise errors.SourceTooLarge(
        f"{remote.registry} lists too many referrers of {remote.repository.at(subject)}. The limits are "
        f"{_MOST_LISTED} referrers, {_MOST_PAGES} pages and {_MOST_BYTES} bytes.",
        **remote.context(remote.repository.at(subject)).members,
    )


async def _page(
    remote: RemoteRepository, target: str | Url, subject: Digest, scopes: Scopes, *, is_first: bool
) -> _Page | None:
    """One page, retried after a lost connection; None from a registry without the API."""
    attempt = 1
    while True:
        async with remote.reserve_memory() as memory:
            request = await _request(remote, target, subject, scopes, memory)
            answer = await remote.call(request, scopes)
            if is_first and _lacks_api(answer):
                await _record_missing_api(remote, answer)
                return None
            if answer.status != _OK:
                doing = f"the GET of the referrers of {remote.repository.at(subject)}"
                raise refusal(answer.status, answer.headers, answer.body, request.context, doing=doing)
            index = await _read(remote, answer)
            if index is not None:
                return _Page(
                    request.url, len(answer.body), index.manifests, _following(remote, request, answer)
                )
            if answer.is_framed or attempt >= remote.state.limits.attempts:
                raise _not_a_registry(
                    remote, "answers with something other than a list of the referrers of", subject
                )
        attempt += 1


async def _request(
    remote: RemoteRepository, target: str | Url, subject: Digest, scopes: Scopes, memory: MemoryReservation
) -> AuthorizedRequest:
    return await remote.build_request(
        "GET",
        target,
        scopes,
        context=remote.context(remote.repository.at(subject)),
        headers={"Accept": media_types.OCI_INDEX},
        limit=remote.state.limits.manifest_bytes,
        memory=memory,
    )


def _lacks_api(answer: Answer) -> bool:
    """Some registries answer 200 to any path, so the media type decides."""
    return answer.status in _WITHOUT_API or (answer.status == _OK and not _is_index(answer))


def _is_index(answer: Answer) -> bool:
    return media_types.bare(answer.headers.get("Content-Type")) == media_types.OCI_INDEX


async def _read(remote: RemoteRepository, answer: Answer) -> Index | None:
    """An unreadable list is not an empty list: its referrers would be left out silently."""
    try:
        parsed = await remote.state.parsers.run(parse_manifest, answer.body, media_types.OCI_INDEX)
    except errors.SourceUnusable:
        return None
    return parsed if isinstance(parsed, Index) and _is_index(answer) else None


def _following(remote: RemoteRepository, request: Request, answer: Answer) -> Url | None:
    below = remote.referrers_path()
    return next_page(request.url, answer.headers.getall("Link", []), below=below, context=request.context)


async def _record_missing_api(remote: RemoteRepository, answer: Answer) -> None:
    """Remember that the API is missing, unless the repository may only not exist yet."""
    if answer.status != _BAD_REQUEST and parse_upstream(answer.body).code != "NAME_UNKNOWN":
        (await remote.capabilities()).record_no_referrers()


def _not_a_registry(remote: RemoteRepository, does: str, subject: Digest) -> errors.NotARegistry:
    reference = remote.repository.at(subject)
    return errors.NotARegistry(f"{remote.registry} {does} {reference}.", **remote.context(reference).members)
