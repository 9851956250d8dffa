"""A plan lists the actions of the push that follows."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.broker import Broker, check_problem
from tests.support.images import make_image, make_image_for, plant
from tests.support.planted_images import plant_image, plant_images
from tests.support.registry import MountDeclined, RegistryDouble

pytestmark = pytest.mark.slow

Json = dict[str, Any]
PLATFORMS = ("linux/amd64", "linux/arm64", "linux/s390x", "linux/ppc64le")
ROUNDS = int(os.environ.get("PLAN_ROUNDS", "12"))
WRITES = {"PUT", "POST", "PATCH", "DELETE"}


async def plan(broker: Broker, list_id: str, **members: object) -> Any:
    return await broker.call("POST", f"/v1/lists/{list_id}/plan", {"insecure": True, **members})


async def test_a_plan_lists_the_actions_of_a_push_and_changes_nothing(
    broker: Broker, registry: RegistryDouble
) -> None:
    draft = await broker.create(
        f"{registry.host}/app:1", *plant_images(registry, *PLATFORMS[:2]), tags=["latest"]
    )
    registry.forget()
    planned = await plan(broker, draft["id"])
    assert not [each for each in registry.journal if each.method in WRITES]
    assert (planned["digest"], planned["revision"]) == (draft["digest"], draft["revision"])
    assert planned["problem"] is None
    (target,) = planned["targets"]
    assert target["repository"] == f"{registry.host}/app"
    assert [(each["reference"], each["action"], each["previous_digest"]) for each in target["tags"]] == [
        (f"{registry.host}/app:1", "moved", None),
        (f"{registry.host}/app:latest", "moved", None),
    ]
    assert {each["action"] for each in target["manifests"]} == {"put"}
    assert {each["action"] for each in target["blobs"]} == {"mounted"}
    assert {each["from"] for each in target["blobs"]} == {
        f"{registry.host}/app-linux-amd64",
        f"{registry.host}/app-linux-arm64",
    }
    assert target["totals"] == {"mounted": 6, "copied": 0, "skipped": 0, "bytes_copied": 0}


async def test_a_plan_counts_the_bytes_to_copy_to_another_registry(
    broker: Broker, registry: RegistryDouble
) -> None:
    async with RegistryDouble() as other:
        image = make_image_for("linux/amd64")
        draft = await broker.create(f"{registry.host}/app:1", plant_image(other, "app", image))
        planned = await plan(broker, draft["id"])
    (target,) = planned["targets"]
    assert target["totals"]["copied"] == len(image.blobs)
    assert target["totals"]["bytes_copied"] == sum(len(blob) for blob in image.blobs.values())


async def test_a_plan_has_the_problem_of_the_push(broker: Broker, registry: RegistryDouble) -> None:
    plant_image(registry, "app", make_image_for("linux/s390x"))
    draft = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    planned = await plan(broker, draft["id"])
    assert planned["problem"]["type"].endswith(":platforms-lost")
    (tag,) = planned["targets"][0]["tags"]
    assert (tag["action"], tag["difference"]["removed"]) == ("left", ["linux/s390x"])
    planned = await plan(broker, draft["id"], if_absent=True)
    assert planned["problem"]["type"].endswith(":tag-moved")


async def test_a_plan_warns_of_missing_platforms(broker: Broker, registry: RegistryDouble) -> None:
    draft = await broker.create(
        f"{registry.host}/app:1",
        *plant_images(registry, "linux/amd64"),
        expected_platforms=list(PLATFORMS[:2]),
    )
    planned = await plan(broker, draft["id"])
    assert [(each["code"], each["severity"]) for each in planned["findings"]] == [
        ("missing-platforms", "warning")
    ]
    assert planned["missing_platforms"] == ["linux/arm64"]


async def test_a_push_with_the_planned_revision_is_rejected_after_a_change(
    broker: Broker, registry: RegistryDouble
) -> None:
    draft = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    planned = await plan(broker, draft["id"])
    await broker.call("PATCH", f"/v1/lists/{draft['id']}", {"annotations": {"a": "b"}})
    reply = await broker.client.post(
        f"/v1/lists/{draft['id']}/push",
        json={"insecure": True},
        headers={"If-Match": f'"{planned["revision"]}"'},
    )
    check_problem(reply, 412, "revision-changed")


async def test_a_list_that_can_not_be_pushed_has_no_plan(broker: Broker, registry: RegistryDouble) -> None:
    draft = await broker.create(f"{registry.host}/app:1")
    reply = await broker.client.post(f"/v1/lists/{draft['id']}/plan", json={})
    check_problem(reply, 409, "list-not-pushable")


async def test_a_push_does_exactly_what_its_plan_says(broker: Broker, seed: int) -> None:
    for number in range(ROUNDS):
        async with RegistryDouble() as here, RegistryDouble() as there:
            await check_plan_and_push(broker, here, there, random.Random(seed + number))


async def check_plan_and_push(
    broker: Broker, here: RegistryDouble, there: RegistryDouble, dice: random.Random
) -> None:
    chosen = dice.sample(PLATFORMS, dice.randint(1, len(PLATFORMS)))
    sources = [
        plant_image(
            dice.choice([here, there]), f"src{dice.randrange(3)}", image(name, dice), name.replace("/", "-")
        )
        for name in chosen
    ]
    if declines := dice.random() < 0.3:
        # Random choice decides whether the push mounts anything.
        here.misbehave(MountDeclined(), times=None, optional=True)
    held = prepare(here, dice)
    options: Json = {"tags": dice.sample(["latest", "stable"], dice.randint(0, 2))}
    if dice.random() < 0.3:
        options["annotations"] = {"org.example.round": str(dice.random())}
    if dice.random() < 0.4:
        options["targets"] = [f"{there.host}/mirror:1"]
    draft = await broker.create(f"{here.host}/app:1", *sources, session=str(dice.random()), **options)
    wanted: Json = dice.choice(
        [{}, {"allow_shrink": True}, {"if_absent": True}, {"if_digest": held or draft["digest"]}]
    )
    before = here.tags("app")
    planned = await plan(broker, draft["id"], **wanted)
    reply = await broker.client.post(
        f"/v1/lists/{draft['id']}/push",
        json={"insecure": True, **wanted},
        headers={"If-Match": f'"{planned["revision"]}"'},
    )
    if planned["problem"] is not None:
        reported = reply.json()
        assert (reported["type"], reported["detail"]) == (
            planned["problem"]["type"],
            planned["problem"]["detail"],
        )
        assert here.tags("app") == before
        return
    pushed = reply.json()
    assert reply.status_code == 200, pushed
    assert pushed["digest"] == planned["digest"] == draft["digest"] == here.tags("app")["1"]
    # A plan can't know whether a registry declines mounts.
    totals = brought if declines else dict
    assert in_short(pushed["targets"], totals) == planned_in_short(planned["targets"], totals)


def image(name: str, dice: random.Random) -> Any:
    return make_image(architecture=name.partition("/")[2], seed=str(dice.random()), layers=dice.randint(1, 3))


def prepare(registry: RegistryDouble, dice: random.Random) -> str | None:
    """Put something under the tag, at random."""
    if dice.random() < 0.4:
        return None
    present = image(dice.choice(PLATFORMS), dice)
    plant(registry, "app", "1", present)
    return str(present.digest)


def brought(totals: Json) -> Json:
    return {"there": totals["skipped"], "brought": totals["mounted"] + totals["copied"]}


def in_short(targets: list[Json], totals: Callable[[Json], Json]) -> dict[str, Any]:
    """The actions of a push on each tag, its manifests and its blobs."""
    return {
        each["reference"]: (
            each["action"],
            each["previous_digest"],
            each["difference"],
            sorted((manifest["digest"], manifest["action"]) for manifest in each["manifests"]),
            totals(each["blobs"]),
        )
        for each in targets
    }


def planned_in_short(targets: list[Json], totals: Callable[[Json], Json]) -> dict[str, Any]:
    return {
        tag["reference"]: (
            tag["action"],
            tag["previous_digest"],
            tag["difference"],
            sorted((manifest["digest"], manifest["action"]) for manifest in target["manifests"]),
            totals(target["totals"]),
        )
        for target in targets
        for tag in target["tags"]
    }
