"""Lists referrers in a tag where the registry does not: the client's duty after a PUT with a subject.

distribution-spec, "Pushing Manifests with Subject".
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app import errors
from app.oci import media_types
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import Manifest, parse_manifest
from app.oci.referrers import NO_REFERRERS, describe_referrer, merge_referrers, referrers_tag
from app.registry.auth.scope import pushing
from app.registry.content.referrers import fetch_referrers_tag, list_referrers
from app.registry.push.settle import put_settled, wait
from app.registry.repository import RemoteRepository

__all__ = ["find_subject", "list_in_tag", "list_unless_listed"]

# On a busy machine, another writer may need a second from its GET to its PUT.
_MOMENTS = (1, 4)
_MAY_HAVE_SUBJECT = frozenset({media_types.OCI_MANIFEST, media_types.OCI_INDEX})


async def find_subject(remote: RemoteRepository, manifest: Manifest) -> tuple[Digest, Descriptor] | None:
    """The subject of a manifest, and its descriptor as a referrer; None if it has no subject."""
    if manifest.media_type not in _MAY_HAVE_SUBJECT or b'"subject"' not in manifest.raw:
        return None
    parsed = await remote.state.parsers.run(parse_manifest, manifest.raw, manifest.media_type)
    if parsed.subject is None:
        return None
    return parsed.subject.digest, describe_referrer(parsed, manifest.digest)


async def list_in_tag(remote: RemoteRepository, subject: Digest, added: Sequence[Descriptor]) -> None:
    """Add to the index under the referrers tag, and read it back: other writers may overwrite it.

    Writers of this process take turns, since registries have no conditional PUT. Another process may read the
    tag before this PUT and put its own index afterwards, so this function reads the tag back several times.
    """
    tag = referrers_tag(subject)
    async with remote.state.locks.of(f"{remote.repository}:{tag}"):
        attempt = 1
        while (merged := await _merge_lasting(remote, subject, added, was_put=attempt > 1)) is not None:
            if attempt > 1 and not await wait(attempt - 1, may_pass=True, limits=remote.state.limits):
                reference = remote.repository.tagged(tag)
                raise errors.PushNotVerified(
                    f"{reference} does not keep the referrers that are added to it. "
                    "Check whether something else writes it.",
                    **remote.context(reference).members,
                )
            await put_settled(remote, tag, Manifest.of(media_types.OCI_INDEX, merged))
            attempt += 1


async def _merge_lasting(
    remote: RemoteRepository, subject: Digest, added: Sequence[Descriptor], *, was_put: bool
) -> bytes | None:
    """The index to put; None if nothing is missing, even a short time after the last PUT."""
    merged = await _merge(remote, subject, added)
    for moment in _MOMENTS if was_put else ():
        if merged is not None:
            break
        await asyncio.sleep(moment * remote.state.limits.backoff_seconds)
        merged = await _merge(remote, subject, added)
    return merged


async def list_unless_listed(remote: RemoteRepository, subject: Digest, added: Descriptor) -> None:
    """List a manifest whose PUT lost its answer, unless the registry has listed it."""
    listed = await list_referrers(remote, subject, scopes=pushing(remote.path))
    if added.digest not in {descriptor.digest for descriptor in listed}:
        await list_in_tag(remote, subject, [added])


async def _merge(remote: RemoteRepository, subject: Digest, added: Sequence[Descriptor]) -> bytes | None:
    try:
        index = await fetch_referrers_tag(remote, subject, scopes=pushing(remote.path))
    except (errors.SourceInvalid, errors.SourceUnsupported) as error:
        # "… the client SHOULD report a failure and skip the remaining steps."
        detail = f"The referrers of {subject} can't be listed: {error.detail}"
        raise error.recast(errors.RegistryRejected, detail) from error
    raw = NO_REFERRERS if index is None else index.manifest.raw
    return await remote.state.parsers.run(merge_referrers, raw, added)
