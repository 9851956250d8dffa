"""Fan-in: legs add images to one list, the last one completes it, and all of them can wait for the push."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.broker import Broker, StartBroker, check_problem
from tests.support.images import make_image
from tests.support.operation_queue import until
from tests.support.planted_images import plant_image, plant_images, wait_until_held
from tests.support.registry import Hold, RegistryDouble, Status

pytestmark = pytest.mark.slow

Json = dict[str, Any]
BOTH = ["linux/amd64", "linux/arm64"]
LEG: Json = {
    "amend": True,
    "session": "run-1",
    "expected_platforms": BOTH,
    "push_when_complete": True,
}


@pytest.fixture
def sources(registry: RegistryDouble) -> list[str]:
    return plant_images(registry, *BOTH)


async def waiting(broker: Broker, list_id: str, goal: str = "pushed", seconds: int = 30) -> Any:
    headers = {"Prefer": f"wait={seconds}"}
    return await broker.client.get(f"/v1/lists/{list_id}", params={"wait_for": goal}, headers=headers)


async def test_every_leg_can_wait_until_the_list_is_published(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    first = await broker.create(f"{registry.host}/app:1", sources[0], **LEG)
    others = [asyncio.create_task(waiting(broker, first["id"], goal)) for goal in ("pushed", "complete")]
    last = await broker.create(f"{registry.host}/app:1", sources[1], **LEG)
    replies = await asyncio.gather(*others)
    assert [reply.status_code for reply in replies] == [200, 200]
    assert replies[0].json()["state"] == "pushed"
    assert replies[1].json()["complete"]
    assert registry.tags("app") == {"1": last["digest"]}


async def test_a_wait_that_times_out_returns_the_current_list(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    first = await broker.create(f"{registry.host}/app:1", sources[0], **LEG)
    reply = await waiting(broker, first["id"], seconds=0)
    assert (reply.status_code, reply.json()["missing_platforms"]) == (202, ["linux/arm64"])
    assert reply.headers["Preference-Applied"] == "wait=0"
    assert reply.headers["Retry-After"] == "1"


async def test_deleting_a_list_releases_every_waiting_leg(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    first = await broker.create(f"{registry.host}/app:1", sources[0], **LEG)
    waiter = asyncio.create_task(waiting(broker, first["id"]))
    await broker.call("DELETE", f"/v1/lists/{first['id']}", status=204)
    check_problem(await waiter, 404, "list-not-found")


async def test_a_failed_build_releases_every_waiting_leg_at_once(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    first = await broker.create(f"{registry.host}/app:1", sources[0], **LEG)
    waiter = asyncio.create_task(waiting(broker, first["id"]))
    failed = await broker.create(f"{registry.host}/app:1", failures={"linux/arm64": "exit code 1"}, **LEG)
    assert failed["state"] == "failed"
    assert failed["problem"]["type"].endswith(":build-failed")
    reported = check_problem(await waiter, 409, "build-failed")
    assert reported["failures"] == {"linux/arm64": "exit code 1"}
    assert reported["missing_platforms"] == ["linux/arm64"]


async def test_a_failed_build_can_create_the_list(broker: Broker, registry: RegistryDouble) -> None:
    failed = await broker.create(f"{registry.host}/app:1", failures={"linux/arm64": "no runner"}, **LEG)
    assert (failed["state"], failed["revision"]) == ("failed", 1)
    found = await broker.call("GET", "/v1/lists?state=failed")
    assert [each["problem"]["status"] for each in found["items"]] == [409]


async def held_push(broker: Broker, registry: RegistryDouble, sources: list[str]) -> tuple[Json, Hold]:
    """A complete list whose push is putting the first image."""
    hold = Hold()
    registry.misbehave(hold, method="PUT", path="/app/manifests/sha256:")
    made = await broker.create(f"{registry.host}/app:1", *sources, **LEG)
    await wait_until_held(hold)
    return made, hold


async def test_a_tag_added_during_a_push_is_pushed_afterwards(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    """The push that was in progress does not mark the list as pushed."""
    hold = Hold()
    registry.misbehave(hold, method="PUT", path="/manifests/1$")
    made = await broker.create(f"{registry.host}/app:1", *sources)
    asked = await broker.call(
        "POST", f"/v1/lists/{made['id']}/push", {"insecure": True}, status=202, Prefer="respond-async"
    )
    await wait_until_held(hold)
    await broker.call("PATCH", f"/v1/lists/{made['id']}", {"tags": ["latest"]})
    hold.gate.set()
    assert (await broker.ended(asked["id"]))["state"] == "succeeded"
    assert (await broker.call("GET", f"/v1/lists/{made['id']}"))["state"] == "open"


async def test_a_failed_push_does_not_fail_a_list_that_expects_more_platforms(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    made, hold = await held_push(broker, registry, sources)
    registry.misbehave(Status(403), method="PUT", path="/app/manifests/", times=None)
    await broker.call("DELETE", f"/v1/lists/{made['id']}/entries/{made['entries'][0]['id']}")
    hold.gate.set()
    assert (await broker.ended(made["push_operation_id"]))["state"] == "failed"
    found = await broker.call("GET", f"/v1/lists/{made['id']}")
    assert (found["state"], found["problem"]) == ("open", None)


async def test_deleting_a_list_does_not_cancel_its_push(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    made, hold = await held_push(broker, registry, sources)
    await broker.call("DELETE", f"/v1/lists/{made['id']}", status=204)
    hold.gate.set()
    assert (await broker.ended(made["push_operation_id"]))["state"] == "succeeded"
    assert registry.tags("app") == {"1": made["digest"]}


async def test_any_leg_can_set_insecure(broker: Broker, registry: RegistryDouble, sources: list[str]) -> None:
    """The push that starts last needs it, whichever leg sent it."""
    body = {"reference": f"{registry.host}/app:1", **LEG}
    await broker.call("POST", "/v1/lists", body, status=201)
    for leg in ({"sources": sources, "insecure": True}, {"labels": {"last": "yes"}}):
        made = await broker.call("POST", "/v1/lists", {**body, **leg}, status=201)
    assert (await broker.ended(made["push_operation_id"]))["state"] == "succeeded"
    assert registry.tags("app") == {"1": made["digest"]}


async def test_a_later_leg_does_not_reset_insecure(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    body = {"reference": f"{registry.host}/app:1", **LEG}
    wanted = {**body, "expected_platforms": [*BOTH, "linux/s390x"], "sources": sources, "insecure": True}
    await broker.call("POST", "/v1/lists", wanted, status=201)
    made = await broker.call("POST", "/v1/lists", body, status=201)
    assert (await broker.ended(made["push_operation_id"]))["state"] == "succeeded"


async def test_a_repeated_call_extends_the_expiry_and_keeps_the_revision(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    said = {**LEG, "expected_platforms": [], "push_when_complete": False}
    first = await broker.create(f"{registry.host}/app:1", sources[0], expires_in=100, **said)
    again = await broker.create(f"{registry.host}/app:1", sources[0], expires_in=9000, **said)
    assert again["revision"] == first["revision"]
    found = await broker.call("GET", f"/v1/lists/{first['id']}")
    assert found["expires_at"] == again["expires_at"] > first["expires_at"]
    reported = await broker.call("GET", "/v1/events/history")
    assert [event["type"] for event in reported["items"]] == ["list.created"]


async def test_completion_is_reported_once(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    made = await broker.create(f"{registry.host}/app:1", *sources, **{**LEG, "push_when_complete": False})
    for text in ("one", "two"):
        await broker.call("PATCH", f"/v1/lists/{made['id']}", {"labels": {"again": text}})
    reported = await broker.call("GET", "/v1/events/history?type=list.completed")
    assert [event["data"]["list_id"] for event in reported["items"]] == [made["id"]]


async def test_a_late_list_that_stays_open_is_checked_once(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    """The list was complete in time, and no push was requested."""
    path = f"/v1/lists/{(await broker.create(f'{registry.host}/app:1', *sources, complete_in=1))['id']}"

    async def is_looked_at() -> bool:
        found = await broker.call("GET", path)
        return bool(found["updated_at"] > found["complete_by"])

    await until(is_looked_at)
    assert len({(await broker.call("GET", path))["updated_at"] for _ in range(20)}) == 1


async def test_the_second_of_two_concurrent_creates_is_a_conflict(
    start_broker: StartBroker, registry: RegistryDouble, sources: list[str]
) -> None:
    """The list did not exist when the two were accepted."""
    idle = await start_broker(worker=False)
    body = {"reference": f"{registry.host}/app:1", "insecure": True}
    asked = [
        await idle.call(
            "POST", "/v1/lists", {**body, "sources": [source]}, status=202, Prefer="respond-async"
        )
        for source in sources
    ]
    busy = await start_broker()
    ended = [await busy.ended(each["id"]) for each in asked]
    assert sorted(each["state"] for each in ended) == ["failed", "succeeded"]
    (problem_,) = [each["problem"] for each in ended if each["problem"]]
    assert problem_["type"].endswith(":list-exists")
    (made,) = (await busy.call("GET", "/v1/lists"))["items"]
    assert len(made["entries"]) == 1


async def test_a_rerun_build_removes_its_failure(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    await broker.create(f"{registry.host}/app:1", sources[0], **LEG)
    await broker.create(f"{registry.host}/app:1", failures={"linux/arm64": "flaky"}, **LEG)
    again = await broker.create(f"{registry.host}/app:1", sources[1], **LEG)
    assert (again["failures"], again["problem"]) == ({}, None)
    assert (await broker.ended(again["push_operation_id"]))["state"] == "succeeded"
    assert registry.tags("app") == {"1": again["digest"]}


async def test_a_late_failure_removes_the_image(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    await broker.create(f"{registry.host}/app:1", sources[0], **LEG)
    failed = await broker.create(f"{registry.host}/app:1", failures={"linux/amd64": "tests failed"}, **LEG)
    assert failed["entries"] == []
    cleared = await broker.call("PATCH", f"/v1/lists/{failed['id']}", {"failures": None})
    assert (cleared["state"], cleared["missing_platforms"]) == ("open", BOTH)


async def test_a_list_that_misses_its_deadline_fails_with_its_missing_platforms(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    first = await broker.create(f"{registry.host}/app:1", sources[0], complete_in=1, **LEG)
    reported = check_problem(await waiting(broker, first["id"]), 409, "list-incomplete")
    assert reported["missing_platforms"] == ["linux/arm64"]
    assert reported["list_id"] == first["id"]
    late = await broker.call("GET", f"/v1/lists/{first['id']}")
    assert (late["state"], late["revision"]) == ("failed", first["revision"])


async def test_an_image_after_the_deadline_still_completes_the_list(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    first = await broker.create(f"{registry.host}/app:1", sources[0], complete_in=1, **LEG)
    check_problem(await waiting(broker, first["id"]), 409, "list-incomplete")
    last = await broker.create(f"{registry.host}/app:1", sources[1], complete_in=1, **LEG)
    assert last["state"] == "open"
    assert (await broker.ended(last["push_operation_id"]))["state"] == "succeeded"


async def test_a_partial_list_is_pushed_at_its_deadline_and_marked_partial(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    first = await broker.create(
        f"{registry.host}/app:1", sources[0], complete_in=1, allow_partial=True, **LEG
    )
    reply = await waiting(broker, first["id"])
    assert reply.json()["state"] == "pushed"
    (pushed,) = (await broker.call("GET", "/v1/pushes"))["items"]
    assert (pushed["partial"], pushed["missing_platforms"]) == (True, ["linux/arm64"])
    assert registry.tags("app") == {"1": first["digest"]}


async def test_a_partial_list_is_pushed_as_soon_as_the_rest_has_failed(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    options = {**LEG, "allow_partial": True}
    await broker.create(f"{registry.host}/app:1", failures={"linux/arm64": "no"}, **options)
    last = await broker.create(f"{registry.host}/app:1", sources[0], **options)
    operation = await broker.ended(last["push_operation_id"])
    assert operation["result"]["partial"] is True
    assert operation["result"]["missing_platforms"] == ["linux/arm64"]


async def test_a_push_of_all_platforms_is_not_partial(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    draft = await broker.create(f"{registry.host}/app:1", *sources)
    pushed = await broker.push(draft["id"])
    assert (pushed["partial"], pushed["missing_platforms"]) == (False, [])


async def test_a_failed_push_fails_the_list_and_a_repeated_call_retries(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    broken = registry.misbehave(Status(403), times=None, method="PUT", path="/manifests/")
    await broker.create(f"{registry.host}/app:1", sources[0], **LEG)
    last = await broker.create(f"{registry.host}/app:1", sources[1], **LEG)
    reported = check_problem(await waiting(broker, last["id"]), 403, "registry-denied")
    assert reported["upstream_status"] == 403
    registry.misbehaviour.remove(broken)
    again = await broker.create(f"{registry.host}/app:1", sources[1], **LEG)
    assert again["push_operation_id"] != last["push_operation_id"]
    assert again["revision"] == last["revision"]
    assert (await waiting(broker, last["id"])).json()["state"] == "pushed"
    assert registry.tags("app") == {"1": last["digest"]}


async def test_a_failed_manual_push_does_not_fail_the_list(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    draft = await broker.create(f"{registry.host}/app:1", *sources)
    plant_image(registry, "app", make_image(seed="other"))
    await broker.push(draft["id"], status=409, if_absent=True)
    assert (await broker.call("GET", f"/v1/lists/{draft['id']}"))["state"] == "open"


async def test_a_list_that_fails_during_its_push_is_not_published(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    hold = Hold()
    registry.misbehave(hold, method="POST", path="/app/blobs/")
    last = await broker.create(f"{registry.host}/app:1", *sources, **LEG)
    await wait_until_held(hold)
    await broker.create(f"{registry.host}/app:1", failures={"linux/arm64": "tests failed"}, **LEG)
    hold.gate.set()
    operation = await broker.ended(last["push_operation_id"])
    assert operation["problem"]["type"].endswith(":build-failed")
    assert registry.tags("app") == {}
    assert (await broker.call("GET", f"/v1/lists/{last['id']}"))["problem"]["type"].endswith(":build-failed")


async def test_a_push_that_is_overtaken_by_a_newer_push_of_the_list_moves_no_tag(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    hold = Hold()
    registry.misbehave(hold, method="POST", path="/app/blobs/")
    first = await broker.create(f"{registry.host}/app:1", *sources, **LEG)
    await wait_until_held(hold)
    (newer,) = plant_images(registry, "linux/amd64", seed="newer", tag="newer")
    second = await broker.create(f"{registry.host}/app:1", newer, **LEG)
    hold.gate.set()
    assert (await broker.ended(first["push_operation_id"]))["problem"]["type"].endswith(":superseded")
    assert (await broker.ended(second["push_operation_id"]))["state"] == "succeeded"
    assert [put.digest for put in registry.tag_puts if put.tag == "1"] == [second["digest"]]
    assert (await waiting(broker, second["id"])).json()["state"] == "pushed"


async def test_tags_added_later_are_pushed_later(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    first = await broker.create(f"{registry.host}/app:1", *sources, **LEG)
    await broker.ended(first["push_operation_id"])
    again = await broker.create(f"{registry.host}/app:1", sources[0], tags=["latest"], **LEG)
    assert (await broker.ended(again["push_operation_id"]))["state"] == "succeeded"
    assert registry.tags("app") == {"1": first["digest"], "latest": first["digest"]}


async def test_options_that_do_not_change_the_index_keep_the_list_pushed(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    draft = await broker.create(f"{registry.host}/app:1", *sources)
    await broker.push(draft["id"])
    changed = await broker.call("PATCH", f"/v1/lists/{draft['id']}", {"labels": {"a": "b"}})
    assert changed["state"] == "pushed"


async def test_waiting_for_completion_ends_when_a_partial_list_is_pushed(
    broker: Broker, registry: RegistryDouble, sources: list[str]
) -> None:
    options = {**LEG, "allow_partial": True}
    await broker.create(f"{registry.host}/app:1", failures={"linux/arm64": "no"}, **options)
    last = await broker.create(f"{registry.host}/app:1", sources[0], **options)
    assert (await waiting(broker, last["id"], "complete")).status_code == 200


async def test_images_of_another_revision_are_rejected_with_same_revision(
    broker: Broker, registry: RegistryDouble
) -> None:
    amd64, arm64 = (
        plant_image(
            registry,
            f"app-{revision}",
            make_image(
                architecture=name.partition("/")[2], labels={"org.opencontainers.image.revision": revision}
            ),
        )
        for name, revision in zip(BOTH, ("aaa", "bbb"), strict=True)
    )
    first = await broker.create(f"{registry.host}/app:1", amd64, **LEG, same_revision=True)
    reply = await broker.client.post(
        "/v1/lists",
        json={"reference": f"{registry.host}/app:1", "sources": [arm64], "insecure": True, **LEG},
    )
    reported = check_problem(reply, 409, "mixed-revisions")
    assert reported["revisions"] == {amd64: "aaa", arm64: "bbb"}
    kept = await broker.call("GET", f"/v1/lists/{first['id']}")
    assert len(kept["entries"]) == 1
    await broker.call("PATCH", f"/v1/lists/{first['id']}", {"same_revision": False})
    last = await broker.create(f"{registry.host}/app:1", arm64, **LEG)
    assert [finding["code"] for finding in last["findings"]] == ["mixed-revisions"]


@pytest.mark.parametrize(
    ("member", "value", "pointer"),
    [
        ("failures", {"not a/platform": "x"}, "/failures/not a~1platform"),
        ("failures", {"linux/arm64": 1}, "/failures/linux~1arm64"),
        ("complete_in", 0, "/complete_in"),
        ("run_number", -1, "/run_number"),
        ("run_number", 2**63, "/run_number"),
    ],
)
async def test_contradictory_options_are_rejected_with_their_field(
    shared_broker: Broker, member: str, value: object, pointer: str
) -> None:
    reply = await shared_broker.client.post("/v1/lists", json={"reference": "r.example/a:1", member: value})
    assert [each["pointer"] for each in check_problem(reply, 422)["errors"]] == [pointer]
