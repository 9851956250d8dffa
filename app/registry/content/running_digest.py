"""A digest over bytes in their order, which can go back when some of them have to be sent again."""

from __future__ import annotations

import hashlib

from app.oci.digest import Digest

__all__ = ["RunningDigest"]

_FIRST_INTERVAL = 4 * 1024 * 1024
_MOST_KEPT = 128


class RunningDigest:
    """Keeps its state at intervals: as many for a large blob as for a small one, only farther apart."""

    def __init__(self, algorithm: str) -> None:
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self._interval = _FIRST_INTERVAL
        self._kept = [(0, self._hash.copy())]
        self.position = 0

    def update(self, data: bytes) -> None:
        self._hash.update(data)
        self.position += len(data)
        if self.position - self._kept[-1][0] >= self._interval:
            self._keep()

    def go_back(self, position: int) -> int:
        """To where it was at that position or, as near as it is kept, before; says where that is."""
        while self._kept[-1][0] > position:
            self._kept.pop()
        self.position, kept = self._kept[-1]
        self._hash = kept.copy()
        return self.position

    @property
    def digest(self) -> Digest:
        """Of all bytes up to the position."""
        return Digest(self._algorithm, self._hash.hexdigest())

    def _keep(self) -> None:
        if len(self._kept) == _MOST_KEPT:
            del self._kept[1::2]
            self._interval *= 2
        self._kept.append((self.position, self._hash.copy()))
