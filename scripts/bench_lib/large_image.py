"""The image that `scripts/bench copy` copies: layers that don't compress, made as they are uploaded."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from scripts.bench_lib.scenario import TAG, Failed
from tests.support.images import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, digest_of

MIB = 1024 * 1024
REPOSITORY = "sources/large"
CREATED, ACCEPTED = 201, 202
GZIP = 31


@dataclass(frozen=True, slots=True)
class ImageSize:
    """An image of so many layers of one size."""

    layers: int
    layer_mib: int

    @property
    def mib(self) -> int:
        return self.layers * self.layer_mib

    def __str__(self) -> str:
        return f"{self.mib} MiB in {self.layers} layers"


@dataclass(frozen=True, slots=True)
class UploadedImage:
    """The image as it lies at the source: its manifest, and its blobs with their sizes, the largest first."""

    manifest: bytes
    blobs: Sequence[tuple[str, int]]

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)


async def upload_image(size: ImageSize, base_url: str) -> UploadedImage:
    """The image into a registry; no more than one layer is in memory at a time."""
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    )
    async with aiohttp.ClientSession(base_url) as session:
        layers = []
        for _ in range(size.layers):
            layer = await asyncio.to_thread(_make_layer, size.layer_mib * MIB)
            layers.append(_descriptor(OCI_LAYER, await _upload(session, layer), len(layer)))
        listed = _descriptor(OCI_CONFIG, await _upload(session, config.encode()), len(config))
        manifest = json.dumps(
            {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": listed, "layers": layers}
        ).encode()
        await put_manifest(session, REPOSITORY, manifest)
    blobs = [(str(blob["digest"]), int(blob["size"])) for blob in (*layers, listed)]
    return UploadedImage(manifest, sorted(blobs, key=lambda blob: -blob[1]))


async def put_manifest(session: aiohttp.ClientSession, repository: str, manifest: bytes) -> None:
    headers = {"Content-Type": OCI_MANIFEST}
    url = f"/v2/{repository}/manifests/{TAG}"
    async with session.put(url, data=manifest, headers=headers) as reply:
        if reply.status != CREATED:
            raise Failed(f"the manifest was refused: {reply.status} {await reply.text()}")


def _make_layer(size: int) -> bytes:
    """Noise in true gzip: skopeo compresses layers that are not, and would be slower for it."""
    packer = zlib.compressobj(level=0, wbits=GZIP)
    return packer.compress(os.urandom(size)) + packer.flush()


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": digest, "size": size}


async def _upload(session: aiohttp.ClientSession, data: bytes) -> str:
    digest = "sha256:" + (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()
    async with session.post(f"/v2/{REPOSITORY}/blobs/uploads/") as opened:
        if opened.status != ACCEPTED:
            raise Failed(f"no upload was opened: {opened.status} {await opened.text()}")
        location = opened.headers["Location"]
    async with session.put(f"{location}&digest={digest}", data=data) as reply:
        if reply.status != CREATED:
            raise Failed(f"a layer was refused: {reply.status} {await reply.text()}")
    return digest
