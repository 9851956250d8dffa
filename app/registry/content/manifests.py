"""Manifests: looked up, fetched and put; the client hashes their bytes itself."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app import errors
from app.concurrency.document_memory import MemoryReservation
from app.oci import media_types
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest, parse_digest
from app.oci.manifest import ImageManifest, Index, Manifest, parse_manifest
from app.oci.reference import Reference
from app.outbound.client import Answer
from app.outbound.failures import RequestContext
from app.registry.auth.scope import Scopes, pulling, pushing
from app.registry.content.redirects import follow_manifest
from app.registry.error_bodies import is_html
from app.registry.errors import refusal, tag_refusal, write_refusal
from app.registry.parsing import Parsers
from app.registry.repository import RemoteRepository

__all__ = [
    "UNREADABLE",
    "FetchedManifest",
    "Unreadable",
    "fetch_manifest",
    "find_manifest",
    "head_manifest",
    "is_not_yet_known",
    "is_present",
    "named",
    "put_manifest",
    "read_digest",
    "read_manifest",
]

# A denial does not show whether the manifest exists.
Unreadable = errors.RegistryDenied | errors.RegistryRejected
UNREADABLE = (errors.RegistryDenied, errors.RegistryRejected)

_ACCEPT = {"Accept": ", ".join(media_types.MANIFEST_TYPES)}
_OK, _NOT_FOUND = 200, 404
_CREATED = frozenset({200, 201, 202})
# The registry does not support HEAD. Any other refusal may be about the manifest.
_WITHOUT_HEAD = frozenset({405, 501})
# The codes for content that a registry lacks, or has taken and does not know yet.
_NOT_YET_KNOWN = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"})
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}(?![0-9a-f])", re.ASCII)
_MANY_MISSING = 64


@dataclass(frozen=True, slots=True)
class FetchedManifest:
    """A manifest, as received and as parsed."""

    manifest: ImageManifest | Index

    @property
    def raw(self) -> Manifest:
        return self.manifest.manifest

    @property
    def digest(self) -> Digest:
        return self.raw.digest


async def fetch_manifest(
    remote: RemoteRepository, reference: Reference, *, scopes: Scopes | None = None, described: str = ""
) -> FetchedManifest:
    """The manifest of a reference; a digest takes precedence over a tag.

    `described` is the media type that an index gives it, which counts where the registry names none.
    """
    attempt = 1
    while True:
        async with remote.reserve_memory() as memory:
            is_last = attempt >= remote.state.limits.attempts
            wanted = _Wanted(reference, scopes or pulling(remote.path), described)
            fetched = await _try(remote, wanted, memory, is_last=is_last)
        if fetched is not None:
            return fetched
        attempt += 1


async def head_manifest(
    remote: RemoteRepository, reference: Reference, *, scopes: Scopes | None = None
) -> Descriptor | None:
    """The descriptor of a reference, or None when the registry says that it does not exist."""
    found = await find_manifest(remote, reference, scopes=scopes)
    return found.descriptor if isinstance(found, Manifest) else found


async def find_manifest(
    remote: RemoteRepository, reference: Reference, *, scopes: Scopes | None = None
) -> Descriptor | Manifest | None:
    """The descriptor of a reference, or the manifest if that had to be fetched; None if it does not exist.

    Registries that limit pulls do not count HEAD. If HEAD is refused or incomplete, GET decides.
    """
    scopes = scopes or pulling(remote.path)
    answer = await _head(remote, reference, scopes)
    if answer is not None:
        if answer.status == _NOT_FOUND and not is_html(answer.headers.get("Content-Type")):
            return None
        descriptor = _descriptor(answer, reference) if answer.status == _OK else None
        if descriptor is not None:
            return descriptor
    attempt = 1
    while True:
        async with remote.reserve_memory() as memory:
            try:
                answer = await _get(remote, reference, scopes, memory)
            except errors.SourceNotFound:
                return None
            if attempt >= remote.state.limits.attempts or not _looks_cut_off(answer):
                return _found(remote, reference, answer)
        attempt += 1


def _found(remote: RemoteRepository, reference: Reference, answer: Answer) -> Manifest:
    _check_kind(answer, remote.context(reference))
    found = _manifest(answer)
    # Its digest is that of the payload without the signatures, which a lookup does not need.
    if found.media_type not in media_types.SCHEMA1_TYPES:
        _check_digest(answer, reference, remote.context(reference))
    return found


async def is_present(remote: RemoteRepository, digest: Digest, *, scopes: Scopes) -> bool:
    """Whether the registry has a manifest; a refusal counts as no.

    Some registries answer 403 for a manifest that does not exist.
    """
    reference = remote.repository.at(digest)
    answer = await _head(remote, reference, scopes)
    if answer is not None:
        return answer.status == _OK and _stated_digest(answer) in {None, digest}
    try:
        return await read_digest(remote, str(digest), scopes=scopes) == digest
    except UNREADABLE:
        return False


async def read_digest(remote: RemoteRepository, target: str, *, scopes: Scopes) -> Digest | None:
    """The digest of the current bytes under a tag or digest; None if it does not exist."""
    found = await read_manifest(remote, target, scopes=scopes)
    return found.digest if found is not None else None


async def read_manifest(remote: RemoteRepository, target: str, *, scopes: Scopes) -> Manifest | None:
    """The current bytes under a tag or digest, of any kind; None if it does not exist."""
    for _ in range(remote.state.limits.attempts):
        async with remote.reserve_memory() as memory:
            answer = await _ask(remote, target, remote.context(named(remote, target)), scopes, memory)
            if answer.status == _NOT_FOUND:
                context = remote.context(named(remote, target))
                if is_html(answer.headers.get("Content-Type"), answer.body):
                    # A proxy's page says nothing about the registry.
                    raise refusal(
                        answer.status, answer.headers, answer.body, context, doing=f"the GET of {context}"
                    )
                return None
            if not _looks_cut_off(answer):
                return _manifest(answer)
    raise errors.RegistryUnreachable(
        f"The connection to {remote.registry} was lost each time while {named(remote, target)} was read.",
        **remote.context(named(remote, target)).members,
    )


async def _ask(
    remote: RemoteRepository, target: str, context: RequestContext, scopes: Scopes, memory: MemoryReservation
) -> Answer:
    request = await remote.build_request(
        "GET",
        remote.manifest_path(target),
        scopes,
        context=context,
        headers=_ACCEPT,
        limit=remote.state.limits.manifest_bytes,
        memory=memory,
    )
    answer = await follow_manifest(remote, request, await remote.call(request, scopes))
    if answer.status not in {_OK, _NOT_FOUND}:
        raise refusal(answer.status, answer.headers, answer.body, context, doing=f"the GET of {context}")
    return answer


def _looks_cut_off(answer: Answer) -> bool:
    """Without a length, a lost connection looks like the end of the body."""
    stated = _stated_digest(answer)
    is_whole = answer.body.rstrip().endswith(b"}") and (stated is None or stated.matches(answer.body))
    return not answer.is_framed and not is_whole


def named(remote: RemoteRepository, target: str) -> str:
    """The reference of a tag or digest in a repository, as text."""
    return f"{remote.repository}{'@' if ':' in target else ':'}{target}"


async def put_manifest(remote: RemoteRepository, target: str, manifest: Manifest) -> bool:
    """Put exact bytes under a tag or digest; safe to repeat.

    Return whether the registry lists the manifest as a referrer of its subject.
    """
    scopes = pushing(remote.path)
    context = remote.context(named(remote, target))
    request = await remote.build_request(
        "PUT",
        remote.manifest_path(target),
        scopes,
        context=context,
        headers={"Content-Type": manifest.media_type},
        content=manifest.raw,
    )
    answer = await remote.call(request, scopes)
    if answer.status not in _CREATED:
        raise _put_refusal(answer, context, is_tag=":" not in target)
    stated = _stated_digest(answer)
    if stated is not None and stated.algorithm == manifest.digest.algorithm and stated != manifest.digest:
        # It would do so again.
        raise errors.PushNotVerified(
            f"{remote.registry} stored {context.quoting.fact(str(stated)) or 'other bytes'} where "
            f"{manifest.digest} was put.",
            **context.members,
        ).as_final()
    return "OCI-Subject" in answer.headers


def _put_refusal(answer: Answer, context: RequestContext, *, is_tag: bool) -> errors.BrokerError:
    read = tag_refusal if is_tag else write_refusal
    error = read(answer.status, answer.headers, answer.body, context, doing=f"the PUT of {context}")
    if not is_not_yet_known(error):
        return error
    found = dict.fromkeys(_DIGEST.findall(answer.body.decode(errors="replace")))
    named = filter(context.quoting.fact, list(found)[:_MANY_MISSING])
    return error.with_members(missing=list(named))


def is_not_yet_known(error: errors.BrokerError) -> bool:
    """Whether the registry lacks content of the manifest, perhaps only until it knows what it took."""
    return isinstance(error, errors.RegistryError) and error.upstream_code in _NOT_YET_KNOWN


async def _head(remote: RemoteRepository, reference: Reference, scopes: Scopes) -> Answer | None:
    """The response to HEAD; None from a registry without HEAD, which is remembered for a while."""
    capabilities = await remote.capabilities()
    if not capabilities.support_head:
        return None
    request = await remote.build_request(
        "HEAD",
        remote.manifest_path(reference.target),
        scopes,
        context=remote.context(reference),
        headers=_ACCEPT,
    )
    answer = await remote.call(request, scopes)
    if answer.status in _WITHOUT_HEAD:
        capabilities.record_no_head()
        return None
    return answer


async def _get(
    remote: RemoteRepository, reference: Reference, scopes: Scopes, memory: MemoryReservation
) -> Answer:
    context = remote.context(reference)
    answer = await _ask(remote, reference.target, context, scopes, memory)
    if answer.status == _NOT_FOUND:
        raise refusal(answer.status, answer.headers, answer.body, context, doing=f"the GET of {context}")
    return answer


@dataclass(frozen=True, slots=True)
class _Wanted:
    reference: Reference
    scopes: Scopes
    described: str


async def _try(
    remote: RemoteRepository, wanted: _Wanted, memory: MemoryReservation, *, is_last: bool
) -> FetchedManifest | None:
    answer = await _get(remote, wanted.reference, wanted.scopes, memory)
    context = remote.context(wanted.reference)
    try:
        _check_kind(answer, context)
        _check_digest(answer, wanted.reference, context)
        return FetchedManifest(await _parse(answer, wanted.described, context, remote.state.parsers))
    except errors.SourceUnusable:
        # The connection may have been lost.
        if answer.is_framed or is_last:
            raise
        return None


def _manifest(answer: Answer) -> Manifest:
    return Manifest.of(media_types.bare(answer.headers.get("Content-Type")), answer.body)


def _check_digest(answer: Answer, reference: Reference, context: RequestContext) -> None:
    """Check the bytes against the requested digest, or else against the digest that the registry states."""
    wanted = reference.digest or _stated_digest(answer)
    if wanted is not None and not wanted.matches(answer.body):
        raise errors.DigestMismatch(
            f"The bytes that {context.registry} sent for {context} do not have the digest "
            f"{context.quoting.fact(str(wanted)) or 'that it states'}.",
            **context.members,
        )


def _check_kind(answer: Answer, context: RequestContext) -> None:
    """Check the media type: manifests have an application type, web pages and text files do not.

    A file server may also serve a manifest as text.
    """
    bare = media_types.bare(answer.headers.get("Content-Type"))
    may_be_one = bare.startswith("application/") or bare in media_types.GENERIC_TYPES
    if bare == "text/plain":
        may_be_one = answer.body.lstrip().startswith(b"{")
    if is_html(bare, answer.body) or not may_be_one:
        raise errors.NotARegistry(
            f"{context.registry} sent {context.quoting.fact(bare) or 'a page'} for {context}, which is not a "
            "manifest. Check the host.",
            **context.members,
        )


async def _parse(
    answer: Answer, described: str, context: RequestContext, parsers: Parsers
) -> ImageManifest | Index:
    try:
        return await parsers.run(parse_manifest, answer.body, answer.headers.get("Content-Type"), described)
    except errors.SourceUnusable as error:
        raise context.cleaned(error).with_context(**context.members) from error


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
