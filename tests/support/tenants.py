"""A project with rows in every table, made by its own calls.

Data that only the project may see contains its canary. Guessable values, such as references, contain its
name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables import metadata
from tests.support.broker import Broker
from tests.support.images import make_image_for, plant
from tests.support.postgres import ask, connected
from tests.support.registry import RegistryDouble

PLATFORMS = ("linux/amd64", "linux/arm64")
# A receiver that nothing is sent to: the project is filled while no worker runs.
URL = "https://receiver.example.com/hooks"


@dataclass(frozen=True, slots=True)
class Tenant:
    """The project, a token of it, and the ids of its rows by the name of their parameter in the API."""

    name: str
    project_id: str
    token: str
    canary: str
    ids: Mapping[str, list[str]] = field(default_factory=dict)
    references: list[str] = field(default_factory=list)

    @property
    def session(self) -> str:
        return f"session-of-{self.name}"

    @property
    def key(self) -> str:
        """The Idempotency-Key of one of its calls."""
        return f"key-of-{self.name}"


async def fill_tenant(url: str, registry: RegistryDouble, name: str, *, size: int = 1) -> Tenant:
    """Make the project; afterwards, each of its tables has at least `size` rows."""
    async with Broker(url) as broker:
        tenant = await _with_lists(broker, url, registry, name, size)
    async with Broker(url, worker=False) as idle, idle.client_with(tenant.token) as client:
        for number in range(size):
            body = {"url": f"{URL}/{tenant.canary}/{number}", "description": tenant.canary}
            made = await client.post("/v1/webhooks", json=body)
            assert made.status_code == 201, made.text
            tested = await client.post(f"/v1/webhooks/{made.json()['id']}/test")
            assert tested.status_code == 202, tested.text
        for number, list_id in enumerate(tenant.ids["list_id"]):
            headers = {
                "Prefer": "respond-async",
                "Idempotency-Key": f"{tenant.key}{f'-{number}' if number else ''}",
            }
            queued = await client.post(f"/v1/lists/{list_id}/refresh", json={}, headers=headers)
            assert queued.status_code == 202, queued.text
            headers = {"Prefer": "respond-async"}
            pushing = await client.post(f"/v1/lists/{list_id}/push", json={}, headers=headers)
            assert pushing.status_code == 202, pushing.text
    for parameter, (table, parent) in TABLES.items():
        tenant.ids[parameter].extend(await _ids(url, table, parent, tenant))
    return tenant


# By parameter: the table, and the parameter of the row that a row belongs to.
TABLES = {
    "entry_id": ("entries", "list_id"),
    "push_id": ("pushes", "list_id"),
    "operation_id": ("operations", "list_id"),
    "webhook_id": ("webhooks", None),
    "delivery_id": ("webhook_deliveries", "webhook_id"),
    "token_id": ("tokens", None),
}


async def _with_lists(broker: Broker, url: str, registry: RegistryDouble, name: str, size: int) -> Tenant:
    canary = f"canary-{name}-{uuid4().hex[:12]}"
    await broker.call("POST", "/v1/projects", {"name": name}, status=201)
    token = await broker.new_token(name, name=canary)
    project_id = str(await ask(url, f"SELECT id FROM projects WHERE name = '{name}'"))
    tenant = Tenant(name, project_id, token, canary, {each: [] for each in ("list_id", *TABLES)})
    sources = []
    repository = f"images-of-{name}"
    for platform in PLATFORMS:
        plant(registry, repository, platform.replace("/", "-"), make_image_for(platform, seed=canary))
        sources.append(f"{registry.host}/{repository}:{platform.replace('/', '-')}")
    async with broker.client_with(token) as client:
        for number in range(size):
            reference = f"{registry.host}/{repository}:list-{number}"
            body = {
                "reference": reference,
                "sources": sources,
                "insecure": True,
                "session": tenant.session,
                "labels": {"canary": canary},
            }
            made = await client.post("/v1/lists", json=body)
            assert made.status_code == 201, made.text
            tenant.ids["list_id"].append(made.json()["id"])
            tenant.references.append(reference)
            pushed = await client.post(f"/v1/lists/{made.json()['id']}/push", json={"insecure": True})
            assert pushed.status_code == 200, pushed.text
    return tenant


async def _ids(url: str, table: str, parent: str | None, tenant: Tenant) -> list[str]:
    """The ids of the rows, in the order of those that they belong to."""
    async with connected(url) as connection:
        rows = await connection.execute(
            text(
                f"SELECT id, {parent or 'NULL'} AS parent FROM {table} "
                f"WHERE project_id = '{tenant.project_id}' ORDER BY {parent or 'created_at'}, id"
            )
        )
        found = [(str(row.id), str(row.parent)) for row in rows]
    order = tenant.ids[parent] if parent is not None else ["None"]
    return [each for known in order for each, belongs_to in found if belongs_to == known]


async def rows_of(connection: AsyncConnection, tenant: Tenant) -> dict[str, Any]:
    """The rows of the project in each table, for a connection of the database's owner."""
    return {
        table.name: (await connection.execute(text(_rows_of(table.name, tenant.project_id)))).scalar_one()
        for table in metadata.sorted_tables
        if "project_id" in table.columns
    }


def _rows_of(table: str, project_id: str) -> str:
    return (
        "SELECT coalesce(string_agg(CAST(each AS text), E'\\n' ORDER BY CAST(each AS text)), '') "
        f"FROM {table} AS each WHERE project_id = '{project_id}'"
    )
