"""Pushes of several projects to one tag: they exclude each other only while the tag moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from sqlalchemy import select, text, update

from app.errors import RegistryTimeout
from app.lists.push_plan import PushPlan
from app.lists.pushes import Push
from app.lists.run_order import RunOrder
from app.lists.targets import PushTarget
from app.oci import media_types
from app.oci.manifest import Manifest
from app.oci.reference import parse_reference
from app.operations import tag_leases as rules
from app.operations.capacity import FreeSlots
from app.operations.retries import RetryPolicy
from app.operations.tag_leases import LONGEST_CONTESTED
from app.services.pushes import tag_leases as module
from app.services.pushes.tag_leases import PushTagLeases
from app.store import queue, tag_leases
from app.store.database import Database
from app.store.notifications import Notifications
from app.store.row_security.scopes import SYSTEM
from app.store.tables import tag_leases as table
from tests.support.broker import Broker, Client, check_problem
from tests.support.operation_queue import HOUR, enqueued, new_project, until
from tests.support.planted_images import plant_images, wait_until_held
from tests.support.registry import Hold, RegistryDouble, Status

pytestmark = pytest.mark.slow

Json = dict[str, Any]
# A registry that asks for a pause is waited for.
PATIENT = RetryPolicy(max_attempts=5, base=0.01, cap=0.05)
MOVE = "/manifests/1$"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TAG = parse_reference("registry.example/app:1")
INDEX = Manifest.of(media_types.OCI_INDEX, b"{}")


class Project:
    """The calls of one project."""

    def __init__(self, name: str, client: Client, registry: RegistryDouble) -> None:
        self.name = name
        self.client = client
        self.registry = registry

    async def create(self, *platforms: str, **members: Any) -> Json:
        """A list for the tag that all projects push, of the project's own images."""
        sources = plant_images(self.registry, *(platforms or ("linux/amd64",)), tag=self.name, seed=self.name)
        body = {"reference": f"{self.registry.host}/app:1", "sources": sources, "insecure": True, **members}
        reply = await self.client.post("/v1/lists", json=body)
        assert reply.status_code == 201, reply.text
        made: Json = reply.json()
        return made

    async def start(self, draft: Json, **members: Any) -> str:
        body = {"insecure": True, **members}
        headers = {"Prefer": "respond-async"}
        reply = await self.client.post(f"/v1/lists/{draft['id']}/push", json=body, headers=headers)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["id"])

    async def push(self, draft: Json, **members: Any) -> httpx2.Response:
        return await self.client.post(f"/v1/lists/{draft['id']}/push", json={"insecure": True, **members})

    async def operation(self, operation_id: str) -> Json:
        found: Json = (await self.client.get(f"/v1/operations/{operation_id}")).json()
        return found

    async def ended(self, operation_id: str) -> Json:
        async with self.client.stream("GET", f"/v1/operations/{operation_id}/events") as reply:
            async for _line in reply.aiter_lines():
                pass
        return await self.operation(operation_id)

    async def has_event(self, operation_id: str, kind: str) -> bool:
        async with asyncio.timeout(120):
            async with self.client.stream("GET", f"/v1/operations/{operation_id}/events") as reply:
                async for line in reply.aiter_lines():
                    if line == f"event: {kind}":
                        return True
        return False


@pytest.fixture
async def patient(database_url: str) -> AsyncIterator[Broker]:
    async with Broker(database_url, policy=PATIENT) as running:
        yield running


@pytest.fixture
async def ours(patient: Broker, registry: RegistryDouble) -> AsyncIterator[Project]:
    async with patient.client_with(patient.token) as client:
        yield Project("ours", client, registry)


@pytest.fixture
async def theirs(patient: Broker, registry: RegistryDouble) -> AsyncIterator[Project]:
    await patient.call("POST", "/v1/projects", {"name": "theirs"}, status=201)
    async with patient.client_with(await patient.new_token("theirs")) as client:
        yield Project("theirs", client, registry)


@pytest.fixture
async def elsewhere() -> AsyncIterator[RegistryDouble]:
    """A registry that the other project controls."""
    async with RegistryDouble() as double:
        yield double


def held(registry: RegistryDouble, path: str = MOVE, *, method: str = "PUT") -> Hold:
    hold = Hold()
    registry.misbehave(hold, method=method, path=path)
    return hold


# --- what holds nobody ---


async def push(project: Project, draft: Json) -> Json:
    """The push of a list, to its end."""
    reply = await project.push(draft)
    assert reply.status_code == 200, reply.text
    found: Json = reply.json()
    return found


