"""What a row of the table is made of: a scene at the wire, what is done in it, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app import errors
from app.oci.manifest import Manifest
from app.registry.client import Access, Credential
from app.registry.push.model import CopyResult, CopyTarget
from tests.support.images import make_image, plant
from tests.support.registry import Fault, Received, RegistryDouble
from tests.support.registry_clients import INSECURE, QUICK, signed_in, target_at

USERS = {"user": "canary-5ecret"}
USER = Credential("user", "canary-5ecret")
IMAGES = [make_image(architecture=name, seed="faults") for name in ("amd64", "arm64")]
OTHER = make_image(architecture="s390x", seed="other")
CHILD = f"/manifests/{IMAGES[0].digest}$"
TAG = "/manifests/1$"
TWICE = QUICK.attempts - 1


class Act(StrEnum):
    """What is done while the registry misbehaves."""

    FETCH = "fetch"
    HEAD = "head"
    PUSH = "push"
    """To a repository of the registry that has the images in other repositories."""
    OWN = "push own"
    """To the very repository that has the images."""
    COPY = "copy"
    """From another registry."""


@dataclass(slots=True)
class Scene:
    """`registry` misbehaves; `source` is another one for a copy, and the same for all else."""

    registry: RegistryDouble
    source: RegistryDouble
    access: Access = INSECURE
    outcome: object = None

    @property
    def target(self) -> CopyTarget:
        return target_at(self.registry, "app", IMAGES)

    @property
    def index(self) -> Manifest:
        return self.target.index

    @property
    def result(self) -> CopyResult:
        assert isinstance(self.outcome, CopyResult)
        return self.outcome

    @property
    def error(self) -> errors.BrokerError:
        assert isinstance(self.outcome, errors.BrokerError)
        return self.outcome

    def sign_in(self, credential: Credential = USER) -> None:
        self.access = signed_in(self.registry.host, credential)

    def sent(self, method: str, path: str = "") -> list[Received]:
        return self.registry.received(method, path)


Arrange = Callable[[Scene], object]
Prove = Callable[[Scene], bool]


def nothing(_: Scene) -> None:
    return None


def anything(_: Scene) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Case:
    """`comes` is the problem that it must end with, or None for success."""

    row: str
    does: str
    act: Act
    arrange: Arrange
    comes: type[errors.BrokerError] | None = None
    proves: Prove = anything
    double: Mapping[str, Any] = field(default_factory=dict)
    call_seconds: float = QUICK.call_seconds
    chunk_bytes: int = QUICK.chunk_bytes

    @property
    def ends(self) -> str:
        return "succeeds" if self.comes is None else f"fails: {self.comes.code}"


def strikes(
    fault: Fault, method: str | None = None, path: str | None = None, times: int | None = TWICE
) -> Arrange:
    """The fault at these requests, by default as often as a patient client bears."""
    return lambda scene: scene.registry.misbehave(fault, method=method, path=path, times=times)


def always(fault: Fault, method: str | None = None, path: str | None = None) -> Arrange:
    return strikes(fault, method, path, None)


def trap(fault: Fault, method: str | None = None, path: str | None = None) -> Arrange:
    """A fault at requests that a correct client never makes, so it need not strike."""
    return lambda scene: scene.registry.misbehave(fault, method=method, path=path, times=None, optional=True)


def both(*arrangements: Arrange) -> Arrange:
    def arrange(scene: Scene) -> None:
        for each in arrangements:
            each(scene)

    return arrange


def says(*words: str) -> Prove:
    return lambda scene: all(word in scene.error.detail for word in words)


def sent(count: int, method: str, path: str = "") -> Prove:
    return lambda scene: len(scene.sent(method, path)) == count


def plant_other(scene: Scene) -> None:
    """The tag holds something else already."""
    plant(scene.registry, "app", "1", OTHER)
