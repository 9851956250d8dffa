"""The headers of answers as the OpenAPI document announces them, by rules that hold for every route."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_DESCRIPTIONS = {
    "Docker-Content-Digest": "Of the exact bytes.",
    "ETag": "Of what is answered: for If-None-Match, and of a list for If-Match.",
    "Link": 'The next page as `rel="next"`, if there is one (RFC 8288).',
    "Location": "Where it is.",
    "Preference-Applied": "What of `Prefer` was done (RFC 7240).",
    "Retry-After": "Seconds until it may be worth asking again.",
    "WWW-Authenticate": "How to say who asks.",
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
    """Add to each answer of an operation the headers that it may have."""
    has_preference = any(each["name"] == "Prefer" for each in operation.get("parameters", ()))
    for status, response in operation["responses"].items():
        names = {*_BY_STATUS.get(status, ()), *(_of_content(response) if status.startswith("2") else ())}
        if has_preference:
            names.add("Preference-Applied")
        if status not in _LOCATED:
            names.discard("Location")
        # FastAPI by itself announces none; what a route says of its own goes before.
        headers = {name: _header(name) for name in sorted(names)} | response.get("headers", {})
        if headers:
            response["headers"] = headers


def _of_content(response: Json) -> tuple[str, ...]:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    return ("Link",) if name.endswith("Page") else _BY_SCHEMA.get(name, ())


def header(name: str) -> Json:
    """A header of one answer, for a route that says so itself."""
    return {name: _header(name)}


def _header(name: str) -> Json:
    return {"schema": {"type": "string"}, "description": _DESCRIPTIONS[name]}
