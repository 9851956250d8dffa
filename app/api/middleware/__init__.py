"""ASGI middleware that every request passes: tracing, metrics, size limits and security headers."""
