"""How much the client takes, how long it waits and how often it tries."""

from __future__ import annotations

from dataclasses import dataclass

from app.outbound.limits import OutboundLimits

__all__ = ["Limits"]

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits(OutboundLimits):
    """Sizes are in bytes, times in seconds; those of every outgoing request are inherited."""

    manifest_bytes: int = 4 * _MIB
    config_bytes: int = 4 * _MIB
    token_bytes: int = 64 * 1024
    kept_tokens: int = 2048
    """With more of them that are good all are forgotten, and fetched anew as they are needed."""
    cancel_seconds: float = 5.0
    """For calling off an upload that nobody will end, with its retries and the queue before it."""
    stall_seconds: float = 30.0
    stall_bytes: int = 480 * 1024
    """A blob must move at least so many bytes in each stall time, or end."""
    commit_bytes: int = 20 * _MIB
    """A registry that has all of a blob may take a call's time, and a second for each of so many bytes."""
    resume_bytes: int = _MIB
    """A copy that broke goes on from there if so much is saved by it; so much more restores its retries."""
    chunk_bytes: int = 4 * _MIB
    """What a registry that refuses larger bodies is sent at a time, until it refuses that too."""
    least_remembered_body: int = _MIB
    """For others it is remembered of no registry that it takes less at a time than this."""
    settle_attempts: int = 6
    settle_seconds: float = 1.0
    longest_settle_seconds: float = 16.0
    """How long a registry may take, once it has taken blobs and manifests, until it knows them itself."""
    fresh_seconds: float = 30.0
    """For so long a manifest that was seen in the target is believed to be there still."""
    snapshot_seconds: float = 5.0
    """For so long it is believed that a tag holds what it held, where nothing depends on it."""
    manifest_cache_bytes: int = _MIB
    """Of the manifests that tags hold, what a push keeps until it is asked what will be lost with them."""
    referrers: int = 256
    """Manifests that one push brings along because they refer to its images, however deeply."""
    referrer_depth: int = 4
    """How far it goes on from an image to what refers to it, to what refers to that, and so on."""
    referrer_bytes: int = 1024 * _MIB
    referrer_manifest_bytes: int = 8 * _MIB
    """What all that may weigh with its blobs, and what of it is kept in memory."""
    redirects: int = 3
    helper_seconds: float = 10.0
    """For so long a credential helper may think."""
    helper_answer_seconds: float = 3600.0
    helper_again_seconds: float = 60.0
    """For so long its answer is used, or if a registry refuses that, until it is asked again."""
    remembered_seconds: float = 600.0
    """How long it is remembered how a registry is spoken to, and whether it mounts."""
