"""Docker's credential helpers: programs `docker-credential-NAME` that speak JSON on their pipes."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from app import errors
from app.concurrency.singleflight import SingleFlight
from app.registry.limits import Limits

__all__ = ["HelperCache"]

_NOT_FOUND = b"credentials not found"
_MANY_ANSWERS = 1024

Pair = tuple[str, str]
"""A user name and a secret."""


@dataclass(frozen=True, slots=True)
class _Answer:
    pair: Pair | None = field(repr=False)
    asked: float


class HelperCache:
    """Caches the answers of helpers for a limited time, since each request starts a process.

    A cached token may expire after a few hours, or be revoked.
    """

    def __init__(self, limits: Limits, now: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._now = now
        self._answers: dict[tuple[str, str], _Answer] = {}
        self._flights: SingleFlight[tuple[str, str], Pair | None] = SingleFlight()

    async def ask(self, name: str, server: str, *, refused: Pair | None = None) -> Pair | None:
        """The user name and secret for a server, None if unknown; `refused` is a pair that expired."""
        key = (name, server)
        known = self._answers.get(key)
        if known is not None and self._now() < known.asked + self._life(known, refused):
            return known.pair
        return await self._flights.run(key, lambda: self._ask(key))

    def _life(self, known: _Answer, refused: Pair | None) -> float:
        is_refused = refused is not None and known.pair == refused
        return self._limits.helper_again_seconds if is_refused else self._limits.helper_answer_seconds

    async def _ask(self, key: tuple[str, str]) -> Pair | None:
        asked = self._now()
        pair = await ask_helper(*key, seconds=self._limits.helper_seconds)
        if len(self._answers) >= _MANY_ANSWERS:
            # Callers choose the names of registries, so this cache could grow without a limit.
            self._answers.clear()
        self._answers[key] = _Answer(pair, asked)
        return pair


async def ask_helper(name: str, server: str, *, seconds: float) -> Pair | None:
    """The user name and secret for a server; None if the helper has none."""
    program = shutil.which(f"docker-credential-{name}")
    if program is None:
        raise errors.RegistryDenied(
            f"The credential helper docker-credential-{name} is not on the PATH.", registry=server
        )
    process = await asyncio.create_subprocess_exec(
        program,
        "get",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(seconds):
            out, _ = await process.communicate(server.encode())
    except TimeoutError as error:
        raise errors.RegistryTimeout(
            f"The credential helper docker-credential-{name} took longer than {seconds:g} s.", registry=server
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0 and _NOT_FOUND in out.lower():
        return None
    return _parse_answer(out, process.returncode, name, server)


def _parse_answer(out: bytes, code: int | None, name: str, server: str) -> Pair:
    try:
        document = json.loads(out) if code == 0 else {}
    except ValueError:
        document = {}
    pair = (document.get("Username"), document.get("Secret")) if isinstance(document, dict) else ("", "")
    if not all(isinstance(part, str) and part for part in pair):
        raise errors.RegistryDenied(
            f"The credential helper docker-credential-{name} gave no credential (exit code {code}).",
            registry=server,
        )
    return str(pair[0]), str(pair[1])
