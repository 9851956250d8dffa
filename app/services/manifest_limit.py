"""Limits the bytes from registries that one operation may keep."""

from __future__ import annotations

from app.errors import SourceTooLarge
from app.oci.manifest import Manifest

# A list of 1,024 images with large manifests has 5 MiB of them.
_MANIFEST_BYTES = 8 * 1024 * 1024


class ManifestLimit:
    """The total size of an operation's manifests: each is limited, but an index can name a thousand."""

    def __init__(self) -> None:
        self._left = _MANIFEST_BYTES

    def add(self, manifest: Manifest, reference: object) -> None:
        """Raises SourceTooLarge once the limit is passed."""
        self._left -= manifest.size
        if self._left < 0:
            raise SourceTooLarge(
                f"The manifests of the request, up to {reference}, exceed the limit of {_MANIFEST_BYTES} "
                "bytes together.",
                reference=str(reference),
            )
