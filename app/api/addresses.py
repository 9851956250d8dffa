"""The addresses that the broker gives to a caller: its own paths below its public base URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_base: ContextVar[str] = ContextVar("base", default="")


@contextmanager
def based_on(base: str) -> Iterator[None]:
    """Within the block, addresses begin with `base`: a URL, the path of a prefix, or nothing."""
    token = _base.set(base)
    try:
        yield
    finally:
        _base.reset(token)


def base_address() -> str:
    """The base of this request's addresses, without a slash at its end."""
    return _base.get()


def address(path: str) -> str:
    """The address of one of the broker's paths, as the caller of this request can reach it."""
    return _base.get() + path
