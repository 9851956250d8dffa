"""Absolute addresses, read by a strict grammar."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.oci.reference import api_host, canonical_registry
from app.outbound.url import Url, parse_url, split_host, with_query

REGISTRY = "registry.example.com"
START = Url("https", REGISTRY, 443, "/v2/team/app/blobs/uploads/")


@pytest.mark.parametrize(
    "text",
    [
        "https://evil.test\\@registry.example.com/",
        "https://user@registry.example.com/",
        "https://user:secret@registry.example.com/",
        "https://registry.example.com /",
        "https://registry.example.com/a b",
        "https://registry.example.com/\n",
        "https://registry.example.com/#x",
        "https://régistry.example.com/",
        "https://registry.example.com:0/",
        "https://registry.example.com:99999/",
        "https://registry.example.com:\uff11/",
        "https:///path",
        "https:registry.example.com",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "ftp://registry.example.com/",
        "//registry.example.com/",
        "/token",
        "",
        "https://" + "a" * 300 + "/",
        "https://registry.example.com/" + "a" * 9000,
    ],
)
def test_an_ambiguous_address_is_refused(text: str) -> None:
    assert parse_url(text) is None


def test_path_and_query_are_kept_byte_for_byte() -> None:
    text = "https://Registry.Example.com:443/v2/%2Fx/..%2f?_state=a%2Bb+c%20d&x=~{}|;,=="
    url = parse_url(text)
    assert url is not None
    assert str(url) == "https://registry.example.com" + text.partition(":443")[2]
    assert "_state" not in url.printable


@given(
    st.from_regex(
        r"https?://[a-z0-9.-]{1,40}(:[1-9][0-9]{0,3})?/[a-z0-9/%._~-]{0,40}(\?[a-z0-9%&=]{0,40})?",
        fullmatch=True,
    )
)
def test_a_parsed_address_parses_to_itself(text: str) -> None:
    url = parse_url(text)
    assert url is not None
    assert parse_url(str(url)) == url


@given(st.lists(st.tuples(st.text(min_size=1), st.text())))
def test_parameters_are_encoded_so_that_none_becomes_another(parameters: list[tuple[str, str]]) -> None:
    parameters = [(n, v) for n, v in parameters if not _has_surrogate(n + v)]
    url = with_query(START.at("/token", "x=%2f"), parameters)
    assert url.query is not None
    assert parse_qsl(url.query, keep_blank_values=True) == [("x", "/"), *parameters]
    assert parse_url(str(url)) is not None or len(str(url)) > 8192


def _has_surrogate(text: str) -> bool:
    return any(0xD800 <= ord(c) <= 0xDFFF for c in text)


@pytest.mark.parametrize(
    ("given_name", "canonical"),
    [
        ("docker.io", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("GHCR.io", "ghcr.io"),
        ("ghcr.io:443", "ghcr.io"),
        ("ghcr.io:444", "ghcr.io:444"),
        ("evilghcr.io", "evilghcr.io"),
        ("ghcr.io.evil", "ghcr.io.evil"),
    ],
)
def test_a_registry_has_one_spelling(given_name: str, canonical: str) -> None:
    assert canonical_registry(given_name) == canonical


def test_docker_hub_answers_at_another_host() -> None:
    assert api_host("docker.io") == "registry-1.docker.io"
    assert api_host("quay.io") == "quay.io"


@pytest.mark.parametrize(
    ("host", "parts"),
    [
        ("a.test:5000", ("a.test", 5000)),
        ("a.test", ("a.test", None)),
        ("[::1]:5000", ("[::1]", 5000)),
        ("[::1]", ("[::1]", None)),
    ],
)
def test_hosts_are_split_from_their_ports(host: str, parts: tuple[str, int | None]) -> None:
    assert split_host(host) == parts
