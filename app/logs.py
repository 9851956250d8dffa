"""Configures log lines: JSON objects, or readable text for a console."""

from __future__ import annotations

import logging
import logging.config
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import structlog
from asgi_correlation_id import correlation_id

_OWN_FIELDS = frozenset({"level", "logger", "timestamp", "request_id", "trace_id"})
# Callers control some fields, so fields are limited in length.
_LONGEST = 2048
# The end of a traceback has the error and the place, so longer tracebacks lose their beginning.
_LONGEST_EXCEPTION = 8192


# A mutable list, so that tasks started in the block can add to it for the whole block.
_redactors: ContextVar[list[Callable[[str], str]] | None] = ContextVar("redactors", default=None)
_trace: ContextVar[str | None] = ContextVar("trace", default=None)


@contextmanager
def in_trace(trace_id: str | None) -> Iterator[None]:
    """Log lines in this block have this trace id; tasks that start in the block inherit it."""
    token = _trace.set(trace_id)
    try:
        yield
    finally:
        _trace.reset(token)


@contextmanager
def redacting() -> Iterator[None]:
    """Redact the secrets that are passed to `redact_with` in this block from its log lines."""
    token = _redactors.set([])
    try:
        yield
    finally:
        _redactors.reset(token)


def redact_with(redact: Callable[[str], str]) -> None:
    """Apply `redact` to all later log lines of the current block, if there is one."""
    redactors = _redactors.get()
    if redactors is not None:
        redactors.append(redact)


def current_trace() -> str | None:
    """The id of the current trace."""
    return _trace.get()


def configure_logging(level: str, form: str) -> None:
    """Send all log lines, also those of libraries, through one handler to standard error."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request_id,
        _add_trace_id,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.format_exc_info,
        _sanitize,
        _redact,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=False)
        if form == "console"
        else structlog.processors.JSONRenderer()
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty in ("aiohttp", "httpx2", "sqlalchemy", "asyncio", "alembic"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))


def _add_request_id(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    if (request_id := correlation_id.get()) is not None:
        event["request_id"] = request_id
    return event


def _add_trace_id(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    if (trace_id := current_trace()) is not None:
        event["trace_id"] = trace_id
    return event


def _redact(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Redact the operation's secrets from log fields that may quote a remote server.

    Those are tracebacks, and all messages except those of level info, which the broker writes itself.
    """
    redactors = _redactors.get()
    if not redactors:
        return event
    is_own = event.get("level") == "info"
    for name, value in event.items():
        if isinstance(value, str) and (name == "exception" or not (is_own or name in _OWN_FIELDS)):
            for redact in redactors:
                value = redact(value)  # noqa: PLW2901
            event[name] = value
    return event


def _sanitize(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Escape control and bidirectional characters and cut long fields, because logs are read in terminals."""
    # Uvicorn repeats its message with colours.
    event.pop("color_message", None)
    return {
        name: _clean(_cut(name, value)) if isinstance(value, str) else value for name, value in event.items()
    }


def _cut(name: str, text: str) -> str:
    if name == "exception":
        return text if len(text) <= _LONGEST_EXCEPTION else "…" + text[-_LONGEST_EXCEPTION:]
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _clean(text: str) -> str:
    return "".join(char if char.isprintable() or char in "\n\t " else repr(char)[1:-1] for char in text)
