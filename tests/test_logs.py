"""Log lines are single-line JSON objects of limited size."""

from __future__ import annotations

import io
import json
import logging
import secrets
from collections.abc import Iterator
from contextlib import redirect_stderr

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.logs import configure_logging, in_trace
from app.store.database import Database

# Escape, bell, a Unicode line break, and bidirectional controls.
NASTY = "a\x1b[2J\x07\u2028\u202e\u2066\r\n\x00z"
LIBRARIES = ("aiohttp", "httpx2", "sqlalchemy", "asyncio", "alembic")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The log output of the broker's configuration."""
    root = logging.getLogger()
    before = list(root.handlers)
    levels = {name: logging.getLogger(name).level for name in ("", *LIBRARIES)}
    with redirect_stderr(io.StringIO()) as written:
        configure_logging("info", "json")
    yield written
    root.handlers = before
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def only_line(log: io.StringIO) -> dict[str, str]:
    (line,) = log.getvalue().splitlines()
    found: dict[str, str] = json.loads(line)
    return found


def fail(depth: int, message: str) -> None:
    # Python folds repeated frames into one, so the calls alternate between two lines.
    if depth == 0:
        raise ValueError(message)
    if depth % 2:
        fail(depth - 1, message)
    else:
        fail(depth - 1, message)


def log_failure(message: str) -> None:
    try:
        fail(200, message)
    except ValueError:
        logging.getLogger("app.test").exception("it failed")


def test_a_long_traceback_keeps_its_end(log: io.StringIO) -> None:
    log_failure("the reason that somebody looks for")
    exception = only_line(log)["exception"]
    assert exception.startswith("…")
    assert exception.endswith("ValueError: the reason that somebody looks for")
    assert "in fail" in exception


def test_long_messages_and_fields_are_cut(log: io.StringIO) -> None:
    log_failure("x" * 1_000_000)
    logging.getLogger("app.test").info("y" * 1_000_000, extra={"path": "/start" + "z" * 1_000_000})
    assert len(log.getvalue()) < 20_000
    last = json.loads(log.getvalue().splitlines()[-1])
    assert last["event"].startswith("yyy")
    assert last["path"].startswith("/start")


@pytest.mark.parametrize("form", ["event", "argument", "extra", "exception"])
def test_control_characters_are_escaped_and_each_record_is_one_line(log: io.StringIO, form: str) -> None:
    logger = logging.getLogger("app.test")
    match form:
        case "event":
            logger.info(NASTY)
        case "argument":
            logger.info("asked for %s", NASTY)
        case "extra":
            logger.info("asked", extra={"asked_for": NASTY})
        case _:
            log_failure(NASTY)
    document = only_line(log)
    for char in "\x1b\x07\u2028\u202e\u2066\r\x00":
        assert all(char not in value for value in document.values())
    assert log.getvalue().isascii()


async def test_sql_parameters_are_not_in_tracebacks(log: io.StringIO, database_url: str) -> None:
    database = Database(database_url, pool_size=1)
    # A random value, because a traceback quotes the source.
    secret = secrets.token_hex(8)
    try:
        async with database.transaction() as tx:
            await tx.execute(text("SELECT 1 / (length(:secret) - 16)"), {"secret": secret})
    except DBAPIError:
        logging.getLogger("app.test").exception("it failed")
    finally:
        await database.dispose()
    assert "division by zero" in only_line(log)["exception"]
    assert secret not in log.getvalue()


def test_log_lines_in_a_trace_have_its_id(log: io.StringIO) -> None:
    with in_trace("4bf92f3577b34da6a3ce929d0e0e4736"):
        logging.getLogger("app.test").info("within")
    assert only_line(log)["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    logging.getLogger("app.test").info("outside")
    assert "trace_id" not in json.loads(log.getvalue().splitlines()[1])


def test_the_coloured_copy_of_a_message_is_dropped(log: io.StringIO) -> None:
    logging.getLogger("uvicorn").warning("Started", extra={"color_message": "\x1b[36mStarted\x1b[0m"})
    assert "color_message" not in json.loads(log.getvalue())
