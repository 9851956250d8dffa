"""The Prefer header: how long a caller wants to wait (RFC 7240)."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

from fastapi import Depends, Header

from app.api.dependencies import CallerDep, ServicesDep

DEFAULT_SECONDS = 10
PUSH_SECONDS = 60
# Proxies seldom keep an idle request open for longer.
LONGEST_SECONDS = 300
RESPOND_ASYNC = "respond-async"

_SECONDS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Wait:
    """The seconds to wait, and the value of Preference-Applied.

    `unless_revoked` ends the wait once the caller's token is revoked.
    """

    seconds: float
    applied: str | None = None
    unless_revoked: Callable[[], AbstractAsyncContextManager[None]] = nullcontext

    @property
    def is_async(self) -> bool:
        return self.applied == RESPOND_ASYNC


def parse_prefer(header: str | None, default: int) -> Wait:
    """`respond-async` does not wait, `wait=N` waits up to N seconds; other preferences are ignored (§2)."""
    if header is None:
        return Wait(default)
    found: dict[str, str] = {}
    for part in header.split(","):
        preference, _, _ = part.partition(";")
        name, _, value = (each.strip() for each in preference.partition("="))
        # The first occurrence of a preference counts (§2).
        found.setdefault(name.lower(), value.strip('"'))
    if _SECONDS.fullmatch(found.get("wait", "")):
        seconds = min(int(found["wait"]), LONGEST_SECONDS)
        return Wait(seconds, f"wait={seconds}")
    if RESPOND_ASYNC in found:
        return Wait(0, RESPOND_ASYNC)
    return Wait(default)


PreferHeader = Annotated[
    str | None,
    Header(
        alias="Prefer",
        description="`wait=N` waits up to N seconds for the result, `respond-async` not at all (RFC 7240).",
        examples=["wait=30"],
    ),
]


def _waits(default: int) -> Callable[..., Wait]:
    """A dependency that reads the Prefer header."""

    def wait(caller: CallerDep, services: ServicesDep, prefer: PreferHeader = None) -> Wait:
        unless_revoked = partial(services.revocations.unless_revoked, caller.token_id)
        return replace(parse_prefer(prefer, default), unless_revoked=unless_revoked)

    return wait


WaitDep = Annotated[Wait, Depends(_waits(DEFAULT_SECONDS))]
PushWaitDep = Annotated[Wait, Depends(_waits(PUSH_SECONDS))]
# Waits only on request.
OptionalWaitDep = Annotated[Wait, Depends(_waits(0))]
