"""The client serves others beside a hundred harmful documents; `scripts/hostile` measures the effect."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app import errors
from scripts.bench_lib.hostile_bodies import documents
from tests.support.hostile_servers import HostileServers, reply, servers

AT_ONCE = 100


async def test_a_kept_error_keeps_no_rejected_document_in_memory(tmp_path: Path) -> None:
    """Errors wait for the end of their operation; a hundred documents of 4 MiB would wait with them."""
    async with servers(tmp_path) as made:
        body = documents()["wide numbers"]()
        made.registry.on("/manifests/", reply(body=body, Content_Type="application/json"))
        with pytest.raises(errors.SourceUnusable) as caught:
            await made.client.fetch_manifest(made.reference(), made.access)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        for entry in caught.traceback[1:]:
            assert body not in [each for each in entry.locals.values() if isinstance(each, bytes)]


async def test_a_healthy_registry_is_served_beside_a_hundred_harmful_documents(tmp_path: Path) -> None:
    async with servers(tmp_path, seconds=60.0) as made:
        harm = [make() for make in documents().values()]
        for place, body in enumerate(harm):
            made.registry.hold(
                f"/v2/harm/manifests/{place}", "application/vnd.oci.image.manifest.v1+json", body
            )
        attacks = [_attack(made, place % len(harm)) for place in range(AT_ONCE)]
        attacking = asyncio.gather(*attacks)
        for _ in range(10):
            await made.client.fetch_manifest(made.reference(), made.access)
        assert len(await attacking) == AT_ONCE


async def _attack(made: HostileServers, place: int) -> errors.BrokerError | None:
    try:
        await made.client.fetch_manifest(made.reference(f"harm:{place}"), made.access)
    except errors.BrokerError as error:
        return error
    return None
