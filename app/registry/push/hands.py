"""What a push does to a target's registry, and what stands in for that where it is only surveyed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.concurrency.largest_first import LargestFirstSemaphore
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import Manifest
from app.oci.reference import Repository
from app.registry.content.referrers_tag import find_subject, list_in_tag
from app.registry.push.blobs import BlobOutcome, copy_blob, foresee_blob
from app.registry.push.settle import Mend, put_settled
from app.registry.repository import Remote

__all__ = ["PUSHING", "SURVEYING", "Hands"]


class BringBlob(Protocol):
    async def __call__(
        self,
        source: Remote,
        target: Remote,
        blob: Descriptor,
        *,
        holders: Sequence[Repository],
        turns: LargestFirstSemaphore,
        on_position: Callable[[int], None],
        is_doubted: bool,
    ) -> BlobOutcome: ...


# Says whether the registry has noted what the manifest's subject is.
PutManifest = Callable[[Remote, str, Manifest, Mend | None], Awaitable[bool]]
ListInTag = Callable[[Remote, Digest, Sequence[Descriptor]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Hands:
    """All that changes anything: whatever else a push does is looking and deciding."""

    bring_blob: BringBlob
    put_manifest: PutManifest
    list_in_tag: ListInTag

    async def place(self, target: Remote, manifest: Manifest, mend: Mend | None = None) -> None:
        """Puts a manifest under its digest, and lists what refers to something where the registry did not."""
        is_noted = await self.put_manifest(target, str(manifest.digest), manifest, mend)
        found = None if is_noted else await find_subject(target, manifest)
        if found is not None:
            subject, described = found
            await self.list_in_tag(target, subject, [described])


async def _put_nothing(_: Remote, __: str, ___: Manifest, ____: Mend | None) -> bool:
    return True


async def _list_nothing(_: Remote, __: Digest, ___: Sequence[Descriptor]) -> None:
    return None


PUSHING = Hands(copy_blob, put_settled, list_in_tag)
SURVEYING = Hands(foresee_blob, _put_nothing, _list_nothing)
