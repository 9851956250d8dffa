"""How much outgoing requests may take: time, size, number and retries."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OutboundLimits"]


@dataclass(frozen=True, slots=True)
class OutboundLimits:
    """Sizes are in bytes, times in seconds."""

    concurrency: int = 32
    """Requests for one registry at the same time, as long as it refuses none."""
    patience_seconds: float = 60.0
    """Longer than this no request waits for a registry that asked for a pause: its caller can wait better."""
    transfers: int = 8
    """Blobs streamed from one host, and as many to it, at the same time; they don't count as requests."""
    error_bytes: int = 64 * 1024
    connect_seconds: float = 10.0
    call_seconds: float = 60.0
    """For one call with its retries and the waits between them, but not the queue before it."""
    attempts: int = 4
    backoff_seconds: float = 0.25
    longest_backoff_seconds: float = 5.0
    shortest_asked_seconds: float = 0.25
    """Registries ask for as little as milliseconds, at which the crowd would only come back."""
