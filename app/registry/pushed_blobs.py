"""Remembers the repositories that hold blobs of earlier pushes, so that later pushes can mount them."""

from __future__ import annotations

from collections.abc import Iterable

from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.reference import Repository

__all__ = ["PushedBlobs"]

_MOST = 32_768


class PushedBlobs:
    """The last repository at each registry to which a tenant's pushes have copied a blob.

    Each record is only a hint: the registry decides about each mount, with the caller's permissions. So the
    hints live in memory only, and the oldest are evicted first. Tenants never share hints.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._repositories: dict[tuple[str, str, Digest], Repository] = {}

    def record(self, tenant: str, repository: Repository, blobs: Iterable[Descriptor]) -> None:
        """Record that `repository` has these blobs, and a manifest that lists them."""
        for blob in blobs:
            key = (tenant, repository.registry, blob.digest)
            self._repositories.pop(key, None)
            self._repositories[key] = repository
        while len(self._repositories) > self._most:
            del self._repositories[next(iter(self._repositories))]

    def find(self, tenant: str, registry: str, digest: Digest) -> Repository | None:
        return self._repositories.get((tenant, registry, digest))

    def forget(self, tenant: str, repository: Repository, digest: Digest) -> None:
        """Drop a wrong hint."""
        key = (tenant, repository.registry, digest)
        if self._repositories.get(key) == repository:
            del self._repositories[key]
