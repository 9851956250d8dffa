"""How a request is stored with its operation, so that workers of neighbouring versions can carry it out.

During a rolling upgrade a request may be read by a worker that is older or newer than its writer. The rules:

* A member that the reader does not know is ignored, and a member that is missing has its default.
* A request that an older worker would carry out wrongly says which version it requires, in the member
  `requires`. A worker that reads only earlier versions gives the operation back for another worker, and so
  does a worker that can't read the request at all. Neither counts as an attempt, and neither ends the
  operation before its deadline.
* Version 1 is written without `requires`. The first workers passed the members of `create`, `inspect` and
  `inspect_many` on as keyword arguments, so a request of version 1 has only members that they knew.
  A later version writes a new member only where its value differs from the default, and raises
  `required_version` where ignoring the member would be wrong.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Self, TypeVar
from uuid import UUID

from app.operations.states import Kind

REQUIRES: Final = "requires"
_FIRST_VERSION: Final = 1


class UnreadableRequest(Exception):
    """Only another worker can read the request: one of a newer version, or of an older one."""


class OperationRequest(ABC):
    """What an operation of one kind was asked for; `version` is the newest that this code carries out."""

    __slots__ = ()

    kind: ClassVar[Kind]
    version: ClassVar[int] = _FIRST_VERSION

    @property
    def required_version(self) -> int:
        """The oldest version that carries out this request correctly."""
        return _FIRST_VERSION

    @abstractmethod
    def document(self) -> dict[str, Any]:
        """The members as they are stored."""

    @classmethod
    @abstractmethod
    def parse(cls, members: Members) -> Self:
        """The request that `document` was taken from."""


class Members:
    """Reads the members of a stored request; a member of the wrong type raises TypeError or ValueError."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def text(self, name: str, default: str | None = None) -> str:
        return self._read(name, str, default)

    def flag(self, name: str) -> bool:
        return self._read(name, bool, default=False)

    def uuid(self, name: str) -> UUID:
        return UUID(self.text(name))

    def array(self, name: str, default: Sequence[Any] | None = None) -> Sequence[Any]:
        return self._read(name, list, list(default) if default is not None else None)

    def mapping(self, name: str, default: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        return self._read(name, dict, dict(default) if default is not None else None)

    def _read(self, name: str, wanted: type[_T], default: _T | None) -> _T:
        value = self._document.get(name, default)
        if not isinstance(value, wanted):
            raise TypeError(f"The member {name} is not of type {wanted.__name__}.")
        return value


_T = TypeVar("_T")
_R = TypeVar("_R", bound=OperationRequest)


def encode_request(request: OperationRequest) -> dict[str, Any]:
    """The request as JSON to store."""
    required = request.required_version
    return request.document() | ({REQUIRES: required} if required > _FIRST_VERSION else {})


def decode_request(wanted: type[_R], document: Mapping[str, Any]) -> _R:
    """The stored request; raises UnreadableRequest."""
    try:
        _check_version(wanted, document)
        return wanted.parse(Members(document))
    except (TypeError, ValueError) as error:
        raise UnreadableRequest(str(error)) from error


def _check_version(wanted: type[OperationRequest], document: Mapping[str, Any]) -> None:
    required = document.get(REQUIRES, _FIRST_VERSION)
    if required > wanted.version:
        raise ValueError(f"The request requires version {required}.")
