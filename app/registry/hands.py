"""What a push does to a target's registry, and what stands in for that where it is only surveyed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.oci.descriptor import Descriptor
from app.oci.manifest import Manifest
from app.oci.reference import Repository
from app.registry.blobs import BlobOutcome, copy_blob, foresee_blob
from app.registry.repository import Remote
from app.registry.settling import put_settled
from app.registry.turns import Turns

__all__ = ["PUSHING", "SURVEYING", "Hands"]


class BringBlob(Protocol):
    async def __call__(
        self,
        source: Remote,
        target: Remote,
        blob: Descriptor,
        *,
        holders: Sequence[Repository],
        turns: Turns,
        on_position: Callable[[int], None],
    ) -> BlobOutcome: ...


PutManifest = Callable[[Remote, str, Manifest], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Hands:
    """All that changes anything: whatever else a push does is looking and deciding."""

    bring_blob: BringBlob
    put_manifest: PutManifest


async def _leave(_: Remote, __: str, ___: Manifest) -> None:
    return None


PUSHING = Hands(copy_blob, put_settled)
SURVEYING = Hands(foresee_blob, _leave)
