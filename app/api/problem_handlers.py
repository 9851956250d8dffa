"""Exception handlers: every error leaves the API as a problem document (RFC 9457)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app import errors
from app.api.addresses import address
from app.api.admission import UNKNOWN_PARAMETER
from app.api.problem_mapping import MEDIA_TYPE, response_of
from app.api.schemas.checks import Refusal
from app.errors import BrokerError, FieldError, as_sentence
from app.errors.collecting import combined
from app.oci.text import shown

_PARAMETER = re.compile(r"\{[^}]+\}")

logger = logging.getLogger(__name__)

_SEND_OBJECT = "Send a JSON object."
# Errors of one alternative of a union; what another one says of the same value tells more.
_TYPE = "type"
_SEVERAL_TYPES = "several_types"
_TYPE_ERRORS = frozenset({"string_type", "model_attributes_type", "model_type", "dict_type", _SEVERAL_TYPES})
_REASONS = {
    _SEVERAL_TYPES: "Send a string or a JSON object.",
    "string_type": "Send a string.",
    "list_type": "Send an array.",
    "int_type": "Send a whole number.",
    **dict.fromkeys(("bool_type", "bool_parsing"), "Send true or false."),
    **dict.fromkeys(
        ("datetime_parsing", "datetime_from_date_parsing", "timezone_aware"),
        "Send a time with an offset, such as 2026-07-01T12:00:00Z.",
    ),
    **dict.fromkeys(("model_attributes_type", "model_type", "dict_type"), _SEND_OBJECT),
}
_SUBJECTS = {
    "Input should": "The value must",
    "String should": "The text must",
    "List should": "The array must",
    "Dictionary should": "The object must",
    " after validation": "",
}
_PARAMETERS = frozenset({"query", "header", "path", "cookie"})


def install(app: FastAPI) -> None:
    """Render every error that leaves a route as a problem document."""
    app.add_exception_handler(BrokerError, _on_broker_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_exception)


async def _on_broker_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, BrokerError):
        raise error
    return response_of(error, request.url.path)


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    listed = error.errors()
    unreadable = next((each for each in listed if each["type"] == "json_invalid"), None)
    read = [each for each in listed if each is not unreadable]
    found = _most_specific([_Mistake(each, _pointer(each, error.body)) for each in read])
    mistakes = [each.error() for each in found]
    if unreadable is not None:
        return response_of(_malformed(unreadable, mistakes), request.url.path)
    return response_of(combined(mistakes), request.url.path)


@dataclass(frozen=True, slots=True)
class _Mistake:
    """One error of pydantic's, and its place in the request."""

    found: Mapping[str, Any]
    pointer: str

    @property
    def cause(self) -> BrokerError | None:
        """The error of the domain behind it, if it is one."""
        cause = self.found.get("ctx", {}).get("error")
        return cause.error if isinstance(cause, Refusal) else None

    @property
    def is_of_type(self) -> bool:
        return self.found["type"] in _TYPE_ERRORS

    def beside(self, same: _Mistake | None) -> _Mistake:
        """One mistake for a value that no alternative of a union takes."""
        if same is None or same.found["type"] == self.found["type"]:
            return self
        return replace(self, found={**self.found, "type": _SEVERAL_TYPES})

    def error(self) -> BrokerError:
        cause = self.cause
        if cause is not None:
            is_located = any(":" in each.pointer.partition("/")[0] for each in cause.errors)
            return cause if is_located else cause.located_at(self.pointer)
        reason = _reason(self.found)
        kind = errors.InvalidHeader if self.pointer.startswith("header:") else errors.InvalidInput
        is_plain = not self.pointer or self.found["type"] == UNKNOWN_PARAMETER
        detail = reason if is_plain else f"{self.pointer}: {reason}"
        return kind(detail, errors=[FieldError(self.pointer, reason)])


def _reason(error: Mapping[str, Any]) -> str:
    """A reason for callers, because pydantic's messages name its models."""
    match error["type"]:
        case "extra_forbidden":
            return f'Unknown member "{shown(str(error["loc"][-1]), 64)}".'
        case "missing" if len(error["loc"]) == 1:
            return _SEND_OBJECT
        case "missing":
            what = "parameter" if error["loc"][0] in _PARAMETERS else "member"
            return f'The {what} "{error["loc"][-1]}" is missing.'
        case "uuid_parsing" | "uuid_type":
            return f'The id "{shown(str(error["input"]), 64)}" is not a UUID.'
        case kind:
            return _REASONS.get(kind) or _reworded(str(error["msg"]))


