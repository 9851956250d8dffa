"""Lists: create, amend, read, update, filter and delete."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from uuid import uuid4

import pytest

from tests.support.broker import Broker, check_problem
from tests.support.images import make_buildx_index, make_image, make_image_for, make_index, plant
from tests.support.planted_images import plant_image, plant_images, wait_until_held
from tests.support.registry import Hold, RegistryDouble, Status

Json = dict[str, Any]


def platforms(draft: Json) -> list[str]:
    return [
        "/".join(filter(None, (each["platform"][name] for name in ("os", "architecture", "variant"))))
        for each in draft["entries"]
    ]


# --- create and amend ---


async def test_a_created_list_is_found_at_its_location(broker: Broker, registry: RegistryDouble) -> None:
    sources = plant_images(registry, "linux/amd64", "linux/arm64/v8")
    body = {"reference": f"{registry.host}/app", "sources": sources, "insecure": True}
    reply = await broker.client.post("/v1/lists", json=body)
    assert reply.status_code == 201
    created = reply.json()
    assert created["reference"] == f"{registry.host}/app:latest"
    assert platforms(created) == ["linux/amd64", "linux/arm64/v8"]
    found = await broker.client.get(reply.headers["Location"])
    assert found.json() == created
    assert reply.headers["ETag"] == f'"{created["revision"]}"'
    assert found.headers["ETag"].startswith(f'"{created["revision"]}-')


async def test_a_second_create_of_a_reference_is_a_conflict_with_the_list_id(
    broker: Broker, registry: RegistryDouble
) -> None:
    created = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    reply = await broker.client.post("/v1/lists", json={"reference": f"{registry.host}/app:1"})
    assert check_problem(reply, 409, "list-exists")["list_id"] == created["id"]


async def test_two_concurrent_creates_make_one_list(broker: Broker, registry: RegistryDouble) -> None:
    (source,) = plant_images(registry, "linux/amd64")
    body = {"reference": f"{registry.host}/app:1", "sources": [source], "insecure": True}
    replies = await asyncio.gather(*(broker.client.post("/v1/lists", json=body) for _ in range(4)))
    assert sorted(reply.status_code for reply in replies) == [201, 409, 409, 409]


@pytest.mark.slow
async def test_a_digest_that_a_replica_does_not_have_yet_is_waited_for(
    broker: Broker, registry: RegistryDouble
) -> None:
    image = make_image_for("linux/amd64")
    plant(registry, "leg", None, image)
    registry.misbehave(Status.oci(404, "MANIFEST_UNKNOWN"), method="GET", path="/leg/manifests/", times=2)
    registry.misbehave(Status.oci(404, "BLOB_UNKNOWN"), method="GET", path="/leg/blobs/")
    draft = await broker.create(f"{registry.host}/app:1", f"{registry.host}/leg@{image.digest}")
    assert [each["descriptor"]["digest"] for each in draft["entries"]] == [image.digest]


async def test_a_list_without_sources_can_be_filled_later(broker: Broker, registry: RegistryDouble) -> None:
    draft = await broker.create(f"{registry.host}/app:1")
    assert (draft["entries"], draft["digest"], draft["complete"]) == ([], None, False)
    assert [finding["code"] for finding in draft["findings"]] == ["no-entries"]
    body = {"sources": plant_images(registry, "linux/amd64"), "insecure": True}
    grown = await broker.call("POST", f"/v1/lists/{draft['id']}/entries", body)
    assert platforms(grown) == ["linux/amd64"]


async def test_amend_creates_a_new_list_or_adds_to_an_existing_one(
    broker: Broker, registry: RegistryDouble
) -> None:
    amd64, arm64 = plant_images(registry, "linux/amd64", "linux/arm64")
    first = await broker.create(f"{registry.host}/app:1", amd64, amend=True)
    second = await broker.create(f"{registry.host}/app:1", arm64, amend=True)
    assert second["id"] == first["id"]
    assert platforms(second) == ["linux/amd64", "linux/arm64"]


async def test_amend_resolves_a_moved_tag_again_and_reports_the_replaced_digest(
    broker: Broker, registry: RegistryDouble
) -> None:
    (source,) = plant_images(registry, "linux/amd64")
    first = await broker.create(f"{registry.host}/app:1", source)
    plant_images(registry, "linux/amd64", seed="newer")
    second = await broker.create(f"{registry.host}/app:1", source, amend=True)
    (old,), (new,) = first["entries"], second["entries"]
    assert new["id"] == old["id"]
    assert new["replaced"] == old["descriptor"]["digest"] != new["descriptor"]["digest"]


async def test_amend_keeps_annotations(broker: Broker, registry: RegistryDouble) -> None:
    (source,) = plant_images(registry, "linux/amd64")
    draft = await broker.create(f"{registry.host}/app:1", source)
    path = f"/v1/lists/{draft['id']}/entries/{draft['entries'][0]['id']}"
    await broker.call("PATCH", path, {"platform": {"os_version": "1.2"}})
    plant_images(registry, "linux/amd64", seed="newer")
    again = await broker.create(f"{registry.host}/app:1", source, amend=True)
    assert again["entries"][0]["platform"]["os_version"] == "1.2"


async def test_an_amend_that_changes_nothing_keeps_the_revision(
    broker: Broker, registry: RegistryDouble
) -> None:
    (source,) = plant_images(registry, "linux/amd64")
    first = await broker.create(f"{registry.host}/app:1", source, source)
    second = await broker.create(f"{registry.host}/app:1", source, amend=True)
    assert len(first["entries"]) == 1
    assert second == first


async def test_an_image_replaces_the_entry_of_its_platform(broker: Broker, registry: RegistryDouble) -> None:
    old = plant_image(registry, "old", make_image_for("linux/amd64", seed=1))
    new = plant_image(registry, "new", make_image_for("linux/amd64", seed=2))
    draft = await broker.create(f"{registry.host}/app:1", old)
    body = {"sources": [new], "insecure": True}
    grown = await broker.call("POST", f"/v1/lists/{draft['id']}/entries", body)
    (entry,) = grown["entries"]
    assert entry["reference"] == new
    assert entry["replaced"] == draft["entries"][0]["descriptor"]["digest"]


async def test_two_images_of_one_platform_in_one_call_are_a_conflict_unless_allowed(
    broker: Broker, registry: RegistryDouble
) -> None:
    twins = [plant_image(registry, name, make_image_for("linux/amd64", seed=name)) for name in ("a", "b")]
    body = {"reference": f"{registry.host}/app:1", "sources": twins, "insecure": True}
    reply = await broker.client.post("/v1/lists", json=body)
    assert check_problem(reply, 409, "duplicate-platform")["platform"] == "linux/amd64"
    both = await broker.create(f"{registry.host}/app:1", *twins, allow_duplicate_platforms=True)
    assert len(both["entries"]) == 2
    assert "shared-platform" in [finding["code"] for finding in both["findings"]]


async def test_references_that_collide_in_dockers_store_are_separate_lists(
    broker: Broker, registry: RegistryDouble
) -> None:
    """Docker stores repo:amd64-1 and repo-amd64:1 in one file, and a/b_c and a/b/c as well."""
    one = plant_image(registry, "repo", make_image_for("linux/amd64"), "amd64-1")
    two = plant_image(registry, "repo-amd64", make_image_for("linux/arm64"), "1")
    draft = await broker.create(f"{registry.host}/a/b_c:1", one, two)
    assert {entry["reference"] for entry in draft["entries"]} == {one, two}
    other = await broker.create(f"{registry.host}/a/b/c:1")
    assert other["id"] != draft["id"]


async def test_the_digest_does_not_depend_on_the_order_of_additions(
    broker: Broker, registry: RegistryDouble
) -> None:
    sources = plant_images(registry, "linux/amd64", "linux/arm64", "linux/s390x", "windows/amd64")
    digests = set()
    for name, order in (("a", sources), ("b", sources[::-1])):
        draft = await broker.create(f"{registry.host}/{name}:1", order[0])
        for source in order[1:]:
            body = {"sources": [source], "insecure": True}
            draft = await broker.call("POST", f"/v1/lists/{draft['id']}/entries", body)
        digests.add(draft["digest"])
    assert len(digests) == 1


async def test_an_index_source_adds_its_images_and_their_attestations(
    broker: Broker, registry: RegistryDouble
) -> None:
    plant(registry, "app", "built", make_buildx_index())
    draft = await broker.create(f"{registry.host}/app:1", f"{registry.host}/app:built")
    assert sorted(platforms(draft)) == ["linux/amd64", "linux/arm64", *["unknown/unknown"] * 2]
    assert draft["media_type"] == "application/vnd.oci.image.index.v1+json"
    image = next(each for each in draft["entries"] if each["platform"]["architecture"] == "amd64")
    path = f"/v1/lists/{draft['id']}/entries/{image['id']}"
    rest = await broker.call("DELETE", path)
    assert sorted(platforms(rest)) == ["linux/arm64", "unknown/unknown"]


async def test_platforms_select_from_an_index(broker: Broker, registry: RegistryDouble) -> None:
    plant(registry, "app", "built", make_buildx_index(("linux/amd64", "linux/arm64", "linux/s390x")))
    source = {"reference": f"{registry.host}/app:built", "platforms": ["linux/s390x"]}
    draft = await broker.create(f"{registry.host}/app:1", source)
    assert sorted(platforms(draft)) == ["linux/s390x", "unknown/unknown"]
    nothing = {"reference": f"{registry.host}/app:built", "platforms": ["linux/riscv64"]}
    reply = await broker.client.post(
        f"/v1/lists/{draft['id']}/entries", json={"sources": [nothing], "insecure": True}
    )
    assert "linux/riscv64" in check_problem(reply, 422, "platform-not-in-source")["detail"]


async def test_a_source_can_override_its_platform(broker: Broker, registry: RegistryDouble) -> None:
    bare = plant_image(registry, "bare", make_image(config=b"{}"))
    source = {"reference": bare, "platform": "linux/aarch64", "annotations": {"k": "v"}}
    draft = await broker.create(f"{registry.host}/app:1", source)
    (entry,) = draft["entries"]
    assert entry["platform"]["architecture"] == "arm64"
    assert entry["resolved_platform"]["os"] is None
    assert entry["annotations"] == {"k": "v"}


async def test_an_entry_shows_the_origin_labels_of_its_image(
    broker: Broker, registry: RegistryDouble
) -> None:
    labels = {f"org.opencontainers.image.{name}": name for name in ("revision", "source", "version")}
    draft = await broker.create(
        f"{registry.host}/app:1", plant_image(registry, "a", make_image(labels=labels))
    )
    facts = draft["entries"][0]["image"]
    assert facts == {
        "created": "2026-01-02T03:04:05Z",
        "revision": "revision",
        "source": "source",
        "version": "version",
    }


# --- sessions, completeness, publishing ---


async def test_sessions_separate_runs_of_one_reference(broker: Broker, registry: RegistryDouble) -> None:
    amd64, arm64 = plant_images(registry, "linux/amd64", "linux/arm64")
    one = await broker.create(f"{registry.host}/app:1", amd64, session="run-1")
    two = await broker.create(f"{registry.host}/app:1", arm64, session="run-2")
    assert one["id"] != two["id"]
    assert (platforms(one), platforms(two)) == (["linux/amd64"], ["linux/arm64"])
    found = await broker.call("GET", "/v1/lists?session=run-1")
    assert [each["id"] for each in found["items"]] == [one["id"]]


async def test_the_last_leg_starts_the_push_and_returns_its_operation(
    broker: Broker, registry: RegistryDouble
) -> None:
    amd64, arm64 = plant_images(registry, "linux/amd64", "linux/arm64/v8")
    options: Json = {
        "amend": True,
        "session": "run-1",
        "expected_platforms": ["linux/amd64", {"os": "linux", "architecture": "arm64"}],
        "push_when_complete": True,
        "tags": ["latest"],
    }
    first = await broker.create(f"{registry.host}/app:1", amd64, **options)
    assert (first["complete"], first["missing_platforms"]) == (False, ["linux/arm64"])
    assert first["push_operation_id"] is None
    last = await broker.create(f"{registry.host}/app:1", arm64, **options)
    assert (last["complete"], last["missing_platforms"]) == (True, [])
    operation = await broker.ended(last["push_operation_id"])
    assert operation["state"] == "succeeded"
    assert registry.tags("app") == {"1": last["digest"], "latest": last["digest"]}

    repeated = await broker.create(f"{registry.host}/app:1", arm64, **options)
    assert repeated["push_operation_id"] == last["push_operation_id"]
    pushes = await broker.call("GET", "/v1/pushes")
    assert len(pushes["items"]) == 1
    assert repeated["state"] == "pushed"
    assert repeated["last_push_id"] == pushes["items"][0]["id"]


async def test_a_changed_complete_list_is_published_again(broker: Broker, registry: RegistryDouble) -> None:
    (source,) = plant_images(registry, "linux/amd64")
    options: Json = {"amend": True, "expected_platforms": ["linux/amd64"], "push_when_complete": True}
    first = await broker.create(f"{registry.host}/app:1", source, **options)
    await broker.ended(first["push_operation_id"])
    plant_images(registry, "linux/amd64", seed="newer")
    second = await broker.create(f"{registry.host}/app:1", source, **options)
    assert second["push_operation_id"] != first["push_operation_id"]
    await broker.ended(second["push_operation_id"])
    assert registry.tags("app") == {"1": second["digest"]}


async def test_concurrent_legs_publish_once(broker: Broker, registry: RegistryDouble) -> None:
    names = ["linux/amd64", "linux/arm64", "linux/s390x", "linux/riscv64", "linux/ppc64le"]
    options: Json = {"amend": True, "expected_platforms": names, "push_when_complete": True}
    sources = plant_images(registry, *names)
    legs = await asyncio.gather(
        *(broker.create(f"{registry.host}/app:1", each, **options) for each in sources)
    )
    (operation,) = {leg["push_operation_id"] for leg in legs} - {None}
    assert (await broker.ended(operation))["state"] == "succeeded"
    assert len((await broker.call("GET", "/v1/pushes"))["items"]) == 1


# --- update ---


async def test_a_patch_changes_the_given_members_and_null_clears(
    broker: Broker, registry: RegistryDouble
) -> None:
    draft = await broker.create(
        f"{registry.host}/app:1",
        *plant_images(registry, "linux/amd64"),
        labels={"a": "1", "b": "2"},
        annotations={"x": "1"},
        tags=["latest"],
        expires_in=3600,
    )
    assert draft["expires_at"] is not None
    path = f"/v1/lists/{draft['id']}"
    changed = await broker.call("PATCH", path, {"labels": {"a": None, "c": "3"}, "expires_in": None})
    assert changed["labels"] == {"b": "2", "c": "3"}
    assert (changed["expires_at"], changed["tags"], changed["annotations"]) == (None, ["latest"], {"x": "1"})
    cleared = await broker.call("PATCH", path, {"annotations": None, "tags": None, "format": "docker"})
    assert (cleared["annotations"], cleared["tags"], cleared["format"]) == ({}, [], "docker")
    assert cleared["media_type"] == "application/vnd.docker.distribution.manifest.list.v2+json"
    assert cleared["digest"] != draft["digest"]


async def test_a_patch_that_changes_nothing_keeps_the_revision(
    broker: Broker, registry: RegistryDouble
) -> None:
    draft = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    assert await broker.call("PATCH", f"/v1/lists/{draft['id']}", {}) == draft


async def test_the_merge_patch_media_type_is_accepted(broker: Broker, registry: RegistryDouble) -> None:
    draft = await broker.create(f"{registry.host}/app:1")
    reply = await broker.client.patch(
        f"/v1/lists/{draft['id']}",
        content=b'{"labels": {"a": "b"}}',
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert reply.status_code == 200
    assert reply.json()["labels"] == {"a": "b"}


async def test_if_match_rejects_changes_to_an_older_revision(
    broker: Broker, registry: RegistryDouble
) -> None:
    draft = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    path, entry = f"/v1/lists/{draft['id']}", draft["entries"][0]["id"]
    seen = f'"{draft["revision"]}"'
    await broker.call("PATCH", path, {"labels": {"a": "1"}}, If_Match=seen)
    for method, where, body in (
        ("PATCH", path, {"labels": {"a": "2"}}),
        ("POST", f"{path}/entries", {"sources": [draft["entries"][0]["reference"]], "insecure": True}),
        ("POST", f"{path}/refresh", {"insecure": True}),
        ("POST", f"{path}/plan", {"insecure": True}),
        ("POST", f"{path}/push", {"insecure": True}),
        ("PATCH", f"{path}/entries/{entry}", {"platform": {"variant": "v2"}}),
        ("DELETE", f"{path}/entries/{entry}", None),
        ("DELETE", path, None),
    ):
        for stale in (seen, '"unknown"', 'W/"1"'):
            reply = await broker.client.request(method, where, json=body, headers={"If-Match": stale})
            check_problem(reply, 412, "revision-changed")
    assert (await broker.call("GET", path))["labels"] == {"a": "1"}
    newest = (await broker.client.get(path)).headers["ETag"]
    # Weak tags match nothing (RFC 9110, section 13.1.1).
    await broker.call("POST", f"{path}/plan", {"insecure": True}, status=412, If_Match=f"W/{newest}")
    await broker.call("POST", f"{path}/plan", {"insecure": True}, If_Match=f'"unknown", {newest}')
    await broker.call("DELETE", path, status=204, If_Match="*")


async def test_if_none_match_returns_304_for_a_known_list_or_index(
    broker: Broker, registry: RegistryDouble
) -> None:
    draft = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    for path in (f"/v1/lists/{draft['id']}", f"/v1/lists/{draft['id']}/index"):
        tag = (await broker.client.get(path)).headers["ETag"]
        for known in (tag, f'W/{tag}, "other"', "*"):
            reply = await broker.client.get(path, headers={"If-None-Match": known})
            assert (reply.status_code, reply.content, reply.headers["ETag"]) == (304, b"", tag)
        reply = await broker.client.get(path, headers={"If-None-Match": '"other"'})
        assert (reply.status_code, reply.headers["ETag"]) == (200, tag)


async def test_a_changed_state_changes_the_etag_of_the_list(broker: Broker, registry: RegistryDouble) -> None:
    draft = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    path = f"/v1/lists/{draft['id']}"
    tag = (await broker.client.get(path)).headers["ETag"]
    await broker.call("POST", f"{path}/push", {"insecure": True})
    reply = await broker.client.get(path, headers={"If-None-Match": tag})
    assert reply.json()["state"] == "pushed"
    assert reply.json()["revision"] == draft["revision"]


async def test_head_is_get_without_its_content(broker: Broker, registry: RegistryDouble) -> None:
    draft = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    path = f"/v1/lists/{draft['id']}"
    for where in ("/healthz", "/readyz", "/v1/lists", path, f"{path}/index", "/v1/operations", "/v1/pushes"):
        whole, head = await broker.client.get(where), await broker.client.head(where)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Type"] == whole.headers["Content-Type"]
        assert head.headers["Content-Length"] == str(len(whole.content))
        assert head.headers.get("ETag") == whole.headers.get("ETag")
    assert (await broker.client.head(f"/v1/lists/{uuid4()}")).status_code == 404


# --- listing ---


async def test_the_listing_can_be_filtered(broker: Broker, registry: RegistryDouble) -> None:
    one = await broker.create(f"{registry.host}/a:1", labels={"team": "x", "run": "1"})
    two = await broker.create(f"{registry.host}/b:1", labels={"team": "x", "run": "2"}, session="s")

    async def found(query: str) -> set[str]:
        return {each["id"] for each in (await broker.call("GET", f"/v1/lists?{query}"))["items"]}

    assert await found("") == {one["id"], two["id"]}
    assert await found(f"reference={registry.host}/a:1") == {one["id"]}
    assert await found(f"registry={registry.host}") == {one["id"], two["id"]}
    assert await found("repository=b") == {two["id"]}
    assert await found("session=s") == {two["id"]}
    assert await found("label=team%3Dx") == {one["id"], two["id"]}
    assert await found("label=team%3Dx&label=run%3D2") == {two["id"]}
    assert await found("state=pushed") == set()
    assert await found("state=open") == {one["id"], two["id"]}


async def test_pages_are_linked_by_cursor_and_by_link_header(
    broker: Broker, registry: RegistryDouble
) -> None:
    for label in ({"a": "b c"}, {"d": "e"}):
        await broker.create(f"{registry.host}/other:{next(iter(label))}", labels=label)
    labels = {"a": "b c", "d": "e"}
    made = [(await broker.create(f"{registry.host}/a:{n}", labels=labels))["id"] for n in range(5)]
    seen: list[str] = []
    path: str | None = "/v1/lists?limit=2&label=a%3Db%20c&label=d%3De"
    while path is not None:
        reply = await broker.client.get(path)
        seen += [each["id"] for each in reply.json()["items"]]
        link = re.fullmatch(r'<([^>]+)>; rel="next"', reply.headers.get("Link", ""))
        assert (link is None) == (reply.json()["next_cursor"] is None)
        path = link[1] if link else None
    assert seen == made[::-1]


async def test_pages_are_stable_while_lists_are_created_and_deleted(
    broker: Broker, registry: RegistryDouble
) -> None:
    made = [(await broker.create(f"{registry.host}/a:{n}"))["id"] for n in range(4)]
    first = await broker.call("GET", "/v1/lists?limit=2")
    await broker.create(f"{registry.host}/a:new")
    await broker.call("DELETE", f"/v1/lists/{made[3]}", status=204)
    second = await broker.call("GET", f"/v1/lists?limit=2&cursor={first['next_cursor']}")
    assert [each["id"] for each in second["items"]] == [made[1], made[0]]
    assert second["next_cursor"] is None


# --- delete ---


async def test_deleting_a_list_does_not_change_the_registry(broker: Broker, registry: RegistryDouble) -> None:
    draft = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    await broker.push(draft["id"])
    registry.forget()
    await broker.call("DELETE", f"/v1/lists/{draft['id']}", status=204)
    check_problem(await broker.client.get(f"/v1/lists/{draft['id']}"), 404, "list-not-found")
    check_problem(await broker.client.delete(f"/v1/lists/{draft['id']}"), 404, "list-not-found")
    assert registry.journal == []


async def test_each_of_several_deleted_lists_has_its_own_outcome(
    broker: Broker, registry: RegistryDouble
) -> None:
    one = await broker.create(f"{registry.host}/a:1")
    two = await broker.create(f"{registry.host}/b:1")
    gone = "00000000-0000-4000-8000-000000000000"
    body = {
        "references": [f"{registry.host}/a:1", f"{registry.host}/no:1", "Bad Name"],
        "ids": [gone, two["id"]],
    }
    results = (await broker.call("POST", "/v1/lists/delete", body))["results"]
    assert [result["deleted"] for result in results] == [True, False, False, False, True]
    codes = [result["problem"]["type"].rpartition(":")[2] for result in results if not result["deleted"]]
    assert codes == ["list-not-found", "invalid-reference", "list-not-found"]
    assert results[1]["problem"]["detail"] == f"No such manifest: {registry.host}/no:1"
    assert results[4]["id"] == two["id"]
    check_problem(await broker.client.get(f"/v1/lists/{one['id']}"), 404)


async def test_a_list_deleted_while_sources_are_resolved_is_a_404(
    broker: Broker, registry: RegistryDouble
) -> None:
    (source,) = plant_images(registry, "linux/amd64")
    draft = await broker.create(f"{registry.host}/app:1")
    hold = Hold()
    registry.misbehave(hold, method="GET", path="/manifests/")
    body = {"sources": [source], "insecure": True}
    adding = asyncio.create_task(broker.client.post(f"/v1/lists/{draft['id']}/entries", json=body))
    await wait_until_held(hold)
    await broker.call("DELETE", f"/v1/lists/{draft['id']}", status=204)
    hold.gate.set()
    check_problem(await adding, 404, "list-not-found")


async def test_lists_can_be_filtered_by_time_and_state(broker: Broker, registry: RegistryDouble) -> None:
    made = [await broker.create(f"{registry.host}/{name}:1") for name in ("a", "b")]
    await broker.create(f"{registry.host}/c:1", failures={"linux/arm64": "no"})
    for query, count in (
        (f"since={made[1]['created_at']}", 2),
        (f"until={made[1]['created_at']}", 1),
        ("state=failed", 1),
        ("state=open", 2),
    ):
        assert len((await broker.call("GET", f"/v1/lists?{query}"))["items"]) == count, query


async def test_a_missing_platform_is_reported_with_the_platforms_of_the_source(
    broker: Broker, registry: RegistryDouble
) -> None:
    (image,) = plant_images(registry, "linux/amd64")
    index = plant_image(
        registry, "built", make_index([make_image_for("linux/amd64"), make_image_for("linux/s390x")])
    )
    for source, there in ((image, ["linux/amd64"]), (index, ["linux/amd64", "linux/s390x"])):
        body = {
            "reference": f"{registry.host}/app:1",
            "sources": [{"reference": source, "platforms": ["linux/arm64"]}],
            "insecure": True,
        }
        reported = check_problem(
            await broker.client.post("/v1/lists", json=body), 422, "platform-not-in-source"
        )
        assert reported["platforms"] == there
        assert reported["errors"][0]["pointer"] == "/sources/0/platforms"
        assert all(platform in reported["detail"] for platform in there)
