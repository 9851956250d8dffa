"""Counts the wrong tokens from each address, to refuse token guessing."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

__all__ = ["WrongTokens"]

_SECONDS = 60.0
_MOST_ADDRESSES = 10_000
# One caller usually controls a whole IPv6 network of this prefix length (RFC 6177).
_IPV6_PREFIX = 64


class WrongTokens:
    """Wrong tokens per address and minute. Valid tokens always pass, because callers may share an address."""

    def __init__(self, limit: int, now: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._now = now
        self._counted: dict[str, tuple[float, int]] = {}

    def __len__(self) -> int:
        return len(self._counted)

    def count(self, address: str) -> float | None:
        """Count a wrong token. Return the seconds to wait if the address is over the limit, else None."""
        now, source = self._now(), _source(address)
        began, count = self._counted.get(source, (now, 0))
        if now - began >= _SECONDS:
            began, count = now, 0
        if source not in self._counted and len(self._counted) >= _MOST_ADDRESSES:
            self._forget_old(now)
        self._counted[source] = (began, count + 1)
        return began + _SECONDS - now if count >= self._limit else None

    def _forget_old(self, now: float) -> None:
        self._counted = {each: known for each, known in self._counted.items() if now - known[0] < _SECONDS}
        if len(self._counted) >= _MOST_ADDRESSES:
            self._counted.clear()


def _source(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, _IPV6_PREFIX), strict=False))
