"""The OpenAPI document as clients are generated from it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

_SCHEMAS = "#/components/schemas/"
# Good names among the operations' own words; alone in a generated client they would say nothing.
_NAMES = {"Kind": "OperationKind", "State": "OperationState"}


class Application(FastAPI):
    """An application whose document has names that stand for themselves."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document: dict[str, Any] = _renamed(super().openapi())
            _optional_bodies(document)
            components = document["components"]
            components["schemas"] = {
                _NAMES.get(name, name): {**schema, "title": _NAMES.get(name, name)}
                for name, schema in components["schemas"].items()
            }
            self.openapi_schema = document
        return self.openapi_schema


def _optional_bodies(document: dict[str, Any]) -> None:
    """A body that may be left out is its schema: a choice with null is nameless, and never meant."""
    for item in document["paths"].values():
        for operation in item.values():
            for media in operation.get("requestBody", {}).get("content", {}).values():
                match media["schema"]:
                    case {"anyOf": [{"$ref": str(reference)}, {"type": "null"}]}:
                        media["schema"] = {"$ref": reference}


def _renamed(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _renamed(value) for name, value in part.items()}
    if isinstance(part, list):
        return [_renamed(each) for each in part]
    if isinstance(part, str) and part.startswith(_SCHEMAS):
        name = part.removeprefix(_SCHEMAS)
        return _SCHEMAS + _NAMES.get(name, name)
    return part
