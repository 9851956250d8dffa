"""What all errors are, how they are kept, and the way back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

Json = Any
# Before a code, the stable `type` of a problem document (RFC 9457 §3.1.1).
TYPE_PREFIX = "urn:manifest-broker:problem:"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with what the caller sent.

    `pointer` is a JSON pointer into the body (RFC 6901); elsewhere `header:Name`, `query:name` or
    `path:name`.
    """

    pointer: str
    detail: str
    members: Mapping[str, Json] = field(default_factory=dict)

    def document(self) -> dict[str, Json]:
        return {"pointer": self.pointer, "detail": self.detail, **self.members}


class BrokerError(Exception):
    """Base of all: `detail` is for people, `code` for programs, `members` are the case's own facts.

    Members that callers may rely on are named in API.md: reference, registry, upstream_status, upstream_code,
    retry_after (seconds), list_id.
    """

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "The broker failed"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = (), **members: Json) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.members: dict[str, Json] = {name: value for name, value in members.items() if value is not None}

    @property
    def retry_after(self) -> float | None:
        """Seconds that the other side asked us to wait, if it did."""
        value = self.members.get("retry_after")
        return float(value) if value is not None else None

    def document(self) -> dict[str, Json]:
        """What is kept of the error when an operation ends with it; `revive` is the way back."""
        body: dict[str, Json] = {
            "code": self.code,
            "title": self.title,
            "detail": self.detail,
            **self.members,
        }
        if self.errors:
            body["errors"] = [error.document() for error in self.errors]
        return body


def error_classes() -> Iterator[type[BrokerError]]:
    """All classes of the tree, bases first."""
    pending: list[type[BrokerError]] = [BrokerError]
    while pending:
        current = pending.pop(0)
        yield current
        pending.extend(current.__subclasses__())


def by_code() -> dict[str, type[BrokerError]]:
    return {cls.code: cls for cls in error_classes()}


def revive(document: Mapping[str, Json]) -> BrokerError:
    """The error that `BrokerError.document` was taken from."""
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
