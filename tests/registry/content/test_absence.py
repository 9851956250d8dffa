"""Whether a denied tag does not exist."""

from __future__ import annotations

import json

import pytest

from app.registry.auth.scope import pulling
from app.registry.content.absence import is_absent
from tests.support.images import make_image, plant
from tests.support.registry import Html, RegistryDouble, Status, WithHeaders
from tests.support.registry_clients import INSECURE, connect, repository_at

IMAGE = make_image(seed="absence")
LIST = "/app/tags/list$"
TYPE = {"Content-Type": "application/json"}


async def absent(registry: RegistryDouble, tag: str = "1", *, can_read: bool = False) -> bool:
    async with connect() as client:
        remote = client.remote(repository_at(registry, "app"), INSECURE)
        return await is_absent(remote, tag, scopes=pulling("app"), can_read=can_read)


@pytest.mark.parametrize("per_page", [None, 1, 2])
async def test_the_whole_list_of_tags_decides(registry: RegistryDouble, per_page: int | None) -> None:
    registry.rules.tags_per_page = per_page
    for tag in ("0", "1", "a", "b", "c"):
        plant(registry, "app", tag, IMAGE)
    assert [await absent(registry, tag) for tag in ("1", "c", "2", "d")] == [False, False, True, True]


@pytest.mark.parametrize("tags", [[], None])
async def test_an_empty_list_has_no_tag(registry: RegistryDouble, tags: object) -> None:
    registry.misbehave(Status(200, json.dumps({"name": "app", "tags": tags}).encode(), TYPE), path=LIST)
    assert await absent(registry)


async def test_a_repository_that_is_not_known_has_no_tag(registry: RegistryDouble) -> None:
    assert await absent(registry)


@pytest.mark.parametrize(
    "fault",
    [
        Status.oci(403, "DENIED"),
        Status.oci(401, "UNAUTHORIZED"),
        Status(404, b"404 page not found"),
        Status.oci(405, "UNSUPPORTED"),
        Status(200, b'{"name":"app"}', TYPE),
        Status(200, b'{"tags":"1"}', TYPE),
        Status(200, b"[]", TYPE),
        Status(200, b"no JSON", TYPE),
        Html(),
        WithHeaders({"Link": '<https://else.test/>; rel="next"'}),
    ],
)
async def test_without_the_whole_list_nothing_is_known(
    registry: RegistryDouble, fault: Status | Html | WithHeaders
) -> None:
    plant(registry, "app", "other", IMAGE)
    registry.misbehave(fault, path=LIST, times=None)
    assert not await absent(registry)
    assert not await absent(registry, can_read=True)


async def test_a_registry_that_denies_any_missing_tag_is_believed_by_who_can_read(
    registry: RegistryDouble,
) -> None:
    registry.misbehave(Status.oci(403, "DENIED"), path="/app/", times=None)
    assert [await absent(registry, can_read=can) for can in (True, False)] == [True, False]
