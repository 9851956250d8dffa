"""Adjusts FastAPI's OpenAPI document so that clients can be generated from it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse

from app.api.addresses import address, base_address
from app.api.dependencies import admit_to_operator_pages
from app.api.openapi.response_headers import announce_headers

# RFC 7396 §4.
MERGE_PATCH = "application/merge-patch+json"
DOCUMENT_PATH = "/openapi.json"
DOCS_PATH = "/docs"
_SCHEMAS = "#/components/schemas/"
# These class names are clear within app.operations but too general for a generated client.
_NAMES = {"Kind": "OperationKind", "State": "OperationState"}


class Application(FastAPI):
    """An application whose OpenAPI document has unambiguous schema names and complete headers."""

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

    def setup(self) -> None:
        # Before FastAPI's own routes, whose addresses know no public base URL.
        self.add_route(DOCUMENT_PATH, self._serve_document, include_in_schema=False)
        self.add_route(DOCS_PATH, self._serve_docs, include_in_schema=False)
        super().setup()

    async def _serve_document(self, request: Request) -> JSONResponse:
        await admit_to_operator_pages(request)
        base = base_address()
        return JSONResponse({**self.openapi(), "servers": [{"url": base}]} if base else self.openapi())

    async def _serve_docs(self, request: Request) -> HTMLResponse:
        await admit_to_operator_pages(request)
        redirect = address(self.swagger_ui_oauth2_redirect_url or "")
        return get_swagger_ui_html(
            openapi_url=address(DOCUMENT_PATH),
            title=f"{self.title} - Swagger UI",
            oauth2_redirect_url=redirect,
        )


def _describe_body(method: str, operation: dict[str, Any]) -> None:
    content = operation.get("requestBody", {}).get("content", {})
    for media in content.values():
        match media["schema"]:
            # An optional body. A union with null would have no name, and clients never send null.
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
