"""The base of all errors, and their conversion to and from stored JSON."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self, TypeVar

Json = Any
E = TypeVar("E", bound="BrokerError")
# Before a code, the stable `type` of a problem document (RFC 9457 §3.1.1).
TYPE_PREFIX = "urn:manifest-broker:problem:"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One error in one field of the request.

    `pointer` is a JSON pointer into the body (RFC 6901), or `header:Name`, `query:name` or `path:name`.
    """

    pointer: str
    detail: str
    members: Mapping[str, Json] = field(default_factory=dict)

    def document(self) -> dict[str, Json]:
        return {"pointer": self.pointer, "detail": self.detail, **self.members}


class BrokerError(Exception):
    """The base class: `detail` is for people, `code` is for programs, `members` are facts about this case.

    Callers may rely on these members: reference, registry, upstream_status, upstream_code, list_id and
    retry_after (seconds).
    """

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "The broker failed."
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = (), **members: Json) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.members: dict[str, Json] = _given(members)

    @property
    def retry_after(self) -> float | None:
        """The seconds that the other side asked the broker to wait, if it did."""
        value = self.members.get("retry_after")
        return float(value) if value is not None else None

    def with_members(self, **members: Json) -> Self:
        """A copy with further members after its own."""
        return self._with(members={**self.members, **_given(members)})

    def with_context(self, **members: Json) -> Self:
        """A copy that starts with these members; a value that the error has already stays."""
        return self._with(members={**_given(members), **self.members})

    def located_at(self, pointer: str) -> Self:
        """A copy for a larger document, in which the faulty part is at `pointer`."""
        located = [replace(each, pointer=pointer + each.pointer) for each in self.errors]
        return self._with(errors=tuple(located) or (FieldError(pointer, self.detail),))

    def with_errors(self, errors: Sequence[FieldError]) -> Self:
        """A copy with these in place of its own."""
        return self._with(errors=tuple(errors))

    def as_final(self) -> Self:
        """A copy that is not worth another attempt, although others of its class are."""
        return self._with(retryable=False)

    def recast(self, kind: type[E], detail: str | None = None) -> E:
        """The same facts as an error of another class."""
        return kind(self.detail if detail is None else detail, errors=self.errors, **self.members)

    def shown_as(self, other: BrokerError) -> Self:
        """A copy that looks like `other` to callers. The broker still acts on the original error."""
        return self._with(
            code=other.code,
            title=other.title,
            detail=other.detail,
            errors=other.errors,
            members=other.members,
        )

    @property
    def shown_kind(self) -> type[BrokerError]:
        """The error class that callers see."""
        return by_code()[self.code]

    def _with(self, **attributes: Json) -> Self:
        error = copy.copy(self)
        # The copy shares no dictionary with its original.
        members = dict(attributes.pop("members", self.members))
        error.__dict__.update({**attributes, "members": members})
        return error

    def document(self) -> dict[str, Json]:
        """The JSON that an operation stores when it ends with this error; `revive` reads it."""
        body: dict[str, Json] = {
            "code": self.code,
            "title": self.title,
            "detail": self.detail,
            **self.members,
        }
        if self.errors:
            body["errors"] = [error.document() for error in self.errors]
        return body


def _given(members: Mapping[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in members.items() if value is not None}


def error_classes() -> Iterator[type[BrokerError]]:
    """All error classes, bases first."""
    pending: list[type[BrokerError]] = [BrokerError]
    while pending:
        current = pending.pop(0)
        yield current
        pending.extend(current.__subclasses__())


def by_code() -> dict[str, type[BrokerError]]:
    return {cls.code: cls for cls in error_classes()}


def revive(document: Mapping[str, Json]) -> BrokerError:
    """The error that `BrokerError.document` has written."""
    facts = dict(document)
    code = facts.pop("code", BrokerError.code)
    facts.pop("title", None)
    detail = str(facts.pop("detail", ""))
    errors = [
        FieldError(
            str(error.get("pointer", "")),
            str(error.get("detail", "")),
            {name: value for name, value in error.items() if name not in {"pointer", "detail"}},
        )
        for error in facts.pop("errors", ())
    ]
    return by_code().get(code, BrokerError)(detail, errors=errors, **facts)


def as_sentence(text: str) -> str:
    """A message of a library in the form of the broker's own: a capital letter first, a full stop last."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
