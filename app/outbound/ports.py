"""Which ports may be connected to: those that web clients speak to, or those that the operator names."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BLOCKED", "Ports"]

# WHATWG Fetch, section "Port blocking": what listens there may take a request for commands to itself.
BLOCKED = frozenset(
    {
        *(0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95),
        *(101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179),
        *(389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587),
        *(601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061),
        *(6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080),
    }
)


@dataclass(frozen=True, slots=True)
class Ports:
    """Ranges with both their ends, or none for every port that is not blocked.

    A blocked one is allowed where it is named by itself: whoever writes 1-65535 does not mean it.
    """

    ranges: tuple[tuple[int, int], ...] = ()

    def allow(self, port: int) -> bool:
        if port in BLOCKED:
            return (port, port) in self.ranges
        return not self.ranges or any(first <= port <= last for first, last in self.ranges)
