"""What the double saw: every request in the order it came, and every attempt to move a tag."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy, MultiMapping


@dataclass(slots=True)
class Received:
    """One request; `status` stays None where no status line was ever sent."""

    method: str
    path: str
    query: MultiMapping[str]
    headers: CIMultiDictProxy[str]
    target: str
    port: int
    body_size: int = 0
    body_digest: str = "sha256:" + hashlib.sha256(b"").hexdigest()
    status: int | None = None
    fault: str | None = None

    def __str__(self) -> str:
        fault = f" [{self.fault}]" if self.fault else ""
        return f"{self.method} {self.target} -> {self.status}{fault}"


@dataclass(frozen=True, slots=True)
class TagPut:
    """One PUT of a manifest under a tag, accepted or not; `missing` names what it refers to in vain."""

    repository: str
    tag: str
    digest: str
    missing: tuple[str, ...]
    accepted: bool


@dataclass(slots=True)
class Journal:
    """The requests and tag movements of one double."""

    requests: list[Received] = field(default_factory=list)
    tag_puts: list[TagPut] = field(default_factory=list)
    in_flight: int = 0
    peak_in_flight: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def enter(self, received: Received) -> None:
        self.requests.append(received)
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        self.changed.set()

    def leave(self) -> None:
        self.in_flight -= 1
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on what is kept here, looked at anew whenever something comes or goes."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    def matching(self, method: str | None = None, path: str = "") -> Iterator[Received]:
        """Requests of this method whose path contains the text."""
        return (r for r in self.requests if method in (None, r.method) and path in r.path)
