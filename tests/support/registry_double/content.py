"""What the double holds: blobs, manifests, tags and open uploads, repository by repository."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

DIGEST_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
MANIFEST_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)


def digest_text(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def is_digest(text: str) -> bool:
    algorithm, _, encoded = text.partition(":")
    return len(encoded) == DIGEST_LENGTHS.get(algorithm) and set(encoded) <= set("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest as it was put, with the type it was put under."""

    media_type: str
    raw: bytes

    def document(self) -> dict[str, Any]:
        """The body as JSON; a body that is no JSON object refers to nothing."""
        try:
            document = json.loads(self.raw)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    def child_manifests(self) -> Iterator[str]:
        return (child["digest"] for child in self.document().get("manifests") or ())

    def blobs(self) -> Iterator[str]:
        """Config and layers; layers that live elsewhere by design are not the registry's to have."""
        document = self.document()
        if "config" in document:
            yield document["config"]["digest"]
        for layer in document.get("layers") or ():
            if "nondistributable" not in layer["mediaType"] and "foreign" not in layer["mediaType"]:
                yield layer["digest"]


@dataclass(slots=True)
class Upload:
    """An upload session; each reply hands out a new state, which the next request has to bring back."""

    identity: str = field(default_factory=lambda: secrets.token_hex(16))
    state: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    data: bytearray = field(default_factory=bytearray)

    def renew(self) -> None:
        self.state = secrets.token_urlsafe(24)

    @property
    def range(self) -> str:
        return f"0-{max(len(self.data) - 1, 0)}"


@dataclass(slots=True)
class RepositoryContent:
    """One repository."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, StoredManifest] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)

    def find_manifest(self, reference: str) -> tuple[str, StoredManifest] | None:
        digest = reference if ":" in reference else self.tags.get(reference, "")
        stored = self.manifests.get(digest)
        return (digest, stored) if stored else None

    def missing(self, manifest: StoredManifest) -> tuple[str, ...]:
        """Every digest below the manifest that is not here, down to the last layer."""
        absent = [digest for digest in manifest.blobs() if digest not in self.blobs]
        for digest in manifest.child_manifests():
            child = self.manifests.get(digest)
            absent.extend([digest] if child is None else self.missing(child))
        return tuple(dict.fromkeys(absent))

    def directly_missing(self, manifest: StoredManifest) -> tuple[str, ...]:
        """What a registry looks at when a manifest is put: only what the manifest itself names."""
        blobs = [digest for digest in manifest.blobs() if digest not in self.blobs]
        return (*blobs, *(d for d in manifest.child_manifests() if d not in self.manifests))

    def delete_manifest(self, digest: str) -> bool:
        self.tags = {tag: target for tag, target in self.tags.items() if target != digest}
        return self.manifests.pop(digest, None) is not None


@dataclass(slots=True)
class Content:
    """All repositories of one double."""

    repositories: dict[str, RepositoryContent] = field(default_factory=dict)

    def at(self, name: str) -> RepositoryContent:
        return self.repositories.setdefault(name, RepositoryContent())

    def find(self, name: str) -> RepositoryContent | None:
        return self.repositories.get(name)
