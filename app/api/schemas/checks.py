"""Lets the domain check the parts of a request beside its schema, so that all mistakes are found at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from pydantic import (
    AfterValidator,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import InitErrorDetails

from app.api.schemas.common import Body
from app.errors import BrokerError


class Refusal(ValueError):
    """An error of the domain on its way through pydantic, which reports it beside its own."""

    def __init__(self, error: BrokerError) -> None:
        super().__init__(error.detail)
        self.error = error


def checked(parse: Callable[[Any], object]) -> AfterValidator:
    """A validator that refuses what `parse` can't read; the value stays as it was sent."""

    def check(value: Any) -> Any:
        if value is not None:
            refuse(parse, value)
        return value

    return AfterValidator(check)


def checked_members(parse: Callable[[Any], object]) -> WrapValidator:
    """The same for an object; `parse` reads each of its members independently of the others."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            valid = handler(value)
        except ValidationError as error:
            if not isinstance(value, dict):
                raise
            wrong = {each["loc"][0] for each in error.errors(include_url=False) if each["loc"]}
            rest = {name: member for name, member in value.items() if name not in wrong}
            refusal = _refusal_of(parse, rest)
            raise (_with(error, refusal) if refusal is not None else error) from None
        refuse(parse, valid)
        return valid

    return WrapValidator(check)


def refuse(parse: Callable[[Any], object], value: Any) -> None:
    """Call `parse`; its error becomes one that pydantic reports."""
    refusal = _refusal_of(parse, value)
    if refusal is not None:
        raise refusal from None


class Consistent(Body):
    """A body whose members may contradict each other. That is reported beside what is wrong with each."""

    @classmethod
    def check_together(cls, sent: Mapping[str, Any], unread: frozenset[str]) -> None:
        """Raise the contradictions between the members as sent; those in `unread` are wrong themselves."""
        raise NotImplementedError

    @model_validator(mode="wrap")
    @classmethod
    def _check_together(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            body = handler(data)
        except ValidationError as error:
            found = error.errors(include_url=False)
            contradiction = cls._contradiction(
                data, frozenset(str(each["loc"][0]) for each in found if each["loc"])
            )
            raise (_with(error, contradiction) if contradiction is not None else error) from None
        contradiction = cls._contradiction(data, frozenset())
        if contradiction is not None:
            raise contradiction
        return body

    @classmethod
    def _contradiction(cls, data: Any, unread: frozenset[str]) -> Refusal | None:
        if not isinstance(data, dict):
            return None
        return _refusal_of(lambda sent: cls.check_together(sent, unread), data)


def _refusal_of(parse: Callable[[Any], object], value: Any) -> Refusal | None:
    try:
        parse(value)
    except BrokerError as error:
        return Refusal(error)
    return None


def _with(error: ValidationError, refusal: Refusal) -> ValidationError:
    """The errors of pydantic with one of the domain."""
    found: list[InitErrorDetails] = [
        {"type": each["type"], "loc": each["loc"], "input": each["input"], "ctx": each.get("ctx", {})}
        for each in error.errors(include_url=False)
    ]
    found.append({"type": "value_error", "loc": (), "input": None, "ctx": {"error": refusal}})
    return ValidationError.from_exception_data(error.title, found)
