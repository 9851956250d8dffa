"""Reads manifests and configs for one operation, each of them once."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from app.concurrency.singleflight import AsyncCache
from app.oci.config import ImageConfig
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import ImageManifest, Index, Manifest, parse_manifest
from app.oci.reference import Reference, Repository
from app.registry.client import Access, RegistryClient
from app.services.manifest_limit import ManifestLimit


class Reader:
    """Fetches each document once, although sources overlap: they share images, and images share configs.

    Of the registries in `among`, only those that allow insecure access get it; the others stay secure.
    `limit` bounds the size of the fetched manifests, and manifests in `known` are not fetched. With
    `is_patient`, the reader retries digests that a registry does not have yet. With `awaits_tags`, it retries
    tags too.
    """

    def __init__(
        self,
        client: RegistryClient,
        access: Access,
        *,
        among: Collection[str] = (),
        limit: ManifestLimit | None = None,
        known: Mapping[Digest, Manifest] | None = None,
        is_patient: bool = False,
        awaits_tags: bool = False,
    ) -> None:
        self._client = client
        self._access = access
        self._among = among
        self._limit = limit
        self._known = known or {}
        self._is_patient = is_patient
        self._awaits_tags = awaits_tags
        self._manifests: AsyncCache[Reference, ImageManifest | Index] = AsyncCache()
        self._configs: AsyncCache[tuple[Repository, Digest], ImageConfig] = AsyncCache()

    async def manifest(self, reference: Reference, described: str = "") -> ImageManifest | Index:
        """The manifest that the reference leads to now; a digest takes precedence over a tag.

        `described` is the media type in the descriptor that led to it, if one did.
        """
        digest = reference.digest
        key = reference if digest is None else reference.repository.at(digest)
        known = None if digest is None else self._known.get(digest)
        if known is not None:
            return await self._manifests.get(key, lambda: self._parse(known, described))
        return await self._manifests.get(key, lambda: self._fetch(reference, described))

    async def image_config(self, repository: Repository, config: Descriptor) -> ImageConfig:
        access = self._access_at(repository)
        return await self._configs.get(
            (repository, config.digest),
            lambda: self._client.fetch_image_config(repository, config, access, patiently=self._is_patient),
        )

    async def _parse(self, known: Manifest, described: str) -> ImageManifest | Index:
        return await self._client.parse(parse_manifest, known.raw, known.media_type, described)

    async def _fetch(self, reference: Reference, described: str) -> ImageManifest | Index:
        access = self._access_at(reference.repository)
        patiently = self._is_patient and (reference.digest is not None or self._awaits_tags)
        fetched = await self._client.fetch_manifest(
            reference, access, described=described, patiently=patiently
        )
        if self._limit is not None:
            self._limit.add(fetched.raw, reference)
        # An index may list the same image by its digest.
        self._manifests.add(reference.repository.at(fetched.digest), fetched.manifest)
        return fetched.manifest

    def _access_at(self, repository: Repository) -> Access:
        return self._client.access_at(repository.registry, self._access, self._among)
