"""Images on a registry double that most API tests start from, and waiting for a held request."""

from __future__ import annotations

import asyncio

from tests.support.images import Content, make_image_for, plant
from tests.support.registry import Hold, RegistryDouble

PATIENCE = 120.0


def plant_images(registry: RegistryDouble, *platforms: str, tag: str = "1", seed: int | str = 0) -> list[str]:
    """An image for each platform in a repository of its own; returns their references."""
    return [
        plant_image(registry, f"app-{name.replace('/', '-')}", make_image_for(name, seed=seed), tag)
        for name in platforms
    ]


def plant_image(registry: RegistryDouble, repository: str, content: Content, tag: str = "1") -> str:
    """Past the wire; returns the reference."""
    plant(registry, repository, tag, content)
    return f"{registry.host}/{repository}:{tag}"


async def wait_until_held(hold: Hold) -> None:
    """Until the broker's request is held; one that never comes fails the test instead of stopping it."""
    async with asyncio.timeout(PATIENCE):
        await hold.reached.wait()
