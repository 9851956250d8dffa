from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import SourceInvalid, SourceUnusable
from app.oci.config import ImageConfig, parse_config
from app.oci.platform import Platform


def _parse(document: Any) -> ImageConfig:
    return parse_config(json.dumps(document).encode())


def test_the_platform_is_copied_unchanged() -> None:
    config = _parse(
        {
            "architecture": "x86_64",
            "os": "Linux",
            "os.version": "1",
            "os.features": ["b", "", "b"],
            "variant": "v 1",
        }
    )
    assert config.platform == Platform("Linux", "x86_64", "v 1", "1", ("b", "", "b"))


@pytest.mark.parametrize("raw", [b"{}", b"null", b' {"rootfs":{}} ', b'{"os":null,"os.features":null}'])
def test_a_config_without_a_platform_gives_an_empty_one(raw: bytes) -> None:
    assert parse_config(raw) == ImageConfig()


def test_created_and_labels_are_read() -> None:
    config = _parse({"created": "2024-01-01T00:00:00Z", "config": {"Labels": {"a": "b"}}, "os": "linux"})
    assert (config.created, config.labels) == ("2024-01-01T00:00:00Z", {"a": "b"})


@pytest.mark.parametrize(
    "document",
    [
        {"created": 5},
        {"config": []},
        {"config": {"Labels": ["x"]}},
        {"config": {"Labels": {"a": 5}}},
        {"config": None},
    ],
)
def test_members_that_docker_does_not_read_may_have_any_value(document: dict[str, Any]) -> None:
    assert _parse({**document, "os": "linux"}) == ImageConfig(Platform("linux"))


@pytest.mark.parametrize("key", ["OS", "Os", "o\u017f"])
def test_other_spellings_of_a_member_are_accepted_as_in_docker(key: str) -> None:
    assert _parse({key: "linux", "Architecture": "amd64"}).platform == Platform("linux", "amd64")


@pytest.mark.parametrize("document", [{"os": "linux", "OS": "windows"}, {"Variant": "", "VARIANT": ""}])
def test_two_spellings_of_one_member_are_refused(document: dict[str, Any]) -> None:
    with pytest.raises(SourceInvalid, match="two ways"):
        _parse(document)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"[]", "an array, not an object"),
        (b'"x"', "a string, not an object"),
        (b"5", "a number, not an object"),
        (b"true", "a boolean, not an object"),
        (b"", "not valid JSON"),
        (b"layer", "not valid JSON"),
        (b'{"os":5}', "`os` of the image's config is a number, not a string"),
        (b'{"architecture":["amd64"]}', "`architecture` of the image's config is an array"),
        (b'{"variant":{}}', "`variant` of the image's config is an object"),
        (b'{"os.version":false}', "`os.version` of the image's config is a boolean"),
        (b'{"os.features":"x"}', "`os.features` of the image's config is a string, not an array"),
        (b'{"os.features":[1]}', "`os.features` of the image's config contains a number, not strings"),
        (b'{"os":"linux","os":"linux"}', "twice"),
        (b'{"os":"\\u0000"}', r"U\+0000"),
    ],
)
def test_a_config_that_docker_can_not_read_is_refused_with_the_reason(raw: bytes, words: str) -> None:
    with pytest.raises(SourceInvalid, match=words):
        parse_config(raw)


def test_null_among_the_features_becomes_an_empty_string() -> None:
    assert _parse({"os.features": ["a", None]}).platform.os_features == ("a", "")


@given(
    st.binary(max_size=60)
    | st.dictionaries(
        st.sampled_from(["os", "OS", "variant", "os.features"]),
        st.none()
        | st.integers()
        | st.text(max_size=4)
        | st.lists(st.none() | st.text(max_size=3), max_size=3),
        max_size=4,
    ).map(lambda document: json.dumps(document).encode())
)
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        config = parse_config(raw)
    except SourceUnusable:
        return
    assert isinstance(config.platform, Platform)
