"""Adding, removing and annotating entries of a list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import DuplicatePlatform, InvalidInput, UnsupportedPlatform
from app.lists.draft import Entry, Given, Origin
from app.lists.entry_changes import MAX_ENTRIES, EntryChanges, amend, annotate, remove
from app.lists.overrides import PlatformOverride
from app.oci.annotations import REFERENCE_DIGEST
from app.oci.digest import digest_of
from app.oci.media_types import OCI_CONFIG
from app.oci.platform import Platform, parse_platform
from app.oci.reference import parse_reference
from tests.lists.builders import entry, from_index

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64", "v8")
UNKNOWN = Platform("unknown", "unknown")


def attestation_of(image: Entry, reference: str) -> Entry:
    return entry(reference, UNKNOWN, annotations={REFERENCE_DIGEST: str(image.digest)})


def references(entries: tuple[Entry, ...]) -> list[str]:
    return [str(each.reference) for each in entries]


def test_adding_keeps_the_present_entries() -> None:
    present, fresh = entry("r.test/a:1", AMD64), entry("r.test/b:1", ARM64)
    amended = amend([present], [fresh], allow_duplicate_platforms=False)
    assert references(amended.entries) == ["r.test/a:1", "r.test/b:1"]
    assert not amended.replaced


def test_an_image_of_the_same_platform_is_replaced_and_its_digest_reported() -> None:
    old, fresh = entry("r.test/a:1", AMD64), entry("r.test/a:2", AMD64)
    amended = amend([old], [fresh], allow_duplicate_platforms=False)
    assert references(amended.entries) == ["r.test/a:2"]
    assert amended.replaced == {fresh.id: old.digest}


def test_a_list_that_allows_duplicate_platforms_keeps_both_images() -> None:
    old, fresh = entry("r.test/a:1", AMD64), entry("r.test/a:2", AMD64)
    assert len(amend([old], [fresh], allow_duplicate_platforms=True).entries) == 2


def test_two_incoming_images_of_one_platform_are_refused_as_ambiguous() -> None:
    with pytest.raises(DuplicatePlatform, match=r"r\.test/a:1 and r\.test/b:1 are both linux/amd64"):
        amend([], [entry("r.test/a:1"), entry("r.test/b:1")], allow_duplicate_platforms=False)


SPELLINGS = [("arm64", "v8"), ("arm", "v7"), ("amd64", "v1")]


@pytest.mark.parametrize(("architecture", "variant"), SPELLINGS)
def test_a_platform_without_its_usual_variant_is_the_same_platform(architecture: str, variant: str) -> None:
    spelt, short = Platform("linux", architecture, variant), Platform("linux", architecture)
    for old, new in ((spelt, short), (short, spelt)):
        present, fresh = entry("r.test/a:1", old), entry("r.test/b:1", new)
        amended = amend([present], [fresh], allow_duplicate_platforms=False)
        assert references(amended.entries) == ["r.test/b:1"]
        assert amended.replaced == {fresh.id: present.digest}
        assert len(amend([present], [fresh], allow_duplicate_platforms=True).entries) == 2
        with pytest.raises(DuplicatePlatform):
            amend([], [present, fresh], allow_duplicate_platforms=False)
        override = PlatformOverride({"architecture": architecture, "variant": new.variant or None})
        other = entry("r.test/c:1", Platform("linux", "s390x"))
        with pytest.raises(DuplicatePlatform, match=str(old)):
            annotate([present, other], other, EntryChanges(override), allow_duplicate_platforms=False)


@pytest.mark.parametrize("version", ["10.0.20348", "10.0.20348.1", "10.0.20348.9999"])
def test_another_revision_of_a_windows_build_replaces_its_image(version: str) -> None:
    old = entry("r.test/a:1", parse_platform("windows(10.0.20348.2113)/amd64"))
    other = entry("r.test/b:1", parse_platform("windows(10.0.17763.1)/amd64"))
    fresh = entry("r.test/a:2", parse_platform(f"windows({version})/amd64"))
    amended = amend([old, other], [fresh], allow_duplicate_platforms=False)
    assert references(amended.entries) == ["r.test/b:1", "r.test/a:2"]
    assert amended.replaced == {fresh.id: old.digest}
    assert len(amend([old, other], [fresh], allow_duplicate_platforms=True).entries) == 3
    with pytest.raises(DuplicatePlatform):
        amend([], [old, fresh], allow_duplicate_platforms=False)


def test_another_variant_is_another_platform() -> None:
    present = entry("r.test/a:1", Platform("linux", "arm", "v6"))
    amended = amend(
        [present], [entry("r.test/b:1", Platform("linux", "arm"))], allow_duplicate_platforms=False
    )
    assert len(amended.entries) == 2


def of_index(content: str, platform: Platform) -> Entry:
    origin = Origin(parse_reference("r.test/index:1"))
    return replace(entry(f"r.test/index:1@{digest_of(content.encode())}", platform), origin=origin)


def test_an_index_that_lists_both_spellings_of_a_platform_is_accepted_unchanged() -> None:
    short = Platform("linux", "arm64")
    both = [of_index("a", short), of_index("b", ARM64)]
    listed = amend([], both, allow_duplicate_platforms=False).entries
    assert len(listed) == 2
    again = amend(listed, both, allow_duplicate_platforms=False)
    assert (again.entries, again.replaced) == (listed, {})
    moved = [of_index("c", short), of_index("d", ARM64)]
    after = amend(listed, moved, allow_duplicate_platforms=False)
    assert after.entries == tuple(moved)
    assert after.replaced == {moved[0].id: both[0].digest, moved[1].id: both[1].digest}
    other = entry("r.test/b:1", ARM64)
    assert amend(listed, [other], allow_duplicate_platforms=False).entries == (other,)


def test_the_same_source_twice_is_one_entry() -> None:
    twice = [entry("r.test/a:1"), entry("r.test/a:1")]
    assert len(amend([], twice, allow_duplicate_platforms=False).entries) == 1


def test_a_renewed_reference_keeps_its_place_and_its_annotations() -> None:
    old = entry("r.test/a:1", content="old", override={"variant": "v7"}, annotations={"k": "v"})
    fresh = entry("r.test/a:1", content="new")
    amended = amend([old], [fresh], allow_duplicate_platforms=False)
    (renewed,) = amended.entries
    assert (renewed.id, renewed.digest) == (old.id, fresh.digest)
    assert renewed.platform.variant == "v7"
    assert renewed.annotations == {"k": "v"}
    assert amended.replaced == {old.id: old.digest}


def test_references_with_one_file_name_in_docker_are_two_entries() -> None:
    """docker-manifest.md §1.2: in Docker, `repo:amd64-1` and `repo-amd64:1` overwrite each other."""
    both = [entry("r.test/repo:amd64-1", AMD64), entry("r.test/repo-amd64:1", ARM64)]
    assert len(amend([], both, allow_duplicate_platforms=False).entries) == 2


def test_replacing_an_image_removes_its_attestations() -> None:
    old, other = entry("r.test/a:1", AMD64), entry("r.test/b:1", ARM64)
    present = [old, other, attestation_of(old, "r.test/x:1"), attestation_of(other, "r.test/y:1")]
    amended = amend(present, [entry("r.test/a:2", AMD64)], allow_duplicate_platforms=False)
    assert sorted(references(amended.entries)) == ["r.test/a:2", "r.test/b:1", "r.test/y:1"]


def test_removing_an_image_removes_its_attestations() -> None:
    image, other = entry("r.test/a:1", AMD64), entry("r.test/b:1", ARM64)
    kept = remove([image, other, attestation_of(image, "r.test/x:1")], image)
    assert references(kept) == ["r.test/b:1"]


def test_an_attestation_stays_while_another_entry_has_its_image() -> None:
    image, same = entry("r.test/a:1", AMD64, content="one"), entry("r.test/b:1", ARM64, content="one")
    kept = remove([image, same, attestation_of(image, "r.test/x:1")], image)
    assert references(kept) == ["r.test/b:1", "r.test/x:1"]


def test_annotating_changes_one_entry_only() -> None:
    one, other = entry("r.test/a:1", AMD64), entry("r.test/b:1", ARM64)
    changed = annotate(
        [one, other],
        one,
        EntryChanges(PlatformOverride({"variant": "v2"}), {"k": "v"}),
        allow_duplicate_platforms=False,
    )
    assert changed[0].platform.variant == "v2"
    assert changed[0].annotations == {"k": "v"}
    assert changed[1] == other


def test_null_clears_a_platform_member_of_the_image() -> None:
    """docker/cli#4352: Docker can't clear a variant."""
    one = entry("r.test/a:1", ARM64)
    (changed,) = annotate(
        [one], one, EntryChanges(PlatformOverride({"variant": None}), {}), allow_duplicate_platforms=False
    )
    assert changed.platform.variant == ""
    assert changed.resolved_platform.variant == "v8"


