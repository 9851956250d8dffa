"""Everything that a push writes to a registry, and the dry run that only reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from app import errors
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import Manifest
from app.registry.auth.scope import pushing
from app.registry.content.manifests import UNREADABLE, named, read_digest
from app.registry.content.upload import has_blob, upload_content
from app.registry.push.blobs import BlobCopy, copy_blob, predict_blob
from app.registry.push.model import BlobOutcome
from app.registry.push.referrers_tag import find_subject, list_in_tag, list_unless_listed
from app.registry.push.settle import Repair, put_settled, wait
from app.registry.repository import RemoteRepository

__all__ = ["DryRunWriter", "IndexWriter", "TargetWriter", "Writer"]


class Writer(Protocol):
    """The writes of a push. All other code is the same in a dry run."""

    async def copy_blob(self, copy: BlobCopy) -> BlobOutcome: ...

    async def put_manifest(self, manifest: Manifest, repair: Repair | None = None) -> bool:
        """Put a manifest under its digest; true if the registry lists it under its subject."""
        ...

    async def put_listed(self, manifest: Manifest, repair: Repair | None = None) -> None:
        """Put a manifest, and list it under its subject if the registry does not."""
        ...

    async def put_tagged(self, tag: str, manifest: Manifest, repair: Repair | None = None) -> None:
        """Put a referrer under a tag, by which alone it refers."""
        ...

    async def put_content(self, blob: Descriptor, content: bytes) -> None:
        """Put a small blob that the broker has generated."""
        ...

    async def list_in_tag(self, subject: Digest, described: Sequence[Descriptor]) -> None:
        """List referrers in the tag that stands in for the referrers API."""
        ...


class TargetWriter:
    """Writes to one target repository."""

    def __init__(self, target: RemoteRepository) -> None:
        self._target = target

    async def copy_blob(self, copy: BlobCopy) -> BlobOutcome:
        return await copy_blob(copy, self._target)

    async def put_manifest(self, manifest: Manifest, repair: Repair | None = None) -> bool:
        return await put_settled(self._target, str(manifest.digest), manifest, repair)

    async def put_listed(self, manifest: Manifest, repair: Repair | None = None) -> None:
        is_listed = await self.put_manifest(manifest, repair)
        found = None if is_listed else await find_subject(self._target, manifest)
        if found is not None:
            subject, described = found
            await self.list_in_tag(subject, [described])

    async def put_tagged(self, tag: str, manifest: Manifest, repair: Repair | None = None) -> None:
        await put_settled(self._target, tag, manifest, repair)

    async def put_content(self, blob: Descriptor, content: bytes) -> None:
        if not await has_blob(self._target, blob):
            await upload_content(self._target, blob, content)

    async def list_in_tag(self, subject: Digest, described: Sequence[Descriptor]) -> None:
        await list_in_tag(self._target, subject, described)


class DryRunWriter:
    """Predicts the outcomes of a `TargetWriter`."""

    def __init__(self, target: RemoteRepository) -> None:
        self._target = target

    async def copy_blob(self, copy: BlobCopy) -> BlobOutcome:
        return await predict_blob(copy, self._target)

    async def put_manifest(self, _: Manifest, __: Repair | None = None) -> bool:
        return True

    async def put_listed(self, _: Manifest, __: Repair | None = None) -> None:
        return None

    async def put_tagged(self, _: str, __: Manifest, ___: Repair | None = None) -> None:
        return None

    async def put_content(self, _: Descriptor, __: bytes) -> None:
        return None

    async def list_in_tag(self, _: Digest, __: Sequence[Descriptor]) -> None:
        return None


class IndexWriter:
    """Puts the index under a tag or its digest, and reads it back.

    A PUT may have succeeded although its answer was lost, or an immutable tag refused it. The bytes that
    readers get decide. They are read by GET, since HEAD may be answered from a cache.
    """

    def __init__(self, remote: RemoteRepository, index: Manifest, repair: Repair) -> None:
        self._remote = remote
        self._index = index
        self._repair = repair
        self._scopes = pushing(remote.path)
        self._is_listed = False
        self._lists_itself: bool | None = None
        self.was_put: set[str] = set()
        """The tags and digests under which the registry has taken it."""

    async def put(self, target: str) -> errors.RegistryError | None:
        """Put the index, and return once clients of the tag or digest can read it.

        Return the error if the registry has accepted the index but does not let the push read it back.
        """
        try:
            self._lists_itself = await put_settled(self._remote, target, self._index, self._repair)
        except errors.RegistryError:
            if not await self._is_there(target):
                raise
            return None
        self.was_put.add(target)
        return await self._verify(target)

    async def put_by_digest(self) -> None:
        """Put the index by digest, to show that the registry accepts it. Only tags are read back."""
        target = str(self._index.digest)
        self._lists_itself = await put_settled(self._remote, target, self._index, self._repair)
        self.was_put.add(target)

    async def list_under_subject(self) -> None:
        """List the index under its subject, once for all tags, unless the registry has already done so."""
        if not self._is_listed:
            found = None if self._lists_itself else await find_subject(self._remote, self._index)
            if found is not None:
                await self._list_under(*found)
            self._is_listed = True

    async def _list_under(self, subject: Digest, described: Descriptor) -> None:
        if self._lists_itself is None:
            # The response to the PUT was lost.
            await list_unless_listed(self._remote, subject, described)
        else:
            await list_in_tag(self._remote, subject, [described])

    async def _verify(self, target: str) -> errors.RegistryError | None:
        """Return the error if the registry shows no manifest; raise PushNotVerified if it shows another."""
        wanted = self._index.digest
        attempt = 1
        try:
            while (found := await read_digest(self._remote, target, scopes=self._scopes)) != wanted:
                if not await wait(attempt, may_pass=True, limits=self._remote.state.limits):
                    break
                attempt += 1
        except UNREADABLE as error:
            return error
        if found == wanted:
            return None
        unverified = errors.PushNotVerified(
            f"{named(self._remote, target)} was put as {wanted}, but is now {found or 'missing'}.",
            **self._remote.context(named(self._remote, target)).members,
        )
        if found is None:
            return unverified
        raise unverified

    async def _is_there(self, target: str) -> bool:
        try:
            found = await read_digest(self._remote, target, scopes=self._scopes)
        except errors.BrokerError:
            return False
        return found == self._index.digest
