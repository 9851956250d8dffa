"""What a new list takes over from the indexes of its entries."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from app.lists.assessment import build_draft_index
from app.lists.draft import Draft, Entry
from app.lists.findings.losses import find_losses
from app.lists.origins.carrying import carried_facts, lost_of_entry, lost_of_index
from app.lists.origins.listing import IndexFacts, Kept
from app.oci.platform import Platform
from tests.lists.builders import draft, entry, from_index

AMD64, ARM64, S390X = (Platform("linux", name) for name in ("amd64", "arm64", "s390x"))
KEPT = Kept(("https://x.example",), "e30=", ("sse4",))
TYPE = "application/vnd.example"
PLAIN = entry("r.test/plain:1", S390X)


def listed(name: str, platform: Platform = AMD64, /, **annotations: str) -> list[Entry]:
    """One image of an index with these annotations."""
    return from_index(entry(f"r.test/{name}:1", platform), index=name, facts=IndexFacts(annotations, TYPE))


def lost(found: Draft) -> list[str]:
    return [each.detail for each in find_losses(found) if each.code == "metadata-lost"]


def built(found: Draft) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(build_draft_index(found).raw)
    return document


@pytest.mark.parametrize("more", [[PLAIN], [PLAIN, entry("r.test/other:1", ARM64)]])
def test_images_beside_one_index_leave_what_it_says(more: list[Entry]) -> None:
    found = draft(entries=[*listed("one", title="T", version="1"), *more])
    document = built(found)
    assert (document["annotations"], document["artifactType"]) == ({"title": "T", "version": "1"}, TYPE)
    assert not lost(found)


def test_a_part_of_an_index_keeps_what_the_index_says() -> None:
    whole = from_index(entry("r.test/a:1"), entry("r.test/b:1", ARM64), facts=IndexFacts({"title": "T"}))
    for found in (draft(entries=whole[:1]), draft(entries=whole, exact=False)):
        assert built(found)["annotations"] == {"title": "T"}
        assert not lost(found)


def test_of_several_indexes_that_counts_which_all_have() -> None:
    one = listed("one", title="T", revision="r", created="1")
    other = listed("other", ARM64, revision="r", created="2")
    found = draft(entries=[*one, *other, PLAIN])
    assert carried_facts(found) == IndexFacts({"revision": "r"}, TYPE)
    assert carried_facts(draft(entries=[PLAIN, *other, *one])) == carried_facts(found)
    (listing, another) = (each[0].listing for each in (one, other))
    assert listing is not None
    assert another is not None
    assert lost_of_index(found, listing, carried_facts(found)) == ("annotations (created, title)",)
    assert lost_of_index(found, another, carried_facts(found)) == ("annotations (created)",)


def test_an_artifact_type_that_not_all_have_is_lost() -> None:
    (other,) = listed("other", ARM64)
    assert other.listing is not None
    untyped = replace(other, listing=replace(other.listing, facts=IndexFacts()))
    found = draft(entries=[*listed("one"), untyped])
    assert carried_facts(found).artifact_type is None
    (detail,) = lost(found)
    assert f"artifactType ({TYPE})" in detail


def test_what_callers_say_takes_precedence() -> None:
    found = draft(
        entries=[*listed("one", title="T", version="1"), PLAIN],
        annotations={"title": "own", "more": "2"},
        artifact_type="application/vnd.own",
    )
    document = built(found)
    assert document["annotations"] == {"title": "own", "more": "2", "version": "1"}
    assert document["artifactType"] == "application/vnd.own"
    assert not lost(found)


def test_a_descriptor_keeps_its_members_in_a_new_list() -> None:
    first, second = from_index(entry("r.test/a:1"), entry("r.test/b:1", ARM64), kept=KEPT)
    found = draft(entries=[first, PLAIN])
    members = {each["platform"]["architecture"]: each for each in built(found)["manifests"]}
    assert (members["amd64"]["urls"], members["amd64"]["data"]) == (["https://x.example"], "e30=")
    assert members["amd64"]["platform"]["features"] == ["sse4"]
    assert members["s390x"].keys() == {"mediaType", "size", "digest", "platform"}
    assert not lost(found)
    assert lost_of_entry(found, second) == ()


def test_a_docker_list_takes_over_nothing_and_says_so() -> None:
    (member,) = from_index(
        entry("r.test/a:1"), kept=KEPT, facts=IndexFacts({"title": "T"}, TYPE), lost=("own",)
    )
    found = draft(entries=[member, PLAIN], format="docker")
    assert built(found).keys() == {"schemaVersion", "mediaType", "manifests"}
    of_entry, of_index = lost(found)
    assert of_entry.endswith(": urls, data, platform.features, own.")
    assert of_index.endswith(f": annotations (title), artifactType ({TYPE}).")


def test_a_list_of_images_alone_says_nothing_but_its_own() -> None:
    assert carried_facts(draft(entries=[PLAIN])) == IndexFacts()
    assert carried_facts(draft(entries=[PLAIN], annotations={"a": "b"})) == IndexFacts({"a": "b"})
