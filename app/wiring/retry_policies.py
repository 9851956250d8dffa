"""The retry policy of each kind of operation."""

from __future__ import annotations

from app.operations.retries import RetryPolicy

# A push outlasts the restart of a registry, or of a proxy in front of it: a minute and more.
PUSH = RetryPolicy(max_attempts=10, base=1.0)

# A caller waits for these operations and prefers an early failure to a late success. They do not park for
# pauses that are longer than callers wait by default.
PROMPT = RetryPolicy(max_attempts=3, base=0.25, cap=2.0, longest_park=10.0)

# A delivery is retried for days, until its deadline: often at first, then rarely.
DELIVERY = RetryPolicy(
    max_attempts=1_000, base=5.0, cap=6 * 3600.0, shortest_wait=1.0, longest_wait=6 * 3600.0
)
