"""Pushes to several targets, with referrers, through failing registries: all tags move or none."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import pytest

from app import errors
from app.oci.digest import parse_digest
from app.oci.reference import Reference
from app.oci.referrers import referrers_tag
from app.operations.retries import RetryPolicy
from app.registry.client import Access, Credential, Keychain, Limits, RegistryClient
from app.registry.push.model import CopyChild, CopyTarget, Guard, TagSnapshot
from app.registry.push.push import push
from scripts.soak_lib.client_soak import USERS, Soak, Tally, failing_registries, operate
from tests.support.images import Image, make_image, make_index, make_referrer, plant
from tests.support.registry import RegistryDouble
from tests.support.registry_clients import LOOPBACK, QUICK, child_at, repository_at, target_at

PUSHES = int(os.environ.get("SOAK_PUSHES", "60")) // 2
POLICY = replace(RetryPolicy(), base=0.01, cap=0.05, shortest_wait=0.01)
IMAGES = [make_image(media="oci", seed=f"staged {n}") for n in range(6)]
SIGNATURES = {image.digest: [make_referrer(image, seed=n) for n in range(2)] for image in IMAGES}


@dataclass(slots=True)
class Scene:
    """Two registries, of which the second has no referrers API."""

    doubles: Sequence[RegistryDouble]
    unstaged: int = 0

    @property
    def access(self) -> Access:
        credentials = {double.host: Credential("user", USERS["user"]) for double in self.doubles}
        return Access(Keychain(credentials), insecure=True)

    def double_of(self, target: CopyTarget) -> RegistryDouble:
        return next(each for each in self.doubles if each.host == target.repository.registry)

    def is_staged(self, target: CopyTarget) -> bool:
        held = self.double_of(target).content.at(target.repository.path)
        found = held.find_manifest(str(target.index.digest))
        return found is not None and not held.missing(found[1])

    def guard_of(self, targets: Sequence[CopyTarget]) -> Guard:
        async def ask(_: TagSnapshot) -> Collection[Reference]:
            self.unstaged += sum(not self.is_staged(target) for target in targets)
            return ()

        return Guard(ask)

    def order(self, number: int, dice: random.Random) -> tuple[list[CopyTarget], list[CopyChild]]:
        images = dice.sample(IMAGES, dice.randint(1, 3))
        source = dice.choice(self.doubles)
        places = dice.sample([(double, name) for double in self.doubles for name in ("a", "b")], 3)
        targets = [target_at(double, f"{name}{number}", images, tags=("1", "2")) for double, name in places]
        return targets, [child_at(source, "shelf", image) for image in images]


@pytest.mark.parametrize("rate", [0.2, 0.01])
async def test_several_targets_move_together_despite_random_faults(
    rate: float, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Soak(PUSHES, rate, seed, replace(QUICK, attempts=Limits().attempts), POLICY)
    tally, dice = Tally(), random.Random(seed)
    async with (
        failing_registries(plan, tally) as doubles,
        RegistryClient(LOOPBACK, limits=plan.limits) as client,
    ):
        scene = Scene(doubles)
        doubles[1].rules.referrers_api = False
        for double in doubles:
            for image in IMAGES:
                shelve(double, image)
        orders = [scene.order(number, dice) for number in range(PUSHES)]
        gate = asyncio.Semaphore(8)

        async def one(number: int) -> errors.BrokerError | None:
            targets, children = orders[number]
            guard = scene.guard_of(targets)
            async with gate:
                return await operate(
                    plan,
                    tally,
                    lambda: push(client, targets, children, scene.access, guard=guard, with_referrers=True),
                    random.Random(number),
                )

        failures = [each for each in await asyncio.gather(*map(one, range(PUSHES))) if each is not None]
        tally.succeeded = PUSHES - len(failures)
        for double in doubles:
            double.behave()
        for targets, children in orders:
            await check(client, scene, targets, children)
    with capsys.disabled():
        print(f"\nseed {seed}, {PUSHES} pushes to three targets, {rate:.0%} faults: {tally}")  # noqa: T201
    assert failures == []
    assert (scene.unstaged, tally.partial) == (0, 0)


def shelve(double: RegistryDouble, image: Image) -> None:
    for content in (image, *SIGNATURES[image.digest]):
        plant(double, "shelf", None, content)
    tag = referrers_tag(parse_digest(image.digest))
    plant(double, "shelf", tag, make_index(SIGNATURES[image.digest]))


async def check(
    client: RegistryClient, scene: Scene, targets: Sequence[CopyTarget], children: Sequence[CopyChild]
) -> None:
    for target in targets:
        double = scene.double_of(target)
        tags = double.tags(target.repository.path)
        assert tags["1"] == tags["2"] == str(target.index.digest)
        assert scene.is_staged(target)
        for child in children:
            wanted = {each.digest for each in SIGNATURES[str(child.manifest.digest)]}
            repository = repository_at(double, target.repository.path)
            found = await client.list_referrers(repository, child.manifest.digest, scene.access)
            assert {str(each.digest) for each in found} == wanted
