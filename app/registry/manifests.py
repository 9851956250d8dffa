"""Manifests: looked up, fetched and put, by bytes that are always hashed here."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from app import errors
from app.oci import media_types
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest, digest_of, parse_digest
from app.oci.manifest import ImageManifest, Index, Manifest, parse_manifest
from app.oci.reference import Reference
from app.registry.errors import Subject, is_html, refusal, scrub
from app.registry.repository import Remote
from app.registry.scope import Scopes, pulling, pushing
from app.registry.transport import Answer
from app.registry.urls import manifest_path

__all__ = [
    "FetchedManifest",
    "fetch_manifest",
    "head_manifest",
    "is_present",
    "named",
    "put_manifest",
    "read_digest",
]

_ACCEPT = {"Accept": ", ".join(media_types.MANIFEST_TYPES)}
_OK, _NOT_FOUND = 200, 404
_CREATED = frozenset({200, 201, 202})
_PARSED_AT_ONCE = 64 * 1024


@dataclass(frozen=True, slots=True)
class FetchedManifest:
    """A manifest as received and as understood."""

    manifest: ImageManifest | Index

    @property
    def raw(self) -> Manifest:
        return self.manifest.manifest

    @property
    def digest(self) -> Digest:
        return self.raw.digest


async def fetch_manifest(
    remote: Remote, reference: Reference, *, scopes: Scopes | None = None
) -> FetchedManifest:
    """The manifest of a reference; the digest counts where there is a tag too."""
    subject = remote.subject(reference)
    answer = await _get(remote, reference, scopes or pulling(remote.path))
    _check_kind(answer, subject)
    _check_digest(answer, reference, subject)
    return FetchedManifest(await _parse(answer, subject))


async def head_manifest(
    remote: Remote, reference: Reference, *, scopes: Scopes | None = None
) -> Descriptor | None:
    """What a reference leads to, or None when the registry says that it does not have it.

    HEAD is not counted by registries that count; where it is refused, or says too little, GET answers.
    """
    scopes = scopes or pulling(remote.path)
    answer = await _head(remote, reference, scopes)
    if answer.status == _NOT_FOUND and not is_html(answer.headers.get("Content-Type")):
        return None
    descriptor = _descriptor(answer, reference) if answer.status == _OK else None
    if descriptor is not None:
        return descriptor
    try:
        answer = await _get(remote, reference, scopes)
    except errors.SourceNotFound:
        return None
    _check_kind(answer, remote.subject(reference))
    _check_digest(answer, reference, remote.subject(reference))
    return Manifest.of(media_types.bare(answer.headers.get("Content-Type")), answer.body).descriptor


async def is_present(remote: Remote, digest: Digest, *, scopes: Scopes) -> bool:
    """Whether the registry says that it has a manifest; a refusal decides nothing and counts as no.

    Some registries answer 403 for what does not exist.
    """
    reference = remote.repository.at(digest)
    answer = await _head(remote, reference, scopes)
    return answer.status == _OK and _stated_digest(answer) in {None, digest}


async def read_digest(remote: Remote, target: str, *, scopes: Scopes) -> Digest | None:
    """The digest of the bytes that a tag or digest gives now; None where there are none."""
    request = await remote.prepare(
        "GET",
        manifest_path(remote.path, target),
        scopes,
        subject=remote.subject(named(remote, target)),
        headers=_ACCEPT,
        limit=remote.services.limits.manifest_bytes,
    )
    answer = await remote.call(request, scopes)
    if answer.status == _NOT_FOUND:
        return None
    if answer.status != _OK:
        raise refusal(
            answer.status, answer.headers, answer.body, request.subject, doing="the GET of what was put"
        )
    return digest_of(answer.body)


def named(remote: Remote, target: str) -> str:
    """The reference of a tag or digest in a repository, as text."""
    return f"{remote.repository}{'@' if ':' in target else ':'}{target}"


async def put_manifest(remote: Remote, target: str, manifest: Manifest) -> None:
    """Puts exact bytes under a tag or digest; safe to repeat."""
    scopes = pushing(remote.path)
    subject = remote.subject(named(remote, target))
    request = await remote.prepare(
        "PUT",
        manifest_path(remote.path, target),
        scopes,
        subject=subject,
        headers={"Content-Type": manifest.media_type},
        content=manifest.raw,
    )
    answer = await remote.call(request, scopes)
    if answer.status not in _CREATED:
        raise _put_refusal(answer, subject)
    stated = _stated_digest(answer)
    if stated is not None and stated.algorithm == manifest.digest.algorithm and stated != manifest.digest:
        raise errors.PushNotVerified(
            f"{remote.registry} stored {stated} where {manifest.digest} was put", **subject.members
        )


def _put_refusal(answer: Answer, subject: Subject) -> errors.BrokerError:
    error = refusal(answer.status, answer.headers, answer.body, subject, doing=f"the PUT of {subject}")
    # Distribution answers 404 for a manifest whose blobs it lacks; nothing was looked for here.
    if isinstance(error, errors.SourceNotFound):
        return errors.RegistryRejected(error.detail, **error.members)
    return error


async def _head(remote: Remote, reference: Reference, scopes: Scopes) -> Answer:
    request = await remote.prepare(
        "HEAD",
        manifest_path(remote.path, reference.target),
        scopes,
        subject=remote.subject(reference),
        headers=_ACCEPT,
    )
    return await remote.call(request, scopes)


async def _get(remote: Remote, reference: Reference, scopes: Scopes) -> Answer:
    subject = remote.subject(reference)
    request = await remote.prepare(
        "GET",
        manifest_path(remote.path, reference.target),
        scopes,
        subject=subject,
        headers=_ACCEPT,
        limit=remote.services.limits.manifest_bytes,
    )
    answer = await remote.call(request, scopes)
    if answer.status != _OK:
        raise refusal(answer.status, answer.headers, answer.body, subject, doing=f"the GET of {subject}")
    return answer


def _check_digest(answer: Answer, reference: Reference, subject: Subject) -> None:
    """The digest asked for, or else the one that the registry states, must be that of the bytes."""
    wanted = reference.digest or _stated_digest(answer)
    if wanted is not None and not wanted.matches(answer.body):
        raise errors.DigestMismatch(
            f"what {subject.registry} sent for {subject} does not have the digest {wanted}", **subject.members
        )


def _check_kind(answer: Answer, subject: Subject) -> None:
    """Manifests are an application's of some sort; web servers that say yes to all send pages and texts."""
    bare = media_types.bare(answer.headers.get("Content-Type"))
    if is_html(bare, answer.body) or not (bare.startswith("application/") or not bare):
        raise errors.NotARegistry(
            f"{subject.registry} sent {scrub(bare) or 'a page'} for {subject}, which is no manifest; "
            "check the host",
            **subject.members,
        )


async def _parse(answer: Answer, subject: Subject) -> ImageManifest | Index:
    content_type = answer.headers.get("Content-Type")
    try:
        if len(answer.body) <= _PARSED_AT_ONCE:
            return parse_manifest(answer.body, content_type)
        # A hostile document of 4 MiB keeps the processor busy for tenths of a second.
        return await asyncio.to_thread(parse_manifest, answer.body, content_type)
    except errors.SourceUnusable as error:
        raise type(error)(
            error.detail, errors=error.errors, **{**subject.members, **error.members}
        ) from error


def _descriptor(answer: Answer, reference: Reference) -> Descriptor | None:
    digest = _stated_digest(answer)
    size = answer.headers.get("Content-Length", "")
    media_type = media_types.bare(answer.headers.get("Content-Type"))
    is_whole = media_type in media_types.MANIFEST_TYPES and size.isascii() and size.isdigit()
    if digest is None or not is_whole or reference.digest not in {None, digest}:
        return None
    return Descriptor(media_type, digest, int(size))


def _stated_digest(answer: Answer) -> Digest | None:
    try:
        return parse_digest(answer.headers.get("Docker-Content-Digest", "").strip())
    except errors.InvalidDigest:
        return None
