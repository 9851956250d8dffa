"""Pushes: copies, conditions, failures and history."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.support.broker import Broker, StartBroker, check_problem
from tests.support.images import make_image, make_image_for, plant
from tests.support.planted_images import plant_image, plant_images, wait_until_held
from tests.support.registry import Hold, MountDeclined, RegistryDouble, Truncated

pytestmark = pytest.mark.slow

Json = dict[str, Any]


@pytest.fixture
async def draft(broker: Broker, registry: RegistryDouble) -> Any:
    return await broker.create(
        f"{registry.host}/app:1", *plant_images(registry, "linux/amd64", "linux/arm64")
    )


def held(registry: RegistryDouble, tag: str = "1") -> str | None:
    return registry.tags("app").get(tag)


async def test_a_push_puts_the_bytes_of_get_index(
    broker: Broker, registry: RegistryDouble, draft: Any
) -> None:
    shown = await broker.client.get(f"/v1/lists/{draft['id']}/index")
    assert registry.tags("app") == {}
    pushed = await broker.push(draft["id"])
    media_type, raw = registry.get_manifest("app", "1")
    assert (shown.content, shown.headers["Content-Type"]) == (raw, media_type)
    assert shown.headers["Docker-Content-Digest"] == pushed["digest"] == draft["digest"] == held(registry)


async def test_a_push_reports_its_actions(broker: Broker, registry: RegistryDouble, draft: Any) -> None:
    pushed = await broker.push(draft["id"])
    (target,) = pushed["targets"]
    assert target["reference"] == f"{registry.host}/app:1"
    assert target["previous_digest"] is None
    assert [each["action"] for each in target["manifests"]] == ["put", "put"]
    assert target["blobs"] == {"mounted": 6, "copied": 0, "skipped": 0, "bytes_copied": 0}
    assert pushed["lines"] == [
        *(f"Pushed ref {each['reference']} with digest: {each['digest']}" for each in target["manifests"]),
        draft["digest"],
    ]
    assert registry.partial_tag_puts == []


async def test_a_repeated_push_copies_nothing(broker: Broker, registry: RegistryDouble, draft: Any) -> None:
    first = await broker.push(draft["id"])
    second = await broker.push(draft["id"])
    (target,) = second["targets"]
    assert target["previous_digest"] == first["digest"] == second["digest"]
    assert {each["action"] for each in target["manifests"]} == {"present"}
    assert second["lines"] == first["lines"]


async def test_a_push_of_a_changed_list_reports_the_replaced_digest(
    broker: Broker, registry: RegistryDouble, draft: Any
) -> None:
    first = await broker.push(draft["id"])
    left = await broker.call("DELETE", f"/v1/lists/{draft['id']}/entries/{draft['entries'][0]['id']}")
    assert left["state"] == "open"
    second = await broker.push(draft["id"], allow_shrink=True)
    assert second["targets"][0]["previous_digest"] == first["digest"] != second["digest"]
    assert (await broker.call("GET", f"/v1/lists/{draft['id']}"))["state"] == "pushed"


async def test_entries_in_the_target_repository_need_no_copy_and_no_line(
    broker: Broker, registry: RegistryDouble
) -> None:
    own = plant_image(registry, "app", make_image_for("linux/amd64"), "amd64")
    draft = await broker.create(f"{registry.host}/app:1", own)
    pushed = await broker.push(draft["id"])
    assert pushed["lines"] == [draft["digest"]]
    assert pushed["targets"][0]["blobs"]["mounted"] == 0


async def test_blobs_are_copied_where_mounts_are_declined(
    broker: Broker, registry: RegistryDouble, draft: Any
) -> None:
    registry.misbehave(MountDeclined(), times=None)
    pushed = await broker.push(draft["id"])
    blobs = pushed["targets"][0]["blobs"]
    assert (blobs["mounted"], blobs["copied"]) == (0, 6)
    assert blobs["bytes_copied"] > 4 * 1024
    assert held(registry) == draft["digest"]


async def test_images_of_another_registry_are_copied(broker: Broker, registry: RegistryDouble) -> None:
    async with RegistryDouble() as other:
        draft = await broker.create(
            f"{registry.host}/app:1", *plant_images(other, "linux/amd64", "linux/arm64")
        )
        pushed = await broker.push(draft["id"])
    assert pushed["targets"][0]["blobs"]["copied"] == 6
    assert held(registry) == draft["digest"]


async def test_foreign_layers_are_never_followed(broker: Broker, registry: RegistryDouble) -> None:
    source = plant_image(registry, "windows", make_image(os="windows", foreign_layers=1))
    draft = await broker.create(f"{registry.host}/app:1", source)
    blobs = (await broker.push(draft["id"]))["targets"][0]["blobs"]
    assert blobs["mounted"] == 3


async def test_every_tag_and_target_gets_the_index(broker: Broker, registry: RegistryDouble) -> None:
    async with RegistryDouble() as other:
        draft = await broker.create(
            f"{registry.host}/app:1",
            *plant_images(registry, "linux/amd64"),
            tags=["latest", "1.2"],
            targets=[f"{registry.host}/mirror:x"],
        )
        pushed = await broker.push(draft["id"], targets=[f"{other.host}/app:1"])
        digest = draft["digest"]
        assert registry.tags("app") == {"1": digest, "latest": digest, "1.2": digest}
        assert registry.tags("mirror") == {"x": digest}
        assert other.tags("app") == {"1": digest}
        assert {target["reference"] for target in pushed["targets"]} == {
            *(f"{registry.host}/app:{tag}" for tag in ("1", "latest", "1.2")),
            f"{registry.host}/mirror:x",
            f"{other.host}/app:1",
        }


async def test_a_list_without_a_tag_is_pushed_by_digest(broker: Broker, registry: RegistryDouble) -> None:
    (source,) = plant_images(registry, "linux/amd64")
    plain = await broker.create(f"{registry.host}/app:1", source)
    name = f"{registry.host}/app@{plain['digest']}"
    draft = await broker.create(name, source)
    pushed = await broker.push(draft["id"])
    assert [target["reference"] for target in pushed["targets"]] == [name]
    assert registry.tags("app") == {}
    assert registry.get_manifest("app", draft["digest"])


async def test_purge_deletes_the_list_after_success_and_keeps_the_history(
    broker: Broker, registry: RegistryDouble, draft: Any
) -> None:
    pushed = await broker.push(draft["id"], purge=True)
    check_problem(await broker.client.get(f"/v1/lists/{draft['id']}"), 404, "list-not-found")
    found = await broker.call("GET", f"/v1/pushes/{pushed['id']}")
    assert (found["state"], found["digest"], found["targets"]) == (
        "succeeded",
        draft["digest"],
        pushed["targets"],
    )


async def test_a_failed_push_purges_nothing_and_is_in_the_history(
    broker: Broker, registry: RegistryDouble, draft: Any
) -> None:
    plant(registry, "app", "1", make_image(seed="other"))
    reply = await broker.client.post(
        f"/v1/lists/{draft['id']}/push", json={"insecure": True, "purge": True, "if_absent": True}
    )
    check_problem(reply, 409, "tag-moved")
    assert (await broker.call("GET", f"/v1/lists/{draft['id']}"))["state"] == "open"
    (found,) = (await broker.call("GET", "/v1/pushes"))["items"]
    assert (found["state"], found["targets"]) == ("failed", [])


async def test_if_absent_does_not_move_an_existing_tag(
    broker: Broker, registry: RegistryDouble, draft: Any
) -> None:
    await broker.push(draft["id"], if_absent=True)
    await broker.call("DELETE", f"/v1/lists/{draft['id']}/entries/{draft['entries'][0]['id']}")
    reply = await broker.client.post(
        f"/v1/lists/{draft['id']}/push", json={"insecure": True, "if_absent": True}
    )
    assert check_problem(reply, 409, "tag-moved")["reference"] == f"{registry.host}/app:1"
    assert held(registry) == draft["digest"]


async def test_if_digest_moves_a_tag_only_from_this_digest(
    broker: Broker, registry: RegistryDouble, draft: Any
) -> None:
    first = await broker.push(draft["id"])
    await broker.call("DELETE", f"/v1/lists/{draft['id']}/entries/{draft['entries'][0]['id']}")
    wrong = "sha256:" + "0" * 64
    reply = await broker.client.post(
        f"/v1/lists/{draft['id']}/push", json={"insecure": True, "if_digest": wrong}
    )
    assert first["digest"] in check_problem(reply, 409, "tag-moved")["detail"]
    assert held(registry) == first["digest"]
    second = await broker.push(draft["id"], if_digest=first["digest"], allow_shrink=True)
    assert held(registry) == second["digest"]


async def test_a_condition_is_checked_just_before_the_tag_moves(
    broker: Broker, registry: RegistryDouble, draft: Any
) -> None:
    """Others may move the tag while the push copies images."""
    plant(registry, "app", "1", before := make_image_for("linux/amd64", seed="before"))
    hold = Hold()
    registry.misbehave(
        hold, method="PUT", path=f"/app/manifests/{draft['entries'][0]['descriptor']['digest']}"
    )
    body = {"insecure": True, "if_digest": before.digest}
    asked = await broker.call(
        "POST", f"/v1/lists/{draft['id']}/push", body, status=202, Prefer="respond-async"
    )
    await wait_until_held(hold)
    plant(registry, "app", "1", theirs := make_image_for("linux/amd64", seed="theirs"))
    hold.gate.set()
    ended = await broker.ended(asked["id"])
    assert ended["problem"]["type"].endswith(":tag-moved")
    assert held(registry) == theirs.digest


async def test_a_partly_read_tag_is_read_again_before_its_condition_is_checked(
    broker: Broker, registry: RegistryDouble, draft: Any
) -> None:
    """Without a length, a broken connection looks like the end of a manifest."""
    plant(registry, "app", "1", before := make_image_for("linux/amd64", seed="before"))
    registry.misbehave(Truncated(with_length=False), method="GET", path="/app/manifests/1$")
    await broker.push(draft["id"], if_digest=before.digest)
    assert held(registry) == draft["digest"]


async def test_a_list_changed_during_its_push_is_not_purged(
    broker: Broker, registry: RegistryDouble, draft: Any
) -> None:
    hold = Hold()
    registry.misbehave(hold, method="PUT", path="/manifests/1$")
    body = {"insecure": True, "purge": True}
    asked = await broker.call(
        "POST", f"/v1/lists/{draft['id']}/push", body, status=202, Prefer="respond-async"
    )
    await wait_until_held(hold)
    await broker.call("DELETE", f"/v1/lists/{draft['id']}/entries/{draft['entries'][0]['id']}")
    hold.gate.set()
    assert (await broker.ended(asked["id"]))["state"] == "succeeded"
    kept = await broker.call("GET", f"/v1/lists/{draft['id']}")
    assert (kept["state"], len(kept["entries"])) == ("open", 1)


async def test_the_stored_bytes_are_pushed_unchanged(broker: Broker, registry: RegistryDouble) -> None:
    """Go escapes some characters in its own way, which other serializers do not reproduce."""
    odd = {"title": "<a> & \u2028 \x7f é 😀"}
    made = await broker.create(
        f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"), annotations=odd, format="oci"
    )
    shown = await broker.client.get(f"/v1/lists/{made['id']}/index")
    await broker.push(made["id"])
    _, raw = registry.get_manifest("app", "1")
    assert raw == shown.content
    assert b"\\u003ca\\u003e \\u0026 \\u2028" in raw


async def test_a_push_uses_the_list_at_the_time_of_the_request(
    broker: Broker, registry: RegistryDouble, draft: Any
) -> None:
    hold = Hold()
    registry.misbehave(hold, method="POST", path="/blobs/uploads/")
    asked = await broker.call(
        "POST", f"/v1/lists/{draft['id']}/push", {"insecure": True}, status=202, Prefer="respond-async"
    )
    await wait_until_held(hold)
    await broker.call("DELETE", f"/v1/lists/{draft['id']}/entries/{draft['entries'][0]['id']}")
    hold.gate.set()
    assert (await broker.ended(asked["id"]))["state"] == "succeeded"
    assert held(registry) == draft["digest"]
    assert (await broker.call("GET", f"/v1/lists/{draft['id']}"))["state"] == "open"


async def test_pushes_to_one_tag_run_one_at_a_time(broker: Broker, registry: RegistryDouble) -> None:
    """The last request is the last to put."""
    drafts = [
        await broker.create(
            f"{registry.host}/app:1", *plant_images(registry, "linux/amd64", seed=name), session=name
        )
        for name in ("one", "two", "three")
    ]
    asked = [
        await broker.call(
            "POST", f"/v1/lists/{each['id']}/push", {"insecure": True}, status=202, Prefer="respond-async"
        )
        for each in drafts
    ]
    for operation in asked:
        assert (await broker.ended(operation["id"]))["state"] == "succeeded"
    puts = [put.digest for put in registry.tag_puts if put.tag == "1"]
    assert puts == [each["digest"] for each in drafts]


async def test_the_history_can_be_paged_and_filtered(broker: Broker, registry: RegistryDouble) -> None:
    (source,) = plant_images(registry, "linux/amd64")
    pushed = []
    for name in ("a", "b", "a"):
        draft = await broker.create(f"{registry.host}/{name}:1", source, amend=True, labels={"n": name})
        pushed.append(await broker.push(draft["id"]))
    everything = await broker.call("GET", "/v1/pushes?limit=2")
    assert [each["id"] for each in everything["items"]] == [pushed[2]["id"], pushed[1]["id"]]
    rest = await broker.call("GET", f"/v1/pushes?limit=2&cursor={everything['next_cursor']}")
    assert [each["id"] for each in rest["items"]] == [pushed[0]["id"]]
    for query, count in (
        (f"reference={registry.host}/a:1", 2),
        ("repository=b", 1),
        (f"registry={registry.host}", 3),
        ("state=succeeded", 3),
        ("state=failed", 0),
        (f"list_id={pushed[1]['list_id']}", 1),
        ("session=x", 0),
        ("label=n%3Da", 2),
        ("label=n%3Da&label=x%3Dy", 0),
        (f"since={pushed[1]['created_at']}", 2),
        (f"until={pushed[1]['created_at']}", 1),
        (f"since={pushed[0]['created_at']}&until={pushed[2]['created_at']}", 2),
    ):
        found = await broker.call("GET", f"/v1/pushes?{query}")
        assert len(found["items"]) == count, query
    assert pushed[1]["labels"] == {"n": "b"}


async def test_the_history_finds_pushes_by_additional_tags(broker: Broker, registry: RegistryDouble) -> None:
    draft = await broker.create(
        f"{registry.host}/app:1",
        *plant_images(registry, "linux/amd64"),
        tags=["latest"],
        targets=[f"{registry.host}/mirror/app:1"],
    )
    pushed = await broker.push(draft["id"])
    for query in (f"reference={registry.host}/app:latest", "repository=mirror/app"):
        found = await broker.call("GET", f"/v1/pushes?{query}")
        assert [each["id"] for each in found["items"]] == [pushed["id"]], query


async def test_insecure_is_ignored_for_registries_that_do_not_permit_it(
    start_broker: StartBroker, registry: RegistryDouble
) -> None:
    broker = await start_broker(allow_loopback=True)
    draft = await broker.create(
        f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"), targets=["registry.example/app:1"]
    )
    reply = await broker.client.post(f"/v1/lists/{draft['id']}/push", json={"insecure": True})
    # The push fails because nothing answers there.
    assert check_problem(reply, reply.status_code)["type"].rpartition(":")[2] != "insecure-forbidden"


async def test_pages_are_stable_while_pushes_are_added(broker: Broker, registry: RegistryDouble) -> None:
    draft = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    pushed = [(await broker.push(draft["id"]))["id"] for _ in range(4)]
    seen = []
    path = "/v1/pushes?limit=1"
    for _ in range(4):
        page = await broker.call("GET", path)
        seen += [each["id"] for each in page["items"]]
        path = f"/v1/pushes?limit=1&cursor={page['next_cursor']}"
        await broker.push(draft["id"])
    assert seen == pushed[::-1]


@pytest.mark.parametrize("moment", ["yesterday", "2026-11-25T10:00:00"])
async def test_a_time_without_an_offset_is_rejected(shared_broker: Broker, moment: str) -> None:
    for path in ("/v1/pushes", "/v1/lists"):
        reply = await shared_broker.client.get(path, params={"since": moment})
        assert check_problem(reply, 422)["errors"][0]["pointer"] == "query:since"


async def test_unknown_pushes_and_lists_are_not_found(broker: Broker) -> None:
    check_problem(await broker.client.get(f"/v1/pushes/{uuid4()}"), 404, "push-not-found")
    check_problem(await broker.client.post(f"/v1/lists/{uuid4()}/push", json={}), 404, "list-not-found")
    check_problem(await broker.client.get(f"/v1/lists/{uuid4()}/index"), 404, "list-not-found")


async def test_an_empty_list_can_not_be_pushed(broker: Broker, registry: RegistryDouble) -> None:
    draft = await broker.create(f"{registry.host}/app:1")
    reply = await broker.client.post(f"/v1/lists/{draft['id']}/push", json={})
    assert check_problem(reply, 409, "list-not-pushable")["list_id"] == draft["id"]


async def test_a_source_that_vanished_before_the_push_is_a_problem_that_names_it(
    broker: Broker, registry: RegistryDouble, draft: Any
) -> None:
    registry.misbehave(MountDeclined(), times=None)
    for digest in list(registry.blobs("app-linux-arm64")):
        del registry.content.at("app-linux-arm64").blobs[digest]
    reply = await broker.client.post(f"/v1/lists/{draft['id']}/push", json={"insecure": True})
    assert reply.status_code in {404, 422, 502}
    document = check_problem(reply, reply.status_code)
    assert document["registry"] == registry.host
    assert held(registry) is None


async def test_a_push_needs_no_body(start_broker: Any, registry: RegistryDouble) -> None:
    async with RegistryDouble() as double:
        broker = await start_broker(insecure_registries=[double.host])
        plant(double, "a", "1", make_image())
        draft = await broker.create(f"{double.host}/app:1", f"{double.host}/a:1")
        reply = await broker.client.post(f"/v1/lists/{draft['id']}/push")
        # Plain HTTP is used only when the call asks for it, even if the operator permits it.
        assert check_problem(reply, 502)["registry"] == double.host


async def test_a_forbidden_target_is_rejected_before_the_list_is_built(
    start_broker: StartBroker, registry: RegistryDouble
) -> None:
    broker = await start_broker(registries=[registry.host])
    here, elsewhere = f"{registry.host}/app:1", "other.example.com/app:1"
    for pointer, body in (
        ("/reference", {"reference": elsewhere}),
        ("/targets/1", {"reference": here, "targets": [here, elsewhere]}),
    ):
        refused = check_problem(await broker.client.post("/v1/lists", json=body), 403, "registry-forbidden")
        assert [each["pointer"] for each in refused["errors"]] == [pointer]
        assert "BROKER_REGISTRIES" in refused["detail"]
    draft = await broker.create(here)
    reply = await broker.client.patch(f"/v1/lists/{draft['id']}", json={"targets": [elsewhere]})
    assert check_problem(reply, 403, "registry-forbidden")["errors"][0]["pointer"] == "/targets/0"
    assert (await broker.call("GET", f"/v1/lists/{draft['id']}"))["targets"] == []
