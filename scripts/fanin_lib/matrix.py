"""The images of a matrix build, and the index that they make, worked out here and not by the broker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tests.support.images import OCI_INDEX, Image, digest_of, make_image_for

PLATFORMS = (
    "linux/amd64",
    "linux/arm64/v8",
    "linux/arm/v7",
    "linux/arm/v6",
    "linux/arm/v5",
    "linux/386",
    "linux/ppc64le",
    "linux/ppc64",
    "linux/s390x",
    "linux/riscv64",
    "linux/loong64",
    "linux/mips64le",
    "linux/mips64",
    "linux/mipsle",
    "linux/mips",
    "windows/amd64",
    "windows/arm64",
    "freebsd/amd64",
    "freebsd/arm64",
    "netbsd/amd64",
)


@dataclass(frozen=True)
class Matrix:
    """One image for each platform."""

    platforms: Sequence[str]
    images: Sequence[Image]

    @cached_property
    def index(self) -> bytes:
        """Docker's bytes for images that lie in one repository, each under its digest.

        There the order of the references is that of the digests, and Python's indented JSON is Go's.
        """
        listed = [
            {
                "mediaType": image.media_type,
                "size": len(image.raw),
                "digest": image.digest,
                "platform": dict(image.platform),
            }
            for image in sorted(self.images, key=lambda image: image.digest)
        ]
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}
        return json.dumps(document, indent=3).encode()

    @cached_property
    def digest(self) -> str:
        return digest_of(self.index)


def make_matrix(seed: int | str, legs: int = len(PLATFORMS)) -> Matrix:
    platforms = PLATFORMS[:legs]
    return Matrix(platforms, [make_image_for(platform, seed=seed) for platform in platforms])