def test_an_unknown_combination_is_refused_when_annotated() -> None:
    one = entry("r.test/a:1", AMD64)
    with pytest.raises(UnsupportedPlatform, match="linux/bogus"):
        annotate(
            [one],
            one,
            EntryChanges(PlatformOverride({"architecture": "bogus"}), {}),
            allow_duplicate_platforms=False,
        )


def test_annotations_alone_are_accepted_on_an_entry_of_unknown_platform() -> None:
    one = entry("r.test/a:1", Platform("windows", "loong64"))
    (changed,) = annotate([one], one, EntryChanges(annotations={"k": "v"}), allow_duplicate_platforms=False)
    assert changed.annotations == {"k": "v"}


def test_null_for_a_whole_member_resets_it() -> None:
    one = entry("r.test/a:1", ARM64, override={"variant": "v9"}, annotations={"k": "v"})
    changes = EntryChanges(forget_override=True, forget_annotations=True)
    (changed,) = annotate([one], one, changes, allow_duplicate_platforms=False)
    assert changed.platform == ARM64
    assert changed.annotations == {}


def test_a_list_has_a_limit_of_entries() -> None:
    many = [entry(f"r.test/app:{number}", UNKNOWN) for number in range(MAX_ENTRIES + 1)]
    with pytest.raises(InvalidInput, match="at most"):
        amend([], many, allow_duplicate_platforms=False)
    full = amend([], many[1:], allow_duplicate_platforms=False).entries
    with pytest.raises(InvalidInput, match="at most"):
        amend(full, many[:1], allow_duplicate_platforms=False)
    assert len(amend(full, many[1:3], allow_duplicate_platforms=False).entries) == MAX_ENTRIES


