"""Calls of several callers, whose answers are searched as they arrive."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2

from scripts.canaries_lib.registries import IMAGES, Site
from scripts.canaries_lib.search import Search
from scripts.canaries_lib.secrets import Canaries

__all__ = ["Caller"]

# The answers that create a secret show it once.
_SHOWN_ONCE = {("POST", "/v1/tokens"), ("POST", "/v1/webhooks")}
_PAGES = ("/v1/operations", "/v1/lists", "/v1/pushes", "/v1/webhooks", "/v1/tokens")
_PLAIN = ("/metrics", "/openapi.json", "/docs", "/healthz", "/readyz", "/version")
_MOST_PAGES = 200


@dataclass(slots=True)
class Caller:
    """Makes random calls; `statuses` counts the answers."""

    client: httpx2.AsyncClient
    search: Search
    sites: tuple[Site, ...]
    canaries: Canaries
    dice: random.Random
    statuses: Counter[int] = field(default_factory=Counter)
    lists: list[tuple[str, Site]] = field(default_factory=list)
    number: int = 0

    async def call(self, method: str, path: str, **given: Any) -> httpx2.Response:
        reply = await self.client.request(method, path, **given)
        self.statuses[reply.status_code] += 1
        if (method, path) not in _SHOWN_ONCE and not path.endswith("/rotate"):
            head = "\n".join(f"{name}: {value}" for name, value in reply.headers.items())
            self.search.look("answers", f"{head}\n{reply.text}".encode(errors="replace"))
        return reply

    async def begin(self, receiver: str) -> None:
        """Create a token and a webhook, whose secrets are searched for from now on."""
        made = await self.call("POST", "/v1/tokens", json={"name": "ci", "project": "default"})
        self.search.add("a token of a project", made.json()["token"])
        signing = self.canaries.signing
        hook = {"url": receiver, "secret": signing(self.canaries.webhook_secret)}
        made = await self.call("POST", "/v1/webhooks", json=hook)
        rotated = {"secret": signing(self.canaries.rotated_webhook_secret)}
        await self.call("POST", f"/v1/webhooks/{made.json()['id']}/rotate", json=rotated)

    async def run(self, count: int, *, at_once: int) -> None:
        """Start so many operations, several at a time."""
        left = iter(range(count))

        async def work() -> None:
            for _ in left:
                await self._operate()

        await asyncio.gather(*(work() for _ in range(at_once)))

    async def read_everything(self) -> None:
        """Read all that callers can read in the end, page by page."""
        for path in _PLAIN:
            await self.call("GET", path)
        for path in _PAGES:
            hooks = await self._read_pages(path)
            if path == "/v1/webhooks":
                for hook in hooks:
                    await self._read_pages(f"{path}/{hook['id']}/deliveries")

    async def _read_pages(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        following: str | None = path
        for _ in range(_MOST_PAGES):
            if following is None:
                break
            reply = await self.call("GET", following, params={"limit": 200} if following == path else None)
            document = reply.json()
            items += document.get("items", [])
            following = document.get("next")
        return items

    async def _operate(self) -> None:
        dice, site = self.dice, self.dice.choice(self.sites)
        headers = site.headers(dice) if dice.random() < 0.9 else {}  # noqa: PLR2004
        kind = dice.choices(("inspect", "create", "plan", "push", "guess"), (60, 15, 8, 15, 2))[0]
        if kind in {"plan", "push"} and self.lists:
            list_id, site = dice.choice(self.lists)
            await self.call(
                "POST", f"/v1/lists/{list_id}/{kind}", json={"insecure": True}, headers=site.headers(dice)
            )
        elif kind == "create":
            await self._create(site, headers)
        elif kind == "guess":
            wrong = {"Authorization": f"Bearer {self.canaries.wrong_token}", **headers}
            await self.call("GET", "/v1/lists", headers=wrong)
        else:
            query = {"reference": self._source(site), "insecure": "true"}
            await self.call("GET", "/v1/inspect", params=query, headers=headers)

    async def _create(self, site: Site, headers: dict[str, str]) -> None:
        self.number += 1
        body = {
            "reference": f"{site.registry.host}/app{self.number}:1",
            "sources": [self._source(site)],
            "insecure": True,
        }
        reply = await self.call("POST", "/v1/lists", json=body, headers=headers)
        if reply.status_code == httpx2.codes.CREATED:
            self.lists = [*self.lists[-50:], (reply.json()["id"], site)]

    def _source(self, site: Site) -> str:
        return f"{site.registry.host}/src{self.dice.randrange(IMAGES)}:1"