def _reworded(message: str) -> str:
    """Pydantic's message without the names of what it has validated, which callers do not know."""
    message = message.removeprefix("Value error, ")
    for theirs, ours in _SUBJECTS.items():
        message = message.replace(theirs, ours)
    return as_sentence(message)


def _malformed(found: Mapping[str, Any], others: Sequence[BrokerError]) -> errors.MalformedBody:
    """The error for a body that is not JSON, together with the errors in the rest of the request."""
    reason = str(found.get("ctx", {}).get("error", found["msg"]))
    position = found["loc"][-1]
    body = errors.MalformedBody(
        f"The body is not valid JSON: {reason[:1].lower()}{reason[1:]} at character {position}."
    )
    return body.with_errors(combined([body, *others]).errors) if others else body


def _pointer(error: Mapping[str, Any], body: Any) -> str:
    """The location of the error: a JSON pointer (RFC 6901) into the body, or a parameter."""
    place, *rest = error["loc"]
    if place in _PARAMETERS:
        return f"{place}:{'.'.join(str(part) for part in rest[:1])}"
    parts = []
    for part in rest:
        # Pydantic also names the alternative of a union, which is not a member of the body.
        if _holds(body, part):
            body = body[part]
            parts.append(part)
    if error["type"] == "missing" and rest:
        parts.append(rest[-1])
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _holds(body: Any, part: int | str) -> bool:
    if isinstance(body, list):
        return isinstance(part, int) and part < len(body)
    return isinstance(body, dict) and part in body


def _most_specific(found: Sequence[_Mistake]) -> list[_Mistake]:
    """The mistakes without those that only reject the other alternatives of a union."""
    deeper = {parent for each in found for parent in _parents(each.pointer)}
    exact = {each.pointer for each in found if not each.is_of_type}
    kept: dict[tuple[str, str], _Mistake] = {}
    for each in found:
        if each.cause is None and each.pointer in deeper:
            continue
        if each.is_of_type and each.pointer in exact:
            continue
        key = (each.pointer, _TYPE if each.is_of_type else str(each.found["msg"]))
        kept[key] = each.beside(kept.get(key))
    return list(kept.values())


def _parents(pointer: str) -> Iterator[str]:
    while "/" in pointer:
        pointer = pointer.rpartition("/")[0]
        yield pointer


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    """Render the errors of the framework: unknown paths and methods, bodies over the limit."""
    if not isinstance(error, HTTPException):
        raise error
    kinds: dict[int, BrokerError] = {
        # Excessive nesting, or invalid UTF-8.
        400: errors.MalformedBody(f"The body is not valid JSON: {_unreadable(error.__cause__)}."),
        404: errors.NotFound(
            f"The path {request.url.path} does not exist. {address('/openapi.json')} lists all paths."
        ),
        413: errors.BodyTooLarge("The body is larger than this broker accepts."),
    }
    if error.status_code in kinds:
        return response_of(kinds[error.status_code], request.url.path)
    title = HTTPStatus(error.status_code).phrase
    document = {
        "type": "about:blank",
        "title": title,
        "status": error.status_code,
        "detail": f"{request.method} {request.url.path}: {title}.",
        "instance": address(request.url.path),
    }
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (allowed := _allowed(request)):
        headers["Allow"] = ", ".join(allowed)
    return JSONResponse(document, error.status_code, headers, MEDIA_TYPE)


def _allowed(request: Request) -> list[str]:
    """All methods of the path; Starlette lists only those of the first route that matches."""
    paths = request.app.openapi()["paths"]
    # Where both match, a literal path takes precedence over one with parameters.
    for template in sorted(paths, key=lambda each: each.count("{")):
        if re.fullmatch(_PARAMETER.sub("[^/]+", template), request.scope["path"]):
            has_head = "get" in paths[template] and not template.endswith("/events")
            return sorted({method.upper() for method in paths[template]} | ({"HEAD"} if has_head else set()))
    return []


def _unreadable(cause: BaseException | None) -> str:
    match cause:
        case UnicodeDecodeError(start=start):
            return f"byte {start} is not UTF-8"
        case RecursionError():
            return "it is nested too deep"
        case ValueError():
            return "a number in it has too many digits"
        case _:
            return "it has invalid characters, or is nested too deep"


async def _on_exception(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return response_of(BrokerError("The broker failed. The reason is in its log."), request.url.path)