def test_annotating_an_entry_with_the_platform_of_another_is_refused() -> None:
    one, other = entry("r.test/a:1", AMD64), entry("r.test/b:1", ARM64)
    override = PlatformOverride({"os": "linux", "architecture": "arm64", "variant": "v8"})
    with pytest.raises(DuplicatePlatform, match=r"r\.test/b:1 already has the platform linux/arm64/v8"):
        annotate([one, other], one, EntryChanges(override), allow_duplicate_platforms=False)
    assert annotate([one, other], one, EntryChanges(override), allow_duplicate_platforms=True)


S390X = Platform("linux", "s390x")
ANY = Platform("linux", "amd64")
# One image for several platforms: the platforms that its entries are for.
SHARED = [
    (AMD64, ARM64, S390X),
    (Platform("linux", "arm", "v6"), Platform("linux", "arm", "v7")),
    (AMD64, Platform("linux", "amd64", "v3")),
    (
        Platform("windows", "amd64", "", "10.0.17763.1"),
        Platform("windows", "amd64", "", "10.0.20348.1"),
    ),
    (Platform("windows", "amd64"), Platform("linux", "amd64"), Platform("darwin", "arm64")),
]
SHARES = pytest.mark.parametrize("shared", SHARED)


def given_as(platform: Platform, *, source: int = 0, said: bool = True) -> Entry:
    """An image for linux/amd64 that a caller gave for a platform, or without a word."""
    members = {
        "os": platform.os,
        "architecture": platform.architecture,
        "variant": platform.variant,
        "os_version": platform.os_version,
    }
    override = PlatformOverride({name: value for name, value in members.items() if value} if said else {})
    plain = entry("r.test/app:1", ANY, override=override.members)
    return replace(plain, given=Given(source, 0, override))


def listed_for(content: str, platform: Platform, member: int = 0) -> Entry:
    return replace(of_index(content, platform), given=Given(0, member))


@SHARES
def test_one_image_that_its_sources_give_for_several_platforms_is_kept_for_each(
    shared: tuple[Platform, ...],
) -> None:
    incoming = [given_as(platform, source=place) for place, platform in enumerate(shared)]
    at_once = amend([], incoming, allow_duplicate_platforms=False).entries
    assert [each.platform for each in at_once] == list(shared)
    assert amend(at_once, incoming, allow_duplicate_platforms=False).entries == at_once
    one_by_one: tuple[Entry, ...] = ()
    for platform in shared:
        one_by_one = amend(one_by_one, [given_as(platform)], allow_duplicate_platforms=False).entries
    assert [each.platform for each in one_by_one] == list(shared)


@SHARES
def test_one_image_that_an_index_lists_for_several_platforms_is_kept_for_each(
    shared: tuple[Platform, ...],
) -> None:
    incoming = [listed_for("one", platform, place) for place, platform in enumerate(shared)]
    listed = amend([], incoming, allow_duplicate_platforms=False).entries
    assert [each.platform for each in listed] == list(shared)
    again = amend(listed, incoming, allow_duplicate_platforms=False)
    assert (again.entries, again.replaced) == (listed, {})


