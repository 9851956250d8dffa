"""What has been read on the way and will be asked for later, so that it need not be read again."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from app.oci.digest import Digest
from app.oci.manifest import Manifest

__all__ = ["Shelf"]


class Shelf:
    """Takes manifests until it is full: no registry decides how much memory a push needs."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._manifests: dict[Digest, Manifest] = {}

    @property
    def manifests(self) -> Mapping[Digest, Manifest]:
        return MappingProxyType(self._manifests)

    def put(self, manifest: Manifest) -> None:
        if manifest.digest not in self._manifests and manifest.size <= self._left:
            self._left -= manifest.size
            self._manifests[manifest.digest] = manifest