async def push_when_complete(project: Project, draft: Json) -> Json:
    """The push that the completion of another list starts."""
    sources = [each["reference"] for each in draft["entries"]]
    body = {
        "reference": draft["reference"],
        "sources": sources,
        "session": "complete",
        "expected_platforms": ["linux/amd64"],
        "push_when_complete": True,
        "insecure": True,
    }
    reply = await project.client.post("/v1/lists", json=body)
    assert reply.status_code == 201, reply.text
    path = f"/v1/lists/{reply.json()['id']}?wait_for=pushed"
    reply = await project.client.get(path, headers={"Prefer": "wait=30"})
    assert reply.status_code == 200, reply.text
    found: Json = reply.json()
    return found


async def restore(project: Project, draft: Json) -> Json:
    """A push, and the restoring of it."""
    pushed = await push(project, draft)
    reply = await project.client.post(f"/v1/pushes/{pushed['id']}/restore", json={"insecure": True})
    assert reply.status_code == 200, reply.text
    found: Json = reply.json()
    return found


async def park(theirs: Project, elsewhere: RegistryDouble) -> str:
    """A push to our tag and to a registry that asks for a long pause."""
    elsewhere.misbehave(Status(503, headers={"Retry-After": "300"}), times=None)
    draft = await theirs.create()
    started = await theirs.start(draft, targets=[f"{elsewhere.host}/any:1"])
    assert await theirs.has_event(started, "parked")
    return started


@pytest.mark.parametrize("act", [push, push_when_complete, restore])
async def test_a_parked_push_of_another_project_holds_no_push_of_its_tag(
    ours: Project,
    theirs: Project,
    elsewhere: RegistryDouble,
    act: Callable[[Project, Json], Awaitable[Json]],
) -> None:
    parked = await park(theirs, elsewhere)
    draft = await ours.create()
    await act(ours, draft)
    assert ours.registry.tags("app")["1"] == draft["digest"]
    assert (await theirs.operation(parked))["state"] == "queued"


async def test_many_queued_pushes_of_another_project_hold_no_push_of_their_tag(
    ours: Project, theirs: Project, elsewhere: RegistryDouble
) -> None:
    await park(theirs, elsewhere)
    more = await theirs.create(session="more")
    for _ in range(5):
        await theirs.start(more)
    draft = await ours.create()
    await push(ours, draft)
    assert ours.registry.tags("app") == {"1": draft["digest"]}


async def test_a_push_of_another_project_that_is_being_staged_holds_no_push_of_its_tag(
    ours: Project, theirs: Project, registry: RegistryDouble
) -> None:
    staging = held(registry, "/v2/app/manifests/sha256:")
    started = await theirs.start(await theirs.create())
    await wait_until_held(staging)
    draft = await ours.create()
    await push(ours, draft)
    assert registry.tags("app") == {"1": draft["digest"]}
    now = await theirs.operation(started)
    assert (now["state"], now["attempts"]) == ("running", 1)
    staging.gate.set()
    await theirs.ended(started)


async def test_a_registry_that_hangs_at_one_tag_of_a_push_holds_no_other_tag_of_it(
    ours: Project, theirs: Project, elsewhere: RegistryDouble
) -> None:
    hanging = held(elsewhere)
    started = await theirs.start(await theirs.create(), targets=[f"{elsewhere.host}/any:1"])
    await wait_until_held(hanging)
    draft = await ours.create()
    await push(ours, draft)
    assert ours.registry.tags("app") == {"1": draft["digest"]}
    now = await theirs.operation(started)
    assert (now["state"], now["attempts"]) == ("running", 1)
    hanging.gate.set()
    assert (await theirs.ended(started))["state"] == "succeeded"
    assert ours.registry.tags("app") == {"1": draft["digest"]}


async def test_a_push_of_another_project_that_may_not_write_never_asks_for_the_tag(
    ours: Project, theirs: Project, registry: RegistryDouble
) -> None:
    draft = await ours.create()
    await push(ours, draft)
    # All that the other project lists is in the repository already, so that staging writes nothing.
    child = draft["entries"][0]["descriptor"]["digest"]
    stranger = await theirs.client.post(
        "/v1/lists",
        json={
            "reference": f"{registry.host}/app:1",
            "sources": [f"{registry.host}/app@{child}"],
            "annotations": {"by": "them"},
            "format": "oci",
            "insecure": True,
        },
    )
    registry.forget()
    registry.misbehave(Status.oci(403, "DENIED"), times=None, method="PUT")
    check_problem(await theirs.push(stranger.json()), 403)
    puts = [each.path for each in registry.received("PUT", "/manifests/")]
    assert puts
    assert not [path for path in puts if path.endswith("/manifests/1")]
    assert registry.tags("app") == {"1": draft["digest"]}


# --- leases ---


