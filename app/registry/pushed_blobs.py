"""Remembers where earlier pushes have brought blobs: later ones may mount them from there."""

from __future__ import annotations

from collections.abc import Iterable

from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.reference import Repository

__all__ = ["PushedBlobs"]

_MOST = 32_768


class PushedBlobs:
    """The last repository at each registry that a tenant's pushes have brought a blob to.

    It is a hint and no more: the registry decides about each mount, with the rights of the caller. So it is
    kept in memory only, and the oldest hints go first. Tenants learn nothing from each other.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._repositories: dict[tuple[str, str, Digest], Repository] = {}

    def record(self, tenant: str, repository: Repository, blobs: Iterable[Descriptor]) -> None:
        """`repository` has these blobs, and a manifest that lists them."""
        for blob in blobs:
            key = (tenant, repository.registry, blob.digest)
            self._repositories.pop(key, None)
            self._repositories[key] = repository
        while len(self._repositories) > self._most:
            del self._repositories[next(iter(self._repositories))]

    def find(self, tenant: str, registry: str, digest: Digest) -> Repository | None:
        return self._repositories.get((tenant, registry, digest))

    def forget(self, tenant: str, repository: Repository, digest: Digest) -> None:
        """Drop a hint that was wrong."""
        key = (tenant, repository.registry, digest)
        if self._repositories.get(key) == repository:
            del self._repositories[key]
