"""Lists what refers to a manifest: by the registry's API, or by the tag that stands in for it.

distribution-spec, "Listing Referrers" and "Unavailable Referrers API".
"""

from __future__ import annotations

from dataclasses import dataclass

from app import errors
from app.oci import media_types
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import Index, parse_manifest
from app.oci.referrers import referrers_tag
from app.registry.errors import is_html, parse_upstream, refusal
from app.registry.manifests import fetch_manifest
from app.registry.repository import Remote
from app.registry.scope import Scopes, pulling
from app.registry.trails import REDIRECTS
from app.registry.transport import Answer, Request
from app.registry.urls import Url, next_page, referrers_path

__all__ = ["fetch_referrers_tag", "list_referrers"]

_MOST_PAGES = 100
_MOST_LISTED = 4096
_OK, _BAD_REQUEST, _NOT_FOUND = 200, 400, 404
# What registries without the API have been seen to say; Quay's 400 is about a manifest.
_WITHOUT_API = frozenset({_BAD_REQUEST, _NOT_FOUND, 405, 406, 501}) | REDIRECTS


@dataclass(frozen=True, slots=True)
class _Page:
    url: Url
    listed: tuple[Descriptor, ...]
    following: Url | None


async def list_referrers(
    remote: Remote, subject: Digest, *, scopes: Scopes | None = None
) -> tuple[Descriptor, ...]:
    """Each once. That a registry has no such API is remembered."""
    scopes = scopes or pulling(remote.path)
    if remote.services.habits.lists_referrers(remote.repository):
        listed = await _list(remote, subject, scopes)
        if listed is not None:
            return listed
    try:
        index = await fetch_referrers_tag(remote, subject, scopes=scopes)
    except (errors.SourceInvalid, errors.SourceUnsupported):
        # "If … the tag schema does not return a valid image index", there are none.
        return ()
    return () if index is None else index.manifests


async def fetch_referrers_tag(remote: Remote, subject: Digest, *, scopes: Scopes) -> Index | None:
    """The index under the tag that lists a manifest's referrers; None where there is none.

    SourceInvalid where there is something else, such as the subject itself: GitLab's registry takes
    `sha256-…` for the digest (oras-go#1396).
    """
    reference = remote.repository.tagged(referrers_tag(subject))
    try:
        found = (await fetch_manifest(remote, reference, scopes=scopes)).manifest
    except (errors.SourceNotFound, errors.RegistryDenied):
        # Some registries say 403 of a tag that does not exist.
        return None
    is_index = isinstance(found, Index) and found.manifest.media_type == media_types.OCI_INDEX
    if not isinstance(found, Index) or not is_index or subject.matches(found.manifest.raw):
        raise errors.SourceInvalid(
            f"{reference} does not hold an index of referrers", **remote.subject(reference).members
        )
    return found


async def _list(remote: Remote, subject: Digest, scopes: Scopes) -> tuple[Descriptor, ...] | None:
    """All pages, but no more than make sense, and none twice; None from a registry without the API."""
    listed: dict[Digest, Descriptor] = {}
    seen: set[str] = set()
    target: str | Url = referrers_path(remote.path, str(subject))
    while len(seen) < _MOST_PAGES and len(listed) <= _MOST_LISTED:
        page = await _page(remote, target, subject, scopes, is_first=not seen)
        if page is None:
            return None
        listed |= {descriptor.digest: descriptor for descriptor in page.listed}
        seen.add(str(page.url))
        if page.following is None:
            return tuple(listed.values())
        if str(page.following) in seen:
            raise _not_a_registry(remote, "leads in a circle through the referrers of", subject)
        target = page.following
    raise errors.SourceTooLarge(
        f"{remote.registry} lists more referrers of {remote.repository.at(subject)} than are read: "
        f"{_MOST_LISTED}, or {_MOST_PAGES} pages",
        **remote.subject(remote.repository.at(subject)).members,
    )


async def _page(
    remote: Remote, target: str | Url, subject: Digest, scopes: Scopes, *, is_first: bool
) -> _Page | None:
    reference = remote.repository.at(subject)
    async with remote.services.rooms.of(remote.registry) as room:
        request = await remote.prepare(
            "GET",
            target,
            scopes,
            subject=remote.subject(reference),
            headers={"Accept": media_types.OCI_INDEX},
            limit=remote.services.limits.manifest_bytes,
            room=room,
            is_raw=isinstance(target, Url),
        )
        answer = await remote.call(request, scopes)
        index = await _read(remote, answer)
        if index is None and is_first and answer.status in {_OK, *_WITHOUT_API}:
            _learn(remote, answer)
            return None
        if answer.status != _OK:
            doing = f"the GET of the referrers of {reference}"
            raise refusal(answer.status, answer.headers, answer.body, request.subject, doing=doing)
        if index is None:
            raise _not_a_registry(remote, "ends in something else than a list the referrers of", subject)
        return _Page(request.url, index.manifests, _following(remote, request, answer))


async def _read(remote: Remote, answer: Answer) -> Index | None:
    """What is not an index means that there is no such API: some registries say 200 to anything."""
    content_type = media_types.bare(answer.headers.get("Content-Type"))
    if answer.status != _OK or content_type != media_types.OCI_INDEX:
        return None
    try:
        parsed = await remote.services.parsers.run(parse_manifest, answer.body, content_type)
    except errors.SourceUnusable:
        return None
    return parsed if isinstance(parsed, Index) else None


def _following(remote: Remote, request: Request, answer: Answer) -> Url | None:
    below = referrers_path(remote.path, "")
    return next_page(request.url, answer.headers.getall("Link", []), below=below, registry=remote.registry)


def _learn(remote: Remote, answer: Answer) -> None:
    """An error in the registry's own form is about the repository; else the whole registry has no such path.

    One that speaks of a repository that does not exist says nothing of what will be there.
    """
    code = parse_upstream(answer.body).code
    if answer.status == _BAD_REQUEST or code == "NAME_UNKNOWN":
        return
    is_own_error = code is not None and not is_html(answer.headers.get("Content-Type"), answer.body)
    remote.services.habits.note_without_referrers(str(remote.repository) if is_own_error else remote.registry)


def _not_a_registry(remote: Remote, does: str, subject: Digest) -> errors.NotARegistry:
    reference = remote.repository.at(subject)
    return errors.NotARegistry(f"{remote.registry} {does} {reference}", **remote.subject(reference).members)
