"""The paths of the distribution API (distribution spec, "Endpoints")."""

from __future__ import annotations

__all__ = ["blob_path", "manifest_path", "referrers_path", "uploads_path"]


def manifest_path(repository: str, target: str) -> str:
    return f"/v2/{repository}/manifests/{target}"


def blob_path(repository: str, digest: str) -> str:
    return f"/v2/{repository}/blobs/{digest}"


def uploads_path(repository: str) -> str:
    return f"/v2/{repository}/blobs/uploads/"


def referrers_path(repository: str, digest: str) -> str:
    return f"/v2/{repository}/referrers/{digest}"
