"""The security headers that restrict browsers and caches (OWASP REST Security Cheat Sheet)."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["HEADERS", "HSTS", "of_docs"]

HSTS = "Strict-Transport-Security"
# The API serves no pages except its own documentation, so browsers must not run or embed anything.
HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "accelerometer=(), camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# Swagger UI loads from FastAPI's default CDN, starts from an inline script, and calls this API.
_OF_DOCS = (
    "default-src 'none'; connect-src 'self'; frame-ancestors 'none'; "
    "img-src 'self' data: https://fastapi.tiangolo.com; "
    "script-src 'unsafe-inline' https://cdn.jsdelivr.net; style-src 'unsafe-inline' https://cdn.jsdelivr.net"
)


def of_docs() -> Mapping[str, str]:
    return {**HEADERS, "Content-Security-Policy": _OF_DOCS}
