"""Adds the response headers of every route to the OpenAPI document."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_DESCRIPTIONS = {
    "Docker-Content-Digest": "The digest of the exact bytes.",
    "ETag": "The ETag of the response: for If-None-Match and, for a list, for If-Match.",
    "Link": 'The URL of the next page as `rel="next"`, if a next page exists (RFC 8288).',
    "Location": "The URL of the resource.",
    "Preference-Applied": "The preference of `Prefer` that was applied (RFC 7240).",
    "Retry-After": "Seconds to wait before the next request.",
    "WWW-Authenticate": "The authentication scheme to use.",
}
_LOCATED = frozenset({"201", "202"})
_BY_SCHEMA = {
    "DraftList": ("ETag", "Location"),
    "EntryInspection": ("ETag",),
    "Inspected": ("Docker-Content-Digest",),
    "Operation": ("Retry-After",),
    "RefreshedList": ("ETag",),
    "NewWebhook": ("Location",),
}
_BY_STATUS = {
    "202": ("Location", "Retry-After"),
    "401": ("WWW-Authenticate",),
    "429": ("Retry-After",),
    "502": ("Retry-After",),
    "503": ("Retry-After",),
    "504": ("Retry-After",),
}


def announce_headers(operation: Json) -> None:
    """Add to each response of an operation the headers that it can have."""
    has_preference = any(each["name"] == "Prefer" for each in operation.get("parameters", ()))
    for status, response in operation["responses"].items():
        names = {*_BY_STATUS.get(status, ()), *(_of_content(response) if status.startswith("2") else ())}
        if has_preference:
            names.add("Preference-Applied")
        if status not in _LOCATED:
            names.discard("Location")
        # FastAPI documents no headers. The headers that a route documents itself take precedence.
        headers = {name: _header(name) for name in sorted(names)} | response.get("headers", {})
        if headers:
            response["headers"] = headers


def _of_content(response: Json) -> tuple[str, ...]:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    return ("Link",) if name.endswith("Page") else _BY_SCHEMA.get(name, ())


def header(name: str) -> Json:
    """One header, for a route that documents its headers itself."""
    return {name: _header(name)}


def _header(name: str) -> Json:
    return {"schema": {"type": "string"}, "description": _DESCRIPTIONS[name]}