@SHARES
def test_another_image_takes_one_place_of_an_image_that_has_several(shared: tuple[Platform, ...]) -> None:
    listed = amend([], [given_as(each) for each in shared], allow_duplicate_platforms=False).entries
    other = entry("r.test/other:1", shared[0])
    amended = amend(listed, [other], allow_duplicate_platforms=False)
    assert amended.entries == (*listed[1:], other)
    assert amended.replaced == {other.id: listed[0].digest}


@SHARES
def test_removing_and_annotating_concern_one_place_of_an_image_that_has_several(
    shared: tuple[Platform, ...],
) -> None:
    listed = amend([], [given_as(each) for each in shared], allow_duplicate_platforms=False).entries
    assert remove(listed, listed[0]) == listed[1:]
    changes = EntryChanges(annotations={"k": "v"})
    annotated = annotate(listed, listed[-1], changes, allow_duplicate_platforms=False)
    assert [each.annotations for each in annotated] == [*[{} for _ in shared[1:]], {"k": "v"}]


def test_two_spellings_of_one_platform_are_one_place_of_an_image() -> None:
    twice = [given_as(Platform("linux", "arm64")), given_as(ARM64)]
    assert len(amend([], twice, allow_duplicate_platforms=False).entries) == 1
    first = amend([], twice[:1], allow_duplicate_platforms=False).entries
    (renewed,) = amend(first, twice[1:], allow_duplicate_platforms=False).entries
    assert (renewed.id, renewed.platform) == (first[0].id, ARM64)


def test_a_source_that_is_added_again_keeps_what_was_annotated_meanwhile() -> None:
    for said in (True, False):
        added = amend([], [given_as(ANY, said=said)], allow_duplicate_platforms=False).entries
        changes = EntryChanges(PlatformOverride({"variant": "v3"}))
        annotated = annotate(added, added[0], changes, allow_duplicate_platforms=False)
        (renewed,) = amend(annotated, [given_as(ANY, said=said)], allow_duplicate_platforms=False).entries
        assert (renewed.id, renewed.platform.variant) == (added[0].id, "v3")


def test_an_image_is_not_annotated_into_the_place_that_it_has_already() -> None:
    listed = amend([], [given_as(AMD64), given_as(S390X)], allow_duplicate_platforms=True).entries
    changes = EntryChanges(PlatformOverride({"architecture": "s390x"}))
    with pytest.raises(DuplicatePlatform, match=r"already has r\.test/app:1 for linux/s390x"):
        annotate(listed, listed[0], changes, allow_duplicate_platforms=True)


def test_an_attestation_stays_while_its_image_has_a_place() -> None:
    image, same = listed_for("one", AMD64), listed_for("one", ARM64)
    listed = [image, same, attestation_of(image, "r.test/x:1")]
    kept = remove(listed, image)
    assert len(kept) == 2
    assert remove(kept, kept[0]) == ()


def test_an_image_knows_the_image_of_another_name_whose_place_it_took() -> None:
    old, other = given_as(AMD64), replace(entry("r.test/b:1", AMD64), given=Given(0, 0))
    listed = amend([], [old], allow_duplicate_platforms=False).entries
    (taken,) = amend(listed, [other], allow_duplicate_platforms=False).entries
    assert taken.given is not None
    assert str(taken.given.replaced) == f"r.test/app:1@{old.digest}"
    (repeated,) = amend([taken], [other], allow_duplicate_platforms=False).entries
    assert repeated.given == taken.given
    moved = replace(listed[0], digest=digest_of(b"moved"), given=Given(0, 0, old.given.override))  # type: ignore[union-attr]
    (renewed,) = amend(listed, [moved], allow_duplicate_platforms=False).entries
    assert renewed.given is not None
    assert renewed.given.replaced is None


platforms = st.builds(
    Platform,
    os=st.sampled_from(["linux", "windows", "unknown", ""]),
    architecture=st.sampled_from(["amd64", "arm64", "arm"]),
    variant=st.sampled_from(["", "v7", "v8"]),
)
entries = st.lists(
    st.builds(entry, st.integers(0, 9).map(lambda number: f"r.test/app:{number}"), platforms), max_size=8
)


