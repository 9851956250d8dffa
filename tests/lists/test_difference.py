"""The difference between two indexes, as readers of the tag see it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lists.difference import Change, Difference, choices, compare
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest, digest_of
from app.oci.media_types import DOCKER_CONFIG, OCI_CONFIG, OCI_MANIFEST, WASM_CONFIG
from app.oci.platform import Platform, parse_platform

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
ONE, OTHER = digest_of(b"one"), digest_of(b"other")


def listed(platform: Platform | None, digest: Digest = ONE) -> Descriptor:
    return Descriptor(OCI_MANIFEST, digest, 500, platform=platform)


def test_platforms_are_added_removed_and_changed() -> None:
    s390x = Platform("linux", "s390x")
    found = compare({AMD64: ONE, ARM64: ONE}, {AMD64: OTHER, s390x: ONE})
    assert found == Difference((s390x,), (ARM64,), (Change(AMD64, ONE, OTHER),))


def test_an_explicit_default_variant_makes_no_difference() -> None:
    assert compare({ARM64: ONE}, {Platform("linux", "arm64", "v8"): ONE}) == Difference()
    assert compare({ARM64: ONE}, {Platform("linux", "arm64", "v9"): ONE}).removed == (ARM64,)


def test_another_revision_of_a_windows_build_is_the_same_platform() -> None:
    old, new, server = (
        Platform("windows", "amd64", os_version=version)
        for version in ("10.0.17763.6893", "10.0.17763.7009", "10.0.20348.1")
    )
    assert compare({old: ONE}, {new: ONE}) == Difference()
    assert compare({old: ONE}, {server: ONE}).removed == (old,)


def test_builds_are_named_with_their_version_where_there_are_several() -> None:
    old, other = (parse_platform(f"windows({version})/amd64") for version in ("10.0.17763.1", "10.0.20348.1"))
    assert [each.full_name for each in compare({old: ONE, other: ONE}, {other: ONE}).removed] == [
        old.full_name
    ]
    assert [each.full_name for each in compare({old: ONE}, {old: ONE, other: ONE}).added] == [other.full_name]
    assert [each.full_name for each in compare({AMD64: ONE, old: ONE}, {AMD64: ONE}).removed] == [
        "windows/amd64"
    ]
    newer = parse_platform("windows(10.0.17763.2)/amd64")
    (changed,) = compare({old: ONE}, {newer: OTHER}).changed
    assert changed.platform.full_name == "windows/amd64"


def test_attestations_and_manifests_without_a_platform_are_ignored() -> None:
    unknown = Platform("unknown", "unknown")
    assert choices([listed(unknown), listed(None), listed(Platform())]) == {}


def test_of_two_images_for_one_platform_readers_take_the_first() -> None:
    assert choices([listed(AMD64, ONE), listed(AMD64, OTHER)]) == {AMD64: ONE}
    twice = {ARM64: ONE, Platform("linux", "arm64", "v8"): OTHER}
    assert compare({ARM64: ONE}, twice) == Difference()


platforms = st.builds(
    Platform,
    st.sampled_from(["linux", "windows"]),
    st.sampled_from(["amd64", "arm64"]),
    st.sampled_from(["", "v8"]),
)
found = st.dictionaries(platforms, st.sampled_from([ONE, OTHER]))


@given(found, found)
def test_the_reverse_comparison_swaps_added_and_removed(
    before: dict[Platform, Digest], after: dict[Platform, Digest]
) -> None:
    there, back = compare(before, after), compare(after, before)
    assert (there.added, there.removed) == (back.removed, back.added)
    assert {(each.before, each.after) for each in there.changed} == {
        (each.after, each.before) for each in back.changed
    }


@given(found)
def test_an_index_does_not_differ_from_itself(same: dict[Platform, Digest]) -> None:
    assert compare(same, same) == Difference()


def test_an_sbom_is_no_image_for_its_platform() -> None:
    image, sbom = listed(AMD64), replace(listed(AMD64, OTHER), artifact_type="application/vnd.example.sbom")
    assert choices([sbom, image]) == {AMD64: ONE}
    assert choices([sbom, listed(ARM64)]) == {ARM64: ONE}
    assert choices([sbom]) == {AMD64: OTHER}


@pytest.mark.parametrize("artifact_type", [OCI_CONFIG, DOCKER_CONFIG, WASM_CONFIG])
def test_an_image_whose_type_is_named_stays_an_image(artifact_type: str) -> None:
    assert choices([replace(listed(AMD64, OTHER), artifact_type=artifact_type), listed(ARM64)]) == {
        AMD64: OTHER,
        ARM64: ONE,
    }
