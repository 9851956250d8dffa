"""Several mistakes of one request as one error, so that its caller learns of all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from app.errors.base import BrokerError, FieldError
from app.errors.requests import InvalidInput

T = TypeVar("T")
R = TypeVar("R")


class Mistakes:
    """Keeps the errors of several blocks, and raises them as one."""

    def __init__(self) -> None:
        self._found: list[BrokerError] = []

    @contextmanager
    def at(self, pointer: str) -> Iterator[None]:
        """Keep an error of the block, located at a field; the pointers of nested blocks join."""
        try:
            yield
        except BrokerError as error:
            self._found.append(error.located_at(pointer))

    @contextmanager
    def found(self) -> Iterator[None]:
        """Collect an error raised in the block that names its own fields."""
        try:
            yield
        except BrokerError as error:
            self.add(error)

    def add(self, error: BrokerError) -> None:
        """Keep an error that names its fields itself."""
        self._found.append(error)

    def raise_all(self) -> None:
        """Raise what was found, if anything was."""
        if self._found:
            raise combined(self._found)


def combined(found: Sequence[BrokerError]) -> BrokerError:
    """One error for all: of the class that they have in common, else `InvalidInput`.

    A single mistake stays as it is. Of several, each has a code and the facts about it in `errors`.
    """
    fields = list({(each.pointer, each.detail): each for each in _fields(found)}.values())
    if len(found) == 1 and len(fields) == 1:
        return found[0]
    kinds = {type(error) for error in found}
    first = fields[0]
    detail = first.detail if first.detail.endswith(".") else f"{first.detail}."
    if first.pointer:
        detail = f"{first.pointer}: {detail}"
    if len(fields) > 1:
        detail += f" The member errors has {len(fields) - 1} more."
    if len(kinds) == 1:
        return kinds.pop()(detail, errors=fields, **found[0].members)
    return InvalidInput(detail, errors=fields)


def parse_each(values: Sequence[T], parse: Callable[[T], R]) -> list[R]:
    """All values parsed; the error names the position of each that can't be read."""
    mistakes = Mistakes()
    parsed = []
    for position, value in enumerate(values):
        with mistakes.at(f"/{position}"):
            parsed.append(parse(value))
    mistakes.raise_all()
    return parsed


def pointer_to(name: str) -> str:
    """The pointer to a member of an object (RFC 6901 §3)."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _fields(found: Sequence[BrokerError]) -> Iterator[FieldError]:
    for error in found:
        fields = error.errors or (FieldError("", error.detail),)
        # The facts about an error are about its only field.
        facts = error.members if len(fields) == 1 else {}
        for each in fields:
            yield replace(each, members={"code": error.code, **facts, **each.members})
