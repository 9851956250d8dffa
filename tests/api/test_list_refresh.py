"""A refresh resolves tags again and reports old and new digests."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.broker import Broker, check_problem
from tests.support.images import Image, make_attestation, make_image_for, make_index
from tests.support.planted_images import plant_image, plant_images
from tests.support.registry import RegistryDouble

pytestmark = pytest.mark.slow

Json = dict[str, Any]


async def refresh(broker: Broker, list_id: str) -> Any:
    return await broker.call("POST", f"/v1/lists/{list_id}/refresh", {"insecure": True})


async def test_a_moved_tag_is_reported_with_its_old_and_new_digest(
    broker: Broker, registry: RegistryDouble
) -> None:
    draft = await broker.create(
        f"{registry.host}/app:1", *plant_images(registry, "linux/amd64", "linux/arm64")
    )
    old = {entry["reference"]: entry for entry in draft["entries"]}
    await broker.call(
        "PATCH", f"/v1/lists/{draft['id']}/entries/{draft['entries'][0]['id']}", {"annotations": {"a": "b"}}
    )
    (moved,) = plant_images(registry, "linux/amd64", seed="newer")
    refreshed = await refresh(broker, draft["id"])
    reported = {each["reference"]: each for each in refreshed["refreshed"]}
    assert reported[moved]["old_digest"] == old[moved]["descriptor"]["digest"]
    assert reported[moved]["new_digest"] == make_image_for("linux/amd64", seed="newer").digest
    assert reported[moved]["entry_id"] == old[moved]["id"]
    (other,) = reported.keys() - {moved}
    assert reported[other]["old_digest"] == reported[other]["new_digest"]
    now = {entry["reference"]: entry for entry in refreshed["entries"]}
    assert now[moved]["annotations"] == {"a": "b"}
    assert refreshed["digest"] != draft["digest"]


async def test_a_refresh_without_moved_tags_changes_nothing(broker: Broker, registry: RegistryDouble) -> None:
    draft = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    refreshed = await refresh(broker, draft["id"])
    assert (refreshed["revision"], refreshed["digest"]) == (draft["revision"], draft["digest"])


async def test_sources_named_by_digest_stay(broker: Broker, registry: RegistryDouble) -> None:
    image = make_image_for("linux/amd64")
    (named,) = plant_images(registry, "linux/amd64")
    pinned = named.rpartition(":")[0] + f"@{image.digest}"
    both = f"{named}@{image.digest}".replace("linux-amd64", "other")
    plant_image(registry, "app-other", make_image_for("linux/arm64"), "1")
    plant_image(registry, "app-other", image, "1")
    draft = await broker.create(f"{registry.host}/app:1", pinned)
    plant_images(registry, "linux/amd64", seed="newer")
    refreshed = await refresh(broker, draft["id"])
    assert refreshed["refreshed"] == []
    assert refreshed["digest"] == draft["digest"]
    other = await broker.create(f"{registry.host}/app:2", both)
    assert (await refresh(broker, other["id"]))["refreshed"] == []


def built(seed: str, *platforms: str) -> Any:
    """An index as buildx makes it: images, each with its attestation."""
    images: list[Image] = [make_image_for(name, seed=seed) for name in platforms]
    return images, make_index([each for image in images for each in (image, make_attestation(image))])


async def test_a_moved_index_updates_its_images_and_attestations(
    broker: Broker, registry: RegistryDouble
) -> None:
    old_images, old = built("old", "linux/amd64", "linux/arm64")
    new_images, new = built("new", "linux/amd64", "linux/s390x")
    source = plant_image(registry, "built", old)
    draft = await broker.create(f"{registry.host}/app:1", source)
    amd64 = next(each for each in draft["entries"] if each["platform"]["architecture"] == "amd64")
    path = f"/v1/lists/{draft['id']}/entries/{amd64['id']}"
    await broker.call("PATCH", path, {"platform": {"variant": "v2"}})
    plant_image(registry, "built", new)
    refreshed = await refresh(broker, draft["id"])
    digests = {entry["descriptor"]["digest"] for entry in refreshed["entries"]}
    assert digests == {child.digest for child in new.children}
    reported = {
        each["platform"]: each for each in refreshed["refreshed"] if "unknown" not in each["platform"]
    }
    assert reported["linux/amd64/v2"]["old_digest"] == old_images[0].digest
    assert reported["linux/amd64/v2"]["new_digest"] == new_images[0].digest
    assert reported["linux/amd64/v2"]["entry_id"] == amd64["id"]
    assert reported["linux/arm64"]["new_digest"] is None
    assert reported["linux/s390x"]["old_digest"] is None


async def test_a_selection_of_platforms_is_applied_again(broker: Broker, registry: RegistryDouble) -> None:
    source = plant_image(registry, "built", built("old", "linux/amd64", "linux/arm64")[1])
    draft = await broker.create(f"{registry.host}/app:1", {"reference": source, "platforms": ["linux/arm64"]})
    plant_image(registry, "built", built("new", "linux/amd64", "linux/arm64")[1])
    refreshed = await refresh(broker, draft["id"])
    architectures = [entry["platform"]["architecture"] for entry in refreshed["entries"]]
    assert sorted(architectures) == ["arm64", "unknown"]


async def test_a_deleted_source_leaves_the_list_unchanged(broker: Broker, registry: RegistryDouble) -> None:
    draft = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    registry.content.at("app-linux-amd64").tags.clear()
    reply = await broker.client.post(f"/v1/lists/{draft['id']}/refresh", json={"insecure": True})
    check_problem(reply, 404, "source-not-found")
    kept = await broker.call("GET", f"/v1/lists/{draft['id']}")
    assert kept["entries"] == draft["entries"]


async def remove(broker: Broker, draft: Any, platform: str) -> None:
    entry = next(each for each in draft["entries"] if platform_of(each) == platform)
    await broker.call("DELETE", f"/v1/lists/{draft['id']}/entries/{entry['id']}")


def platform_of(entry: Any) -> str:
    return f"{entry['platform']['os']}/{entry['platform']['architecture']}"


def digests(draft: Any) -> dict[str, str]:
    return {platform_of(entry): entry["descriptor"]["digest"] for entry in draft["entries"]}


async def test_an_image_that_replaced_one_of_an_index_stays(broker: Broker, registry: RegistryDouble) -> None:
    images, index = built("old", "linux/amd64", "linux/arm64")
    source = plant_image(registry, "built", index)
    draft = await broker.create(f"{registry.host}/app:1", source)
    (other,) = plant_images(registry, "linux/amd64", seed="other")
    added = await broker.call(
        "POST", f"/v1/lists/{draft['id']}/entries", {"sources": [other], "insecure": True}
    )
    refreshed = await refresh(broker, draft["id"])
    assert digests(refreshed) == digests(added)
    assert images[0].digest not in digests(refreshed).values()
    new_images, new = built("new", "linux/amd64", "linux/arm64", "linux/s390x")
    plant_image(registry, "built", new)
    refreshed = await refresh(broker, draft["id"])
    assert digests(refreshed)["linux/amd64"] == digests(added)["linux/amd64"]
    assert digests(refreshed)["linux/arm64"] == new_images[1].digest
    assert "linux/s390x" not in digests(refreshed)
    reported = {each["platform"]: each for each in refreshed["refreshed"]}
    assert reported["linux/amd64"]["old_digest"] == reported["linux/amd64"]["new_digest"]
    assert reported["linux/arm64"]["new_digest"] == new_images[1].digest


async def test_a_removed_image_of_an_index_stays_removed(broker: Broker, registry: RegistryDouble) -> None:
    source = plant_image(registry, "built", built("old", "linux/amd64", "linux/arm64")[1])
    draft = await broker.create(f"{registry.host}/app:1", source)
    await remove(broker, draft, "linux/amd64")
    plant_image(registry, "built", built("new", "linux/amd64", "linux/arm64")[1])
    refreshed = await refresh(broker, draft["id"])
    assert sorted(digests(refreshed)) == ["linux/arm64", "unknown/unknown"]
    assert len(refreshed["entries"]) == 2
    again = await broker.call(
        "POST", f"/v1/lists/{draft['id']}/entries", {"sources": [source], "insecure": True}
    )
    assert sorted(digests(again)) == ["linux/amd64", "linux/arm64", "unknown/unknown"]
    plant_image(registry, "built", built("newest", "linux/amd64", "linux/arm64", "linux/s390x")[1])
    assert "linux/s390x" in digests(await refresh(broker, draft["id"]))


async def test_a_removed_attestation_stays_removed(broker: Broker, registry: RegistryDouble) -> None:
    source = plant_image(registry, "built", built("old", "linux/amd64")[1])
    draft = await broker.create(f"{registry.host}/app:1", source)
    await remove(broker, draft, "unknown/unknown")
    new_images, new = built("new", "linux/amd64")
    plant_image(registry, "built", new)
    assert digests(await refresh(broker, draft["id"])) == {"linux/amd64": new_images[0].digest}


async def test_a_new_platform_of_an_index_replaces_no_entry(broker: Broker, registry: RegistryDouble) -> None:
    source = plant_image(registry, "built", built("old", "linux/amd64")[1])
    draft = await broker.create(f"{registry.host}/app:1", source, *plant_images(registry, "linux/arm64"))
    plant_image(registry, "built", built("new", "linux/amd64", "linux/arm64", "linux/s390x")[1])
    refreshed = await refresh(broker, draft["id"])
    assert digests(refreshed)["linux/arm64"] == digests(draft)["linux/arm64"]
    assert "linux/s390x" in digests(refreshed)


async def test_two_swapped_tags_are_both_kept(broker: Broker, registry: RegistryDouble) -> None:
    amd64, arm64 = make_image_for("linux/amd64"), make_image_for("linux/arm64")
    sources = [plant_image(registry, "one", amd64), plant_image(registry, "two", arm64)]
    draft = await broker.create(f"{registry.host}/app:1", *sources)
    plant_image(registry, "one", arm64)
    plant_image(registry, "two", amd64)
    assert digests(await refresh(broker, draft["id"])) == digests(draft)


async def test_every_entry_that_a_refresh_removes_is_reported(
    broker: Broker, registry: RegistryDouble
) -> None:
    amd64, arm64 = make_image_for("linux/amd64"), make_image_for("linux/arm64")
    pinned = plant_image(registry, "one", amd64).removesuffix(":1") + f"@{amd64.digest}"
    draft = await broker.create(f"{registry.host}/app:1", pinned, plant_image(registry, "two", arm64))
    newer = make_image_for("linux/amd64", seed="newer")
    plant_image(registry, "two", newer)
    refreshed = await refresh(broker, draft["id"])
    assert digests(refreshed) == {"linux/amd64": newer.digest}
    reported = {each["reference"]: each for each in refreshed["refreshed"]}
    assert reported[pinned]["old_digest"] == amd64.digest
    assert reported[pinned]["new_digest"] is None