async def test_two_projects_move_a_tag_one_after_the_other_and_the_later_one_wins(
    ours: Project, theirs: Project, registry: RegistryDouble, database: Database
) -> None:
    moving = held(registry)
    first, second = await ours.create(), await theirs.create()
    started = await ours.start(first)
    await wait_until_held(moving)
    later = await theirs.start(second)
    await until(lambda: waits(database))
    assert len(registry.received("PUT", "/app/manifests/1")) == 1
    moving.gate.set()
    for project, operation_id in ((ours, started), (theirs, later)):
        assert (await project.ended(operation_id))["state"] == "succeeded"
    assert registry.tags("app") == {"1": second["digest"]}


def child_of(draft: Json) -> str:
    return str(draft["entries"][0]["descriptor"]["digest"])


async def test_a_push_that_comes_after_a_later_accepted_one_of_another_project_is_superseded(
    ours: Project, theirs: Project, registry: RegistryDouble
) -> None:
    first, second = await ours.create(), await theirs.create()
    staging = held(registry, f"/v2/app/manifests/{child_of(first)}")
    started = await ours.start(first, allow_older=True)
    await wait_until_held(staging)
    await push(theirs, second)
    staging.gate.set()
    problem = (await ours.ended(started))["problem"]
    assert problem["type"].endswith(":superseded")
    assert not {"push_id", "list_id", "digest"} & set(problem)
    assert registry.tags("app") == {"1": second["digest"]}
    # A new push is the latest again.
    await push(ours, first)
    assert registry.tags("app") == {"1": first["digest"]}


async def test_a_further_tag_is_left_to_a_later_accepted_push_of_another_project(
    ours: Project, theirs: Project, registry: RegistryDouble
) -> None:
    own = f"{registry.host}/app:own"
    first, second = await ours.create(reference=own, tags=["1"]), await theirs.create()
    staging = held(registry, f"/v2/app/manifests/{child_of(first)}")
    started = await ours.start(first)
    await wait_until_held(staging)
    await push(theirs, second)
    staging.gate.set()
    ended = await ours.ended(started)
    actions = {each["reference"]: each["action"] for each in ended["result"]["targets"]}
    assert actions == {own: "moved", f"{registry.host}/app:1": "left"}
    assert registry.tags("app") == {"1": second["digest"], "own": first["digest"]}


def sources_of(draft: Json) -> list[str]:
    return [each["reference"] for each in draft["entries"]]


async def test_a_later_accepted_push_of_the_same_content_supersedes_nobody(
    ours: Project, theirs: Project, registry: RegistryDouble
) -> None:
    first = await ours.create()
    body = {"reference": first["reference"], "sources": sources_of(first), "insecure": True}
    same = (await theirs.client.post("/v1/lists", json=body)).json()
    assert same["digest"] == first["digest"]
    staging = held(registry, f"/v2/app/manifests/{child_of(first)}")
    started = await ours.start(first)
    await wait_until_held(staging)
    await push(theirs, same)
    staging.gate.set()
    assert (await ours.ended(started))["state"] == "succeeded"


@pytest.mark.parametrize("condition", ["if_digest", "shrink"])
async def test_a_tag_that_another_project_moved_during_the_wait_is_judged_again(
    ours: Project, theirs: Project, registry: RegistryDouble, condition: str
) -> None:
    before = await ours.create(session="before")
    await push(ours, before)
    moved = await theirs.create("linux/amd64", "linux/arm64")
    draft = await ours.create(annotations={"new": "yes"}, format="oci")
    moving = held(registry)
    their_push = await theirs.start(moved)
    await wait_until_held(moving)
    members = {"if_digest": before["digest"]} if condition == "if_digest" else {}
    our_push = await ours.start(draft, **members)
    await registry.until(lambda: len(registry.received("PUT", f"/manifests/{draft['digest']}")) == 1)
    moving.gate.set()
    assert (await theirs.ended(their_push))["state"] == "succeeded"
    problem = (await ours.ended(our_push))["problem"]
    assert problem["type"].endswith(":tag-moved" if condition == "if_digest" else ":platforms-lost")
    assert registry.tags("app") == {"1": moved["digest"]}


async def test_a_push_that_is_cancelled_while_it_waits_holds_nobody(
    ours: Project, theirs: Project, registry: RegistryDouble, database: Database
) -> None:
    await push(ours, await ours.create(session="before"))
    first, second = await ours.create(), await theirs.create()
    moving = held(registry)
    started = await ours.start(first)
    await wait_until_held(moving)
    waiting = await theirs.start(second)
    await until(lambda: waits(database))
    await theirs.client.post(f"/v1/operations/{waiting}/cancel")
    assert (await theirs.ended(waiting))["state"] == "cancelled"
    await until(lambda: waits_no_more(database))
    moving.gate.set()
    assert (await ours.ended(started))["state"] == "succeeded"
    assert registry.tags("app") == {"1": first["digest"]}


