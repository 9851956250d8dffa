"""Options changed by merge patches, and sources and overrides read as callers write them."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import BrokerError, InvalidInput, InvalidPlatform, InvalidReference
from app.lists.options import Options, apply_changes
from app.lists.overrides import PlatformOverride
from app.lists.source import parse_override, parse_sources
from app.oci.index import Format
from app.oci.platform import Platform


def test_omitted_members_stay_and_null_restores_the_default() -> None:
    options = apply_changes(Options(), {"tags": ["a", "b", "a"], "labels": {"x": "1", "y": "2"}})
    assert options.tags == ("a", "b")
    options = apply_changes(options, {"labels": {"x": None, "z": "3"}})
    assert options.labels == {"y": "2", "z": "3"}
    options = apply_changes(options, {"tags": None, "labels": None})
    assert options == Options()


def test_each_kind_of_option_is_parsed() -> None:
    options = apply_changes(
        Options(),
        {
            "format": "oci",
            "annotations": {"k": "v"},
            "expected_platforms": ["linux/x86_64", {"os": "linux", "architecture": "arm64"}],
            "targets": ["busybox"],
            "expires_at": "2026-11-23T00:00:00+00:00",
        },
    )
    assert options.format is Format.OCI
    assert options.expected_platforms == (Platform("linux", "amd64"), Platform("linux", "arm64"))
    assert str(options.targets[0]) == "docker.io/library/busybox:latest"


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"tags": ["a b"]}, "/tags/0"),
        ({"targets": ["Foo"]}, "/targets/0"),
        ({"expected_platforms": ["linux"]}, "/expected_platforms/0"),
        ({"expected_platforms": ["linux/amd46"]}, "/expected_platforms/0"),
        ({"artifact_type": "not a type"}, "/artifact_type"),
        ({"subject": {"mediaType": "a/b", "digest": "sha256:x", "size": 1}}, "/subject"),
        ({"annotations": {"": "v"}}, "/annotations"),
        ({"push_when_complete": True}, "/push_when_complete"),
        ({"format": "docker", "annotations": {"k": "v"}}, "/format"),
    ],
)
def test_the_error_of_an_invalid_option_names_its_member(changes: dict[str, Any], pointer: str) -> None:
    with pytest.raises(BrokerError) as caught:
        apply_changes(Options(), changes)
    assert [error.pointer for error in caught.value.errors] == [pointer]


@pytest.mark.parametrize(
    ("changes", "pointers"),
    [
        ({"tags": ["a b", "ok", "c d"]}, ["/tags/0", "/tags/2"]),
        (
            {"targets": ["ok", "Foo"], "expected_platforms": ["linux/amd46", "linux", "linux/arm64"]},
            ["/targets/1", "/expected_platforms/0", "/expected_platforms/1"],
        ),
        (
            {"annotations": {"k" * 256: "", "a/b": "c\0", "ok": ""}},
            ["/annotations/a~1b", "/annotations/" + "k" * 256],
        ),
        (
            {"failures": {"linux": "no", "linux/arm64": "no", "x/y/z/w": "no"}},
            ["/failures/linux", "/failures/x~1y~1z~1w"],
        ),
        (
            {"artifact_type": "x", "tags": [""], "push_when_complete": True},
            ["/artifact_type", "/tags/0", "/push_when_complete"],
        ),
        (
            {"format": "docker", "artifact_type": "x", "push_when_complete": True},
            ["/artifact_type", "/push_when_complete", "/format"],
        ),
        (
            {"expected_platforms": ["linux/amd64"], "failures": {"linux/s390x": "no", "linux/arm": "no"}},
            ["/failures/linux~1s390x", "/failures/linux~1arm"],
        ),
    ],
)
def test_the_error_names_all_invalid_options(changes: dict[str, Any], pointers: list[str]) -> None:
    with pytest.raises(BrokerError) as caught:
        apply_changes(Options(), changes)
    assert [error.pointer for error in caught.value.errors] == pointers
    assert all(error.members["code"] for error in caught.value.errors)


@pytest.mark.parametrize(
    ("changes", "unread"),
    [
        ({"push_when_complete": True}, {"expected_platforms"}),
        ({"push_when_complete": True, "expected_platforms": ["linux"]}, set()),
        ({"annotations": {"a": "b"}}, {"format"}),
        ({"failures": {"linux/arm64": "no"}}, {"expected_platforms"}),
    ],
)
def test_an_unreadable_member_causes_no_contradictions(changes: dict[str, Any], unread: set[str]) -> None:
    with pytest.raises(BrokerError) as caught:
        apply_changes(Options(), {**changes, "tags": ["a b"]}, unread=unread)
    assert {each.pointer for each in caught.value.errors} <= {"/expected_platforms/0", "/tags/0"}


def test_an_unreadable_member_counts_as_sent() -> None:
    with pytest.raises(InvalidInput) as caught:
        apply_changes(Options(), {"format": "docker"}, unread={"subject"})
    assert [error.pointer for error in caught.value.errors] == ["/format"]


def test_the_error_names_all_invalid_sources() -> None:
    bad = {
        "reference": "Not/Fine",
        "platform": "linux",
        "platforms": ["x", "linux/amd64", "y"],
        "annotations": {"": "v"},
    }
    with pytest.raises(InvalidInput) as caught:
        parse_sources(["fine", "Not/Fine", bad])
    assert {error.pointer: error.members["code"] for error in caught.value.errors} == {
        "/sources/1": "invalid-reference",
        "/sources/2/reference": "invalid-reference",
        "/sources/2/platform": "invalid-platform",
        "/sources/2/platforms/0": "invalid-platform",
        "/sources/2/platforms/2": "invalid-platform",
        "/sources/2/annotations": "invalid-annotation",
    }


def test_the_error_of_an_invalid_source_names_its_position() -> None:
    with pytest.raises(InvalidReference) as caught:
        parse_sources(["fine", "Not/Fine"])
    assert caught.value.errors[0].pointer == "/sources/1"


def test_a_platform_as_text_overrides_only_the_members_that_it_names() -> None:
    image = Platform("linux", "arm", "v6", "1.0", ("f",))
    assert parse_override("linux/arm").over(image) == image
    assert parse_override("linux/arm64/v8").over(image) == Platform("linux", "arm64", "v8", "1.0", ("f",))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"architecture": "aarch64"}, Platform("linux", "arm64")),
        ({"architecture": "x86_64"}, Platform("linux", "amd64")),
        ({"architecture": "armhf"}, Platform("linux", "arm", "v7")),
        ({"architecture": "armhf", "variant": "v6"}, Platform("linux", "arm", "v6")),
        ({"os": "macos", "architecture": "arm64"}, Platform("darwin", "arm64")),
        ({"os_version": "10.0"}, Platform("linux", "386", os_version="10.0")),
        ({"os_features": ["b", "a", "b"]}, Platform("linux", "386", os_features=("b", "a"))),
        ({"architecture": None}, Platform("linux", "")),
        ({"os": ""}, Platform("", "386")),
    ],
)
def test_an_object_overrides_the_members_that_it_has(given: dict[str, Any], expected: Platform) -> None:
    assert parse_override(given).distinct().over(Platform("linux", "386")) == expected


def test_the_platform_of_an_image_is_never_normalised() -> None:
    """Docker pushes the platform of the config unchanged, and the digest depends on it."""
    original = Platform("Linux", "x86_64", "V8")
    assert PlatformOverride().over(original) == original


def test_an_invalid_platform_is_refused() -> None:
    with pytest.raises(InvalidPlatform):
        parse_override("linux")


def test_push_when_complete_requires_expected_platforms() -> None:
    changes = {"push_when_complete": True, "expected_platforms": ["linux/amd64"]}
    options = apply_changes(Options(), changes)
    assert options.push_when_complete
    with pytest.raises(InvalidInput):
        apply_changes(options, {"expected_platforms": None})


@pytest.mark.parametrize(
    ("source", "pointer"),
    [
        ({"reference": "Not/Fine"}, "/sources/0/reference"),
        ({"reference": "a", "platform": "linux"}, "/sources/0/platform"),
        ({"reference": "a", "platform": "linux/amd46"}, "/sources/0/platform"),
        ({"reference": "a", "platforms": ["linux/amd64", "x"]}, "/sources/0/platforms/1"),
        ({"reference": "a", "annotations": {"": "v"}}, "/sources/0/annotations"),
    ],
)
def test_the_error_of_an_invalid_member_of_a_source_names_it(source: dict[str, Any], pointer: str) -> None:
    with pytest.raises(BrokerError) as caught:
        parse_sources([source])
    assert [error.pointer for error in caught.value.errors] == [pointer]
