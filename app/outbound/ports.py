"""The ports that may be connected to: those of web clients, or those that the operator names."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BLOCKED", "Ports"]

# WHATWG Fetch, section "Port blocking": a server of another protocol may take a request for its own commands.
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
    """Inclusive ranges; without any, every port that is not blocked.

    A blocked port is allowed only where it is named by itself: a range such as 1-65535 does not mean it.
    """

    ranges: tuple[tuple[int, int], ...] = ()

    def allow(self, port: int) -> bool:
        if port in BLOCKED:
            return (port, port) in self.ranges
        return not self.ranges or any(first <= port <= last for first, last in self.ranges)