async def waiting_now(database: Database) -> int:
    async with database.transaction(SYSTEM) as tx:
        found = await tx.execute(text("SELECT coalesce(sum(cardinality(waiting)), 0) FROM tag_leases"))
        return int(found.scalar_one())


async def waits(database: Database) -> bool:
    return await waiting_now(database) > 0


async def waits_no_more(database: Database) -> bool:
    return await waiting_now(database) == 0


# --- the time limits of a lease ---


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short leases, long enough for a machine that is busy with others."""
    lease = timedelta(seconds=1)
    for each in (module, tag_leases, rules):
        monkeypatch.setattr(each, "LEASE", lease)
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.2)


async def leases_of(database: Database, project_id: UUID, notifications: Notifications) -> PushTagLeases:
    """Those of a push that runs."""
    operation = await enqueued(database, project_id)
    async with database.transaction(SYSTEM) as tx:
        (claimed,) = await queue.claim(tx, worker="one", free=FreeSlots(1), lease=HOUR)
    assert claimed.operation.id == operation.id
    return PushTagLeases(database, notifications, claimed.operation, planned(operation.id))


def planned(operation_id: UUID) -> Push:
    plan = PushPlan(INDEX, (), (PushTarget(TAG.repository, ("1",)),), RunOrder(NOW))
    return Push(
        id=uuid4(),
        operation_id=operation_id,
        list_id=None,
        reference=TAG,
        session="",
        labels={},
        plan=plan,
        created_by="tests",
    )


@pytest.mark.usefixtures("quick")
async def test_a_lease_lasts_while_nobody_waits_and_ends_in_time_when_others_do(
    database: Database, project_id: UUID, notifications: Notifications
) -> None:
    slow = await leases_of(database, project_id, notifications)
    other = await leases_of(database, await new_project(database), notifications)
    holding, waiting = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        async with slow.of(TAG, prove=None):
            holding.set()
            await asyncio.Event().wait()

    async def follow() -> bool:
        waiting.set()
        async with other.of(TAG, prove=None) as lease:
            lease.has_moved = True
            return lease.is_stale

    hanging = asyncio.create_task(hang())
    await holding.wait()
    # It has held the lease for long, and no other push waits.
    await age_lease(database, LONGEST_CONTESTED)
    await until(lambda: is_renewed(database))
    following = asyncio.create_task(follow())
    with pytest.raises(RegistryTimeout):
        await hanging
    assert not await following


async def age_lease(database: Database, by: timedelta) -> None:
    async with database.transaction(SYSTEM) as tx:
        await tx.execute(update(table).values(held_since=table.c.held_since - by))


async def is_renewed(database: Database) -> bool:
    """Whether the lease has been renewed since it was as old as a lease."""
    async with database.transaction(SYSTEM) as tx:
        (row,) = await tx.execute(select(table))
    return bool(row.held_until > row.held_since + LONGEST_CONTESTED + timedelta(seconds=2))


@pytest.mark.usefixtures("quick")
async def test_a_lease_after_a_long_wait_lasts_as_long_as_any(
    database: Database, project_id: UUID, notifications: Notifications
) -> None:
    slow = await leases_of(database, project_id, notifications)
    other = await leases_of(database, await new_project(database), notifications)
    started = asyncio.get_running_loop().time()
    holding = asyncio.Event()

    async def hold_for_long() -> None:
        async with slow.of(TAG, prove=None):
            holding.set()
            # Longer than a lease.
            await until(lambda: asyncio.get_running_loop().time() > started + 2)

    held = asyncio.create_task(hold_for_long())
    await holding.wait()
    async with other.of(TAG, prove=None) as lease:
        await asyncio.sleep(0)
        lease.has_moved = True
    await held
    async with database.transaction(SYSTEM) as tx:
        (row,) = await tx.execute(select(table))
    assert row.moved_by != project_id


async def test_a_failure_in_a_lease_ends_it_at_once(
    database: Database, project_id: UUID, notifications: Notifications
) -> None:
    failing = await leases_of(database, project_id, notifications)
    other = await leases_of(database, await new_project(database), notifications)
    with pytest.raises(ZeroDivisionError):
        async with failing.of(TAG, prove=None):
            raise ZeroDivisionError
    async with other.of(TAG, prove=None) as lease:
        assert not lease.is_stale


async def test_a_refused_proof_ends_the_wait(
    database: Database, project_id: UUID, notifications: Notifications
) -> None:
    holder = await leases_of(database, project_id, notifications)
    unproven = await leases_of(database, await new_project(database), notifications)

    async def prove() -> None:
        raise ZeroDivisionError

    async with holder.of(TAG, prove=None):
        with pytest.raises(ZeroDivisionError):
            async with unproven.of(TAG, prove=prove):
                pass
        assert await waits_no_more(database)
