"""The places that credentials are for."""

from __future__ import annotations

import pytest

from app.registry.auth.places import is_repository_path, parse_config_key, parse_place, places_of


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("A.test", "a.test"),
        ("a.test:443/", "a.test"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("a.test:5000/v2", "a.test:5000"),
        ("https://A.test/team/app/", "a.test/team/app"),
        ("registry-1.docker.io/team", "docker.io/team"),
        ("a.test/team__x/a--b", "a.test/team__x/a--b"),
        ("", None),
        ("/team", None),
        ("user@a.test", None),
        ("a b", None),
        ("a.test/Team", None),
        ("a.test//team", None),
        ("a.test/../team", None),
        ("a.test/team?x", None),
        ("a.test/team\n", "a.test/team"),
        ("a.test/te\nam", None),
    ],
)
def test_a_place_has_one_spelling(text: str, place: str | None) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("a.test/team", "a.test/team"),
        ("https://a.test/team", "a.test"),
        ("HTTP://a.test/Team/", "a.test"),
        ("https://", None),
        ("a.test", "a.test"),
    ],
)
def test_a_url_in_a_docker_config_stands_for_its_host(key: str, place: str | None) -> None:
    assert parse_config_key(key) == place


def test_the_places_of_a_repository_begin_with_the_longest() -> None:
    assert list(places_of("index.docker.io", "a/b/c")) == [
        "docker.io/a/b/c",
        "docker.io/a/b",
        "docker.io/a",
        "docker.io",
    ]
    assert list(places_of("a.test", "")) == ["a.test"]


@pytest.mark.parametrize(
    ("text", "is_path"), [("a/b-c", True), ("a//b", False), ("a\n", False), ("A", False)]
)
def test_a_repository_path_has_dockers_grammar(text: str, is_path: bool) -> None:
    assert is_repository_path(text) is is_path
