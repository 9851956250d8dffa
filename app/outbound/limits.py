"""Limits of outgoing requests: time, size, concurrency and retries."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OutboundLimits"]


@dataclass(frozen=True, slots=True)
class OutboundLimits:
    """Sizes are in bytes, times in seconds."""

    concurrency: int = 32
    """Concurrent requests to one host, as long as it refuses none."""
    patience_seconds: float = 60.0
    """The longest wait for a host that asked for a pause; for a longer pause the call fails at once."""
    transfers: int = 8
    """Concurrent downloads of blobs from one host, and as many uploads; they are not counted as requests."""
    error_bytes: int = 64 * 1024
    connect_seconds: float = 10.0
    call_seconds: float = 60.0
    """For one call with its retries and the waits between them, without the wait for a slot."""
    attempts: int = 4
    backoff_seconds: float = 0.25
    longest_backoff_seconds: float = 5.0
    shortest_asked_seconds: float = 0.25
    """The shortest wait between attempts: some registries ask for milliseconds, which spread no crowd."""
