"""A push does not roll back a tag or remove platforms by default."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.broker import Broker
from tests.support.images import make_image, make_image_for, make_index
from tests.support.planted_images import plant_image, plant_images
from tests.support.registry import RegistryDouble, Status

pytestmark = pytest.mark.slow

Json = dict[str, Any]


async def run(broker: Broker, registry: RegistryDouble, name: str, *platforms: str, **options: Any) -> Any:
    """Create the list of a session with its own images, without a push."""
    sources = plant_images(registry, *(platforms or ("linux/amd64",)), tag=name, seed=name)
    return await broker.create(f"{registry.host}/app:1", *sources, session=name, **options)


# --- newer and older runs ---


async def test_an_older_run_that_finishes_late_does_not_overwrite(
    broker: Broker, registry: RegistryDouble
) -> None:
    older, newer = await run(broker, registry, "older"), await run(broker, registry, "newer")
    pushed = await broker.push(newer["id"])
    reported = await broker.push(older["id"], status=409)
    assert reported["type"].endswith(":superseded")
    assert (reported["push_id"], reported["digest"]) == (pushed["id"], newer["digest"])
    assert registry.tags("app") == {"1": newer["digest"]}
    await broker.push(older["id"], allow_older=True)
    assert registry.tags("app") == {"1": older["digest"]}


async def test_an_older_run_does_not_overwrite_under_another_name_of_the_registry(
    broker: Broker, registry: RegistryDouble
) -> None:
    port = registry.host.rpartition(":")[2]
    sources = plant_images(registry, "linux/amd64")
    for number, host in ((2, registry.host), (1, f"localhost:{port}")):
        made = await broker.create(
            f"{host}/app:1", *sources, session=host, run_number=number, labels={"n": host}
        )
        assert made["reference"] == f"{host}/app:1"
        if number == 2:
            await broker.push(made["id"])
            await broker.call("PATCH", f"/v1/lists/{made['id']}", {"annotations": {"changed": "since"}})
            continue
        await broker.call("PATCH", f"/v1/lists/{made['id']}", {"annotations": {"older": host}})
        reported = await broker.push(made["id"], status=409)
        assert reported["type"].endswith(":superseded")


async def test_run_numbers_take_precedence_over_creation_order(
    broker: Broker, registry: RegistryDouble
) -> None:
    newer = await run(broker, registry, "newer", run_number=12)
    older = await run(broker, registry, "older", run_number=11)
    await broker.push(newer["id"])
    await broker.push(older["id"], status=409)
    assert registry.tags("app") == {"1": newer["digest"]}


async def test_a_newer_run_overwrites_an_older_one(broker: Broker, registry: RegistryDouble) -> None:
    older, newer = await run(broker, registry, "older"), await run(broker, registry, "newer")
    await broker.push(older["id"])
    pushed = await broker.push(newer["id"])
    assert pushed["targets"][0]["previous_digest"] == older["digest"]
    assert pushed["targets"][0]["difference"] == {
        "added": [],
        "removed": [],
        "changed": [
            {
                "platform": "linux/amd64",
                "from": older["entries"][0]["descriptor"]["digest"],
                "to": newer["entries"][0]["descriptor"]["digest"],
            }
        ],
    }


async def test_a_run_may_push_its_own_list_again(broker: Broker, registry: RegistryDouble) -> None:
    first = await run(broker, registry, "one")
    await broker.push(first["id"])
    (second,) = plant_images(registry, "linux/arm64", tag="one")
    await broker.call("POST", f"/v1/lists/{first['id']}/entries", {"sources": [second], "insecure": True})
    pushed = await broker.push(first["id"])
    assert pushed["targets"][0]["difference"]["added"] == ["linux/arm64"]


async def test_without_a_session_the_order_of_pushes_decides(
    broker: Broker, registry: RegistryDouble
) -> None:
    by_hand = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    session = await run(broker, registry, "run")
    await broker.push(session["id"])
    await broker.push(by_hand["id"])
    assert registry.tags("app") == {"1": by_hand["digest"]}
    reported = await broker.push((await run_again(broker, registry, session))["id"], status=409)
    assert reported["type"].endswith(":superseded")


async def run_again(broker: Broker, registry: RegistryDouble, session: Json) -> Any:
    """Change the list of a session, so that its next push differs."""
    return await broker.call("PATCH", f"/v1/lists/{session['id']}", {"annotations": {"again": "yes"}})


async def test_an_older_run_with_the_same_digest_does_not_admit_a_run_in_between(
    broker: Broker, registry: RegistryDouble
) -> None:
    first, third = [
        await broker.create(
            f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"), session=name, run_number=number
        )
        for name, number in (("first", 8), ("third", 10))
    ]
    second = await run(broker, registry, "second", run_number=9)
    await broker.push(third["id"])
    await broker.push(first["id"])
    reported = await broker.push(second["id"], status=409)
    assert reported["type"].endswith(":superseded")
    assert registry.tags("app") == {"1": third["digest"]}


async def test_a_permitted_rollback_is_not_overwritten_by_a_run_in_between(
    broker: Broker, registry: RegistryDouble
) -> None:
    runs = [await run(broker, registry, f"run-{number}", run_number=number) for number in (1, 2, 3)]
    await broker.push(runs[2]["id"])
    await broker.push(runs[0]["id"], allow_older=True)
    await broker.push(runs[1]["id"], status=409)
    assert registry.tags("app") == {"1": runs[0]["digest"]}


@pytest.mark.parametrize("how", ["deleted", "denied"])
async def test_a_tag_that_can_not_be_read_still_belongs_to_the_newer_run(
    broker: Broker, registry: RegistryDouble, how: str
) -> None:
    older, newer = await run(broker, registry, "older"), await run(broker, registry, "newer")
    await broker.push(newer["id"])
    if how == "deleted":
        registry.content.at("app").tags.clear()
    else:
        for method in ("HEAD", "GET"):
            registry.misbehave(Status(403), times=None, method=method, path="/app/manifests/1$")
    await broker.push(older["id"], status=409)
    assert older["digest"] not in registry.tags("app").values()


async def test_a_tag_that_holds_an_index_of_indexes_keeps_their_platforms(
    broker: Broker, registry: RegistryDouble
) -> None:
    plant_image(registry, "app", make_index([make_index([make_image_for("linux/s390x")])]))
    reported = await broker.push((await run(broker, registry, "one"))["id"], status=409)
    assert reported["platforms"] == ["linux/s390x"]


async def test_entries_of_an_index_take_precedence_over_entries_of_nested_indexes(
    broker: Broker, registry: RegistryDouble
) -> None:
    image, inner = (make_image_for("linux/amd64", seed=seed) for seed in ("itself", "inner"))
    plant_image(registry, "app", make_index([make_index([inner]), image]))
    pushed = await broker.push((await run(broker, registry, "one"))["id"])
    (changed,) = pushed["targets"][0]["difference"]["changed"]
    assert changed["from"] == image.digest


async def test_an_additional_tag_stays_with_the_newer_run(broker: Broker, registry: RegistryDouble) -> None:
    sources = plant_images(registry, "linux/amd64", seed="older")
    older = await broker.create(f"{registry.host}/app:latest", *sources, session="0")
    sources = plant_images(registry, "linux/amd64", seed="old")
    old = await broker.create(f"{registry.host}/app:1.0", *sources, session="a", tags=["latest"])
    sources = plant_images(registry, "linux/amd64", "linux/arm64", seed="new")
    new = await broker.create(f"{registry.host}/app:2.0", *sources, session="b", tags=["latest"])
    newest = await broker.push(new["id"])
    # The tag that stays keeps its platforms, so nothing is lost.
    pushed = await broker.push(old["id"])
    assert {target["reference"]: target["action"] for target in pushed["targets"]} == {
        f"{registry.host}/app:1.0": "moved",
        f"{registry.host}/app:latest": "left",
    }
    assert registry.tags("app") == {"1.0": old["digest"], "2.0": new["digest"], "latest": new["digest"]}
    reported = await broker.push(older["id"], status=409)
    assert (reported["push_id"], reported["digest"]) == (newest["id"], new["digest"])


async def test_a_list_superseded_at_its_own_tag_moves_no_other_tag(
    broker: Broker, registry: RegistryDouble
) -> None:
    older, newer = await run(broker, registry, "older", tags=["extra"]), await run(broker, registry, "newer")
    await broker.push(newer["id"])
    await broker.push(older["id"], status=409)
    assert registry.tags("app") == {"1": newer["digest"]}


async def test_a_list_without_its_own_tag_is_superseded_when_newer_runs_own_all_its_tags(
    broker: Broker, registry: RegistryDouble
) -> None:
    """The push would move no tag, so it must not succeed."""
    name = f"{registry.host}/app@sha256:{'0' * 64}"
    older, newer = [
        await broker.create(
            name, *plant_images(registry, "linux/amd64", seed=seed, tag=seed), session=seed, tags=["latest"]
        )
        for seed in ("older", "newer")
    ]
    await broker.push(newer["id"])
    reported = await broker.push(older["id"], status=409)
    assert reported["type"].endswith(":superseded")
    assert registry.tags("app") == {"latest": newer["digest"]}


async def test_a_run_with_a_corrected_number_may_push_its_list_again(
    broker: Broker, registry: RegistryDouble
) -> None:
    draft = await run(broker, registry, "one", run_number=110)
    await broker.push(draft["id"])
    await broker.call(
        "PATCH", f"/v1/lists/{draft['id']}", {"run_number": 11, "annotations": {"again": "yes"}}
    )
    again = await broker.push(draft["id"])
    assert registry.tags("app") == {"1": again["digest"]}


async def test_a_partly_failed_push_owns_the_tags_that_it_moved(
    broker: Broker, registry: RegistryDouble
) -> None:
    older = await run(broker, registry, "older")
    newer = await run(broker, registry, "newer", tags=["latest"])
    registry.misbehave(Status(403), times=None, method="PUT", path="/manifests/latest$")
    await broker.push(newer["id"], status=403)
    assert registry.tags("app") == {"1": newer["digest"]}
    await broker.push(older["id"], status=409)


async def test_runs_of_other_projects_are_ignored(broker: Broker, registry: RegistryDouble) -> None:
    await broker.call("POST", "/v1/projects", {"name": "other"}, status=201)
    older, newer = await run(broker, registry, "older"), await run(broker, registry, "newer")
    await broker.push(newer["id"])
    async with broker.client_with(await broker.new_token("other")) as stranger:
        body = {
            "reference": f"{registry.host}/app:1",
            "sources": [f"{registry.host}/app-linux-amd64:older"],
            "session": "x",
            "run_number": 0,
            "insecure": True,
        }
        made = (await stranger.post("/v1/lists", json=body)).json()
        reply = await stranger.post(f"/v1/lists/{made['id']}/push", json={"insecure": True})
    assert reply.status_code == 200
    assert registry.tags("app") == {"1": older["digest"]}


# --- lost platforms ---


async def test_a_push_does_not_remove_platforms_by_default(broker: Broker, registry: RegistryDouble) -> None:
    both = await run(broker, registry, "both", "linux/amd64", "linux/arm64")
    await broker.push(both["id"])
    less = await run(broker, registry, "less")
    reported = await broker.push(less["id"], status=409)
    assert reported["type"].endswith(":platforms-lost")
    assert (reported["platforms"], reported["reference"]) == (["linux/arm64"], f"{registry.host}/app:1")
    assert registry.tags("app") == {"1": both["digest"]}
    pushed = await broker.push(less["id"], allow_shrink=True)
    assert pushed["targets"][0]["difference"]["removed"] == ["linux/arm64"]
    assert registry.tags("app") == {"1": less["digest"]}


async def test_allow_shrink_can_be_an_option_of_the_list(broker: Broker, registry: RegistryDouble) -> None:
    await broker.push((await run(broker, registry, "both", "linux/amd64", "linux/arm64"))["id"])
    less = await run(broker, registry, "less", allow_shrink=True)
    await broker.push(less["id"])
    assert registry.tags("app") == {"1": less["digest"]}


async def test_the_platform_of_a_single_image_is_protected(broker: Broker, registry: RegistryDouble) -> None:
    plant_image(registry, "app", make_image_for("linux/s390x"))
    reported = await broker.push((await run(broker, registry, "other"))["id"], status=409)
    assert reported["platforms"] == ["linux/s390x"]


@pytest.mark.parametrize("what", ["no image", "gone", "rubbish"])
async def test_content_without_a_platform_is_not_a_lost_platform(
    broker: Broker, registry: RegistryDouble, what: str
) -> None:
    plain = make_image(
        seed=what, extra={"artifactType": "application/x"} if what == "no image" else None, media="oci"
    )
    plant_image(registry, "app", plain)
    if what == "rubbish":
        registry.add_manifest("app", "1", b'{"schemaVersion": 2}', plain.media_type)
    if what == "gone":
        registry.misbehave(
            Status.oci(404, "MANIFEST_UNKNOWN", "gone"), times=None, method="GET", path=plain.digest
        )
    draft = await run(broker, registry, "one", "linux/arm64")
    await broker.push(draft["id"])
    assert registry.tags("app") == {"1": draft["digest"]}


async def test_a_new_tag_is_not_guarded(broker: Broker, registry: RegistryDouble) -> None:
    draft = await run(broker, registry, "one")
    before = len(registry.journal)
    await broker.push(draft["id"])
    reads = [
        each for each in registry.journal[before:] if each.method == "GET" and "/manifests/" in each.path
    ]
    # The only read of the tag is its verification.
    assert [each.path for each in reads] == ["/v2/app/manifests/1"]


@pytest.mark.parametrize("spelled", [(str.upper, str), (str, str.upper)])
async def test_spellings_of_one_registry_name_the_same_tag(
    broker: Broker, spelled: tuple[Callable[[str], str], ...]
) -> None:
    """`LOCALHOST:1` is `localhost:1`, so an older run sees the push of the newer one."""
    async with RegistryDouble(name="localhost") as registry:
        older, newer = [
            await broker.create(
                f"{host}/app:1", *plant_images(registry, "linux/amd64", tag=name, seed=name), session=name
            )
            for name, host in zip(
                ("older", "newer"), (spell(registry.host) for spell in spelled), strict=True
            )
        ]
        await broker.push(newer["id"])
        reported = await broker.push(older["id"], status=409)
        assert reported["type"].endswith(":superseded")
        assert registry.tags("app") == {"1": newer["digest"]}


# --- tags that can't be read ---


def deny(registry: RegistryDouble, path: str, *methods: str) -> None:
    for method in methods or ("HEAD", "GET"):
        registry.misbehave(Status.oci(403, "DENIED"), times=None, method=method, path=path)


@pytest.mark.parametrize("where", ["list", "push"])
async def test_a_tag_that_the_pusher_may_not_read_is_left_alone_by_default(
    broker: Broker, registry: RegistryDouble, where: str
) -> None:
    plant_image(registry, "app", make_image_for("linux/arm64"), tag="1")
    held = registry.tags("app")
    allowed = {"allow_unverified": True}
    draft = await run(broker, registry, "one", **(allowed if where == "list" else {}))
    careful = draft if where == "push" else await run(broker, registry, "two")
    deny(registry, "/app/manifests/")
    planned = await broker.call("POST", f"/v1/lists/{careful['id']}/plan", {"insecure": True})
    assert planned["problem"]["type"].endswith(":tag-unreadable")
    assert "could not be read" in planned["problem"]["detail"]
    (tag,) = planned["targets"][0]["tags"]
    assert (tag["action"], tag["unreadable"]) == ("left", True)
    assert [each["code"] for each in planned["findings"]] == ["tag-unreadable"]
    reported = await broker.push(careful["id"], status=409)
    assert reported["type"] == planned["problem"]["type"]
    assert "could not be read" in reported["detail"]
    assert registry.tags("app") == held

    pushed = await broker.push(draft["id"], **(allowed if where == "push" else {}))
    (target,) = pushed["targets"]
    assert (target["action"], target["previous_digest"]) == ("moved-unverified", None)
    assert [each["code"] for each in pushed["findings"]] == ["tag-not-verified"]
    assert registry.tags("app") == {"1": draft["digest"]}
    assert await broker.call("GET", f"/v1/pushes/{pushed['id']}") == pushed
    events = (await broker.call("GET", "/v1/events/history?limit=200"))["items"]
    (event,) = [each for each in events if each["type"] == "list.pushed"]
    assert event["data"]["targets"][0]["action"] == "moved-unverified"


@pytest.mark.parametrize(
    "answer", [Status.oci(404, "MANIFEST_UNKNOWN"), Status.oci(405, "UNSUPPORTED"), Status(451)]
)
async def test_a_tag_that_the_registry_hides_is_left_alone_by_default(
    broker: Broker, registry: RegistryDouble, answer: Status
) -> None:
    plant_image(registry, "app", make_image_for("linux/arm64"), tag="1")
    held = registry.tags("app")
    draft = await run(broker, registry, "one")
    for method in ("HEAD", "GET"):
        registry.misbehave(answer, times=None, method=method, path="/app/manifests/", optional=True)
    planned = await broker.call("POST", f"/v1/lists/{draft['id']}/plan", {"insecure": True})
    assert planned["problem"]["type"].endswith(":tag-unreadable")
    reported = await broker.push(draft["id"], status=409)
    assert reported["type"].endswith(":tag-unreadable")
    assert registry.tags("app") == held
    pushed = await broker.push(draft["id"], allow_unverified=True)
    assert pushed["targets"][0]["action"] == "moved-unverified"
    assert [each["code"] for each in pushed["findings"]] == ["tag-not-verified"]
    assert registry.tags("app") == {"1": draft["digest"]}


@pytest.mark.parametrize("conditions", [{"if_absent": True}, {"if_digest": "sha256:" + "0" * 64}])
async def test_a_condition_on_a_tag_that_can_not_be_read_is_not_met(
    broker: Broker, registry: RegistryDouble, conditions: Json
) -> None:
    plant_image(registry, "app", make_image_for("linux/arm64"), tag="1")
    draft = await run(broker, registry, "one")
    deny(registry, "/app/manifests/")
    await broker.push(draft["id"], status=409, allow_unverified=True, **conditions)
    assert draft["digest"] not in registry.tags("app").values()


@pytest.mark.parametrize("denied", ["manifest", "config"])
async def test_a_tag_whose_platforms_can_not_be_read_is_left_alone_by_default(
    broker: Broker, registry: RegistryDouble, denied: str
) -> None:
    """The digest of the tag is known, and not what it would lose."""
    image = make_image_for("linux/arm64")
    plant_image(registry, "app", image, tag="1")
    draft = await run(broker, registry, "one")
    if denied == "manifest":
        registry.misbehave(
            Status.oci(403, "DENIED"), times=None, method="GET", path=f"/app/manifests/{image.digest}"
        )
    else:
        deny(registry, f"/app/blobs/{image.config_digest}", "GET")
    reported = await broker.push(draft["id"], status=409)
    assert reported["type"].endswith(":tag-unreadable")
    pushed = await broker.push(draft["id"], allow_unverified=True)
    assert pushed["targets"][0]["action"] == "moved"


async def test_a_push_that_fails_after_a_tag_has_moved_says_so(
    broker: Broker, registry: RegistryDouble
) -> None:
    draft = await run(broker, registry, "one", tags=["latest"])
    registry.misbehave(Status(403), times=None, method="PUT", path="/manifests/latest$")
    await broker.push(draft["id"], status=403)
    (failed,) = (await broker.call("GET", "/v1/pushes"))["items"]
    assert failed["state"] == "failed"
    assert [(each["reference"], each["action"]) for each in failed["targets"]] == [
        (f"{registry.host}/app:1", "moved")
    ]
    events = (await broker.call("GET", "/v1/events/history?limit=200"))["items"]
    (event,) = [each for each in events if each["type"] == "push.failed"]
    assert event["data"]["targets"][0]["action"] == "moved"


async def test_a_push_that_fails_to_read_a_tag_back_says_that_it_moved(
    broker: Broker, registry: RegistryDouble
) -> None:
    draft = await run(broker, registry, "one")
    registry.misbehave(Status.oci(403, "DENIED"), times=None, method="GET", path="/app/manifests/1$")
    reported = await broker.push(draft["id"], status=403)
    assert reported["targets"][0]["tags"]["moved-unverified"] == ["1"]
    (failed,) = (await broker.call("GET", "/v1/pushes"))["items"]
    assert failed["targets"][0]["action"] == "moved-unverified"
    assert registry.tags("app") == {"1": draft["digest"]}
