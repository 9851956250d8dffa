"""The broker's errors for the answers of registries and the failures of the network."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import errors
from app.concurrency.task_groups import unwrap
from app.outbound.failures import RequestContext, translate
from app.outbound.quoting import scrub
from app.registry.error_bodies import Upstream, parse_upstream
from app.registry.errors import refusal

CONTEXT = RequestContext("reg.test", "reg.test/app:1")
JSON = {"Content-Type": "application/json"}


def oci(code: str, message: str = "") -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message, "detail": {"Tag": "1"}}]}).encode()


@pytest.mark.parametrize(
    ("status", "body", "headers", "expected"),
    [
        (401, oci("UNAUTHORIZED"), JSON, errors.RegistryDenied),
        (403, oci("DENIED", "requested access is denied"), JSON, errors.RegistryDenied),
        (403, oci("DENIED", "You have exceeded a secondary rate limit"), JSON, errors.RateLimited),
        (404, oci("MANIFEST_UNKNOWN", "manifest unknown"), JSON, errors.SourceNotFound),
        (404, oci("NAME_UNKNOWN"), JSON, errors.SourceNotFound),
        (404, b"404 page not found\n", {"Content-Type": "text/plain"}, errors.SourceNotFound),
        (404, b"", {}, errors.SourceNotFound),
        (404, b"<html>no such page</html>", {"Content-Type": "text/html"}, errors.NotARegistry),
        (404, b"<!DOCTYPE html>", {}, errors.NotARegistry),
        (200, b"<html>hello</html>", {"Content-Type": "text/html"}, errors.NotARegistry),
        (302, b"", {"Location": "https://login.test/"}, errors.NotARegistry),
        (429, b"slow down", {"Content-Type": "text/plain"}, errors.RateLimited),
        (408, b"", {}, errors.RegistryUnavailable),
        (500, oci("UNKNOWN", "boom"), JSON, errors.RegistryUnavailable),
        (502, b"<html>Bad gateway</html>", {"Content-Type": "text/html"}, errors.RegistryUnavailable),
        (503, b"", {}, errors.RegistryUnavailable),
        (400, oci("MANIFEST_INVALID", "no config"), JSON, errors.RegistryRejected),
        (409, oci("DENIED"), JSON, errors.RegistryRejected),
        (413, b"", {}, errors.RegistryRejected),
        (501, b"", {}, errors.RegistryRejected),
    ],
)
def test_each_answer_has_its_error(
    status: int, body: bytes, headers: dict[str, str], expected: type[errors.BrokerError]
) -> None:
    error = refusal(status, headers, body, CONTEXT, doing="the GET")
    assert type(error) is expected
    assert error.members["registry"] == "reg.test"
    assert error.members["reference"] == "reg.test/app:1"
    assert error.members["upstream_status"] == status
    assert "reg.test" in error.detail
    assert str(status) in error.detail


def test_the_registrys_code_and_words_are_kept() -> None:
    error = refusal(404, JSON, oci("MANIFEST_UNKNOWN", "not here"), CONTEXT, doing="the GET")
    assert error.members["upstream_code"] == "MANIFEST_UNKNOWN"
    assert "not here" in error.detail


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"Retry-After": "7"}, b"", 7.0),
        ({"Retry-After": "86400"}, b"", 300.0),
        ({}, b"toomanyrequests: retry-after: 12.5ms, allowed: 2000/minute", 0.0125),
        ({}, b"", None),
    ],
)
def test_a_rate_limit_carries_the_time_of_the_next_attempt(
    headers: dict[str, str], body: bytes, seconds: float | None
) -> None:
    assert refusal(429, headers, body, CONTEXT, doing="the GET").retry_after == seconds


@pytest.mark.parametrize(
    ("body", "upstream"),
    [
        (oci("DENIED", "no"), Upstream("DENIED", "no")),
        (b'{"errors": []}', Upstream()),
        (b'{"errors": "text"}', Upstream()),
        (b'{"errors": [5]}', Upstream()),
        (b'{"errors": [{"code": 5, "message": []}]}', Upstream()),
        (b'{"details": "incorrect password"}', Upstream(None, "incorrect password")),
        (b"[]", Upstream()),
        (b"[" * 100_000, Upstream(None, scrub("[" * 2000))),
        (b"plain words", Upstream(None, "plain words")),
        (b"\xff\xfe", Upstream(None, "��")),
        (b"", Upstream()),
    ],
)
def test_error_bodies_are_read_in_every_shape(body: bytes, upstream: Upstream) -> None:
    assert parse_upstream(body) == upstream


@given(st.binary(max_size=300), st.integers(100, 599))
def test_any_answer_becomes_an_error(body: bytes, status: int) -> None:
    error = refusal(status, {}, body, CONTEXT, doing="the GET")
    assert isinstance(error, errors.RegistryError)
    assert len(error.detail) < 1500


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer {0}",
        "authorization=Basic {0}",
        '{{"token": "{0}"}}',
        "access_token={0}&x=y",
        "refresh_token: {0}",
        "https://user:{0}@host.test/",
        "https://:{0}@host.test/",
        "https://host.test/v2/?{0}",
        "see /v2/x?X-Goog-Credential={0}",
        "got eyJ{0}.eyJzdWIiOiJ4In0.c2ln",
        "https://host.test/blob?X-Amz-Signature={0}",
        "x-amz-security-token={0}",
        "password={0}",
        "sent bearer {0} twice",
        "see /v2/x/blobs?sig={0}",
    ],
)
def test_possible_secrets_are_not_repeated(text: str) -> None:
    assert "canary5ecret" not in scrub(text.format("canary5ecret"))


@pytest.mark.parametrize(
    "text", ["a\nb", "a\x1b[31mb", "a\u202eb", "a\u2028b", "a\x00b", "a\x85b", "a\u200bb"]
)
def test_words_of_others_stay_on_one_line(text: str) -> None:
    assert scrub(text).isprintable()


@given(st.text())
def test_scrubbed_words_are_short(text: str) -> None:
    assert len(scrub(text)) <= 301


def test_a_final_failure_is_reported_before_passing_ones() -> None:
    passing, final = errors.RegistryTimeout("later"), errors.SourceNotFound("gone")
    group = BaseExceptionGroup("", [passing, BaseExceptionGroup("", [final, asyncio.CancelledError()])])
    assert unwrap(group) is final
    assert unwrap(BaseExceptionGroup("", [passing])) is passing


def test_a_fault_of_ours_is_never_hidden_behind_a_registrys() -> None:
    bug = KeyError("x")
    assert unwrap(BaseExceptionGroup("", [errors.SourceNotFound("gone"), bug])) is bug


def test_a_translated_error_stays_what_it_is() -> None:
    ours = errors.RegistryForbidden("no")
    assert translate(ours, CONTEXT) is ours
