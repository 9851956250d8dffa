"""Limits of the registry client: sizes, times and attempts."""

from __future__ import annotations

from dataclasses import dataclass

from app.outbound.limits import OutboundLimits

__all__ = ["Limits"]

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits(OutboundLimits):
    """Sizes are in bytes, times in seconds; the limits of every outgoing request are inherited."""

    manifest_bytes: int = 4 * _MIB
    config_bytes: int = 4 * _MIB
    token_bytes: int = 64 * 1024
    kept_tokens: int = 2048
    """If more of them are still valid, all are dropped, and fetched again when needed."""
    cancel_seconds: float = 5.0
    """The time limit for cancelling an upload, with retries and waiting."""
    stall_seconds: float = 30.0
    stall_bytes: int = 480 * 1024
    """A transfer that moves fewer bytes than this in each stall time ends."""
    slot_seconds: float = 60.0
    """The longest wait for a slot while no transfer of the push moves bytes, in addition to a call's time."""
    commit_bytes: int = 20 * _MIB
    """After the last byte, a registry gets a call's time and a second for each of so many bytes."""
    resume_bytes: int = _MIB
    """A broken copy resumes if that saves so many bytes; so much progress restores its retries."""
    chunk_bytes: int = 4 * _MIB
    """The first chunk size for a registry that refuses larger bodies; smaller ones follow."""
    least_remembered_body: int = _MIB
    """No smaller body limit is remembered for later transfers to a registry."""
    settle_attempts: int = 6
    settle_seconds: float = 1.0
    longest_settle_seconds: float = 16.0
    """The retries of a manifest whose content the registry has taken and does not know yet."""
    lag_attempts: int = 6
    lag_seconds: float = 0.5
    longest_lag_seconds: float = 2.5
    """How often content is asked for that a caller names by its digest: a replica may not have it yet."""
    fresh_seconds: float = 30.0
    """For this long after a check, a manifest counts as present in the target."""
    snapshot_seconds: float = 5.0
    """For this long after it was read, the content of a tag counts as current, unless the guard is strict."""
    manifest_cache_bytes: int = _MIB
    """The size of the cache for manifests under tags, which the guard needs later."""
    referrers: int = 256
    """The number of referrers that one push copies, at all depths."""
    referrer_depth: int = 4
    """The depth of referrers of referrers."""
    referrer_bytes: int = 1024 * _MIB
    referrer_manifest_bytes: int = 8 * _MIB
    """The size of all referrers with their blobs, and of their manifests in memory."""
    redirects: int = 3
    helper_seconds: float = 10.0
    """The time limit of a credential helper."""
    helper_answer_seconds: float = 3600.0
    helper_again_seconds: float = 60.0
    """How long its answer is cached, and how long if the registry refuses it."""
    remembered_seconds: float = 600.0
    """How long endpoints and capabilities are remembered."""