@given(entries, entries)
def test_no_two_entries_ever_share_a_platform_or_a_place(first: list[Entry], second: list[Entry]) -> None:
    try:
        present = amend([], first, allow_duplicate_platforms=False).entries
        amended = amend(present, second, allow_duplicate_platforms=False)
    except DuplicatePlatform:
        return
    shared = [
        each.platform.key
        for each in amended.entries
        if each.platform.os not in {"", "unknown"} and each.platform.architecture
    ]
    assert len(shared) == len(set(shared))
    places = {(each.reference, each.platform.key) for each in amended.entries}
    assert len(places) == len(amended.entries)
    assert {each.reference for each in second} <= {each.reference for each in amended.entries}


@given(entries)
def test_adding_the_same_entries_again_changes_nothing(first: list[Entry]) -> None:
    once = amend([], first, allow_duplicate_platforms=True).entries
    again = amend(once, once, allow_duplicate_platforms=True)
    assert again.entries == once
    assert not again.replaced


def artifact(reference: str, content: str, artifact_type: str = "application/vnd.example.chart") -> Entry:
    return replace(entry(reference, Platform(), content=content), artifact_type=artifact_type)


IMAGE = entry("r.test/image:1", AMD64)


@pytest.mark.parametrize(
    "make",
    [
        lambda name: artifact(name, "one"),
        lambda name: replace(attestation_of(IMAGE, name), digest=digest_of(b"attestation")),
        lambda name: replace(artifact(name, "one"), override=PlatformOverride({"os": "linux"})),
    ],
)
def test_an_attestation_or_artifact_under_another_name_is_there_once(make: Callable[[str], Entry]) -> None:
    old, fresh = make("r.test/a:1"), make("r.test/a:latest")
    amended = amend([IMAGE, old], [fresh], allow_duplicate_platforms=False)
    assert references(amended.entries) == ["r.test/image:1", "r.test/a:latest"]
    assert not amended.replaced
    assert len(amend([IMAGE, old], [fresh], allow_duplicate_platforms=True).entries) == 3


@pytest.mark.parametrize(
    "fresh",
    [
        artifact("r.test/b:1", "two"),
        artifact("r.test/b:1", "one", "application/vnd.example.other"),
        entry("r.test/b:1", Platform(), content="one"),
    ],
)
def test_other_artifacts_and_images_without_a_platform_stay_side_by_side(fresh: Entry) -> None:
    amended = amend([artifact("r.test/a:1", "one")], [fresh], allow_duplicate_platforms=False)
    assert references(amended.entries) == ["r.test/a:1", "r.test/b:1"]


def test_an_image_whose_index_names_the_type_of_its_config_is_replaced_like_any_other() -> None:
    named = replace(entry("r.test/a:1", AMD64), artifact_type=OCI_CONFIG)
    for old, fresh in ((named, entry("r.test/b:1", AMD64)), (entry("r.test/b:1", AMD64), named)):
        assert amend([old], [fresh], allow_duplicate_platforms=False).entries[0].reference == fresh.reference


INDEX = from_index(entry("r.test/a:1", AMD64, content="a"), entry("r.test/b:1", ARM64, content="b"))


@pytest.mark.parametrize("platform", [ARM64, Platform("linux", "arm64")])
def test_an_image_that_an_index_has_already_is_added_once(platform: Platform) -> None:
    again = entry("r.test/b:1", platform, content="b")
    amended = amend([], [*INDEX, again], allow_duplicate_platforms=False)
    assert amended.entries == tuple(INDEX)
    assert len(amend([], [*INDEX, again], allow_duplicate_platforms=True).entries) == 3


def test_one_index_under_two_names_is_added_once_with_its_attestations() -> None:
    attestation = attestation_of(INDEX[0], "r.test/attestation:1")
    one = from_index(*INDEX, attestation)
    latest = parse_reference("registry.test/source:latest")
    other = [
        replace(each, id=uuid4(), reference=latest.at(each.digest), origin=Origin(latest)) for each in one
    ]
    assert amend([], [*one, *other], allow_duplicate_platforms=False).entries == tuple(one)


@pytest.mark.parametrize(
    "again",
    [
        entry("r.test/b:1", ARM64, content="other"),
        entry("r.test/b:1", ARM64, content="b", annotations={"a": "b"}),
        entry("r.test/b:1", AMD64, content="b", override={"architecture": "arm64", "variant": "v8"}),
    ],
)
def test_another_image_or_one_of_which_more_is_said_stays_ambiguous(again: Entry) -> None:
    with pytest.raises(DuplicatePlatform):
        amend([], [*INDEX, again], allow_duplicate_platforms=False)
