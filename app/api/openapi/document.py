"""The OpenAPI document as clients are generated from it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from app.api.openapi.response_headers import announce_headers

# RFC 7396 §4.
MERGE_PATCH = "application/merge-patch+json"
_SCHEMAS = "#/components/schemas/"
# Good names among the operations' own words; alone in a generated client they would say nothing.
_NAMES = {"Kind": "OperationKind", "State": "OperationState"}


class Application(FastAPI):
    """An application whose document has names that stand for themselves."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document: dict[str, Any] = _renamed(super().openapi())
            for item in document["paths"].values():
                for method, operation in item.items():
                    _describe_body(method, operation)
                    announce_headers(operation)
            components = document["components"]
            components["schemas"] = {
                _NAMES.get(name, name): {**schema, "title": _NAMES.get(name, name)}
                for name, schema in components["schemas"].items()
            }
            self.openapi_schema = document
        return self.openapi_schema


def _describe_body(method: str, operation: dict[str, Any]) -> None:
    content = operation.get("requestBody", {}).get("content", {})
    for media in content.values():
        match media["schema"]:
            # A body that may be left out; a choice with null would be nameless, and is never meant.
            case {"anyOf": [{"$ref": str(reference)}, {"type": "null"}]}:
                media["schema"] = {"$ref": reference}
    if method == "patch":
        content[MERGE_PATCH] = content["application/json"]


def _renamed(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _renamed(value) for name, value in part.items()}
    if isinstance(part, list):
        return [_renamed(each) for each in part]
    if isinstance(part, str) and part.startswith(_SCHEMAS):
        name = part.removeprefix(_SCHEMAS)
        return _SCHEMAS + _NAMES.get(name, name)
    return part
