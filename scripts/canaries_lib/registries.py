"""Registries that fail and that repeat what was sent to them, each for a credential of another kind."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from scripts.canaries_lib.secrets import Canaries
from tests.support.broker import registry_auth
from tests.support.images import make_image, plant
from tests.support.registry import RegistryDouble, Reset, Status, UploadLocation
from tests.support.registry_double.echoes import Echo, Place
from tests.support.secret_forms import FORMS

__all__ = ["Registries", "Site", "running_registries"]

IMAGES = 5
# Of each place, the share of the requests that are repeated there.
ECHOES = 0.04
FAULTS = 0.02
HELPER = "canaries"


@dataclass(frozen=True, slots=True)
class Site:
    """A registry, and the logins that callers send for it; none where the operator has a credential."""

    registry: RegistryDouble
    logins: tuple[Mapping[str, str], ...] = ()

    def headers(self, dice: random.Random) -> dict[str, str]:
        if not self.logins:
            return {}
        login = {**dice.choice(self.logins), "serveraddress": self.registry.host}
        return {"X-Registry-Auth": registry_auth(login)}


@dataclass(frozen=True, slots=True)
class Registries:
    sites: tuple[Site, ...]
    settings: Mapping[str, str]
    """The operator's settings for them."""


@asynccontextmanager
async def running_registries(
    canaries: Canaries, directory: Path, dice: random.Random
) -> AsyncIterator[Registries]:
    async with AsyncExitStack() as stack:

        async def start(auth: str, users: Mapping[str, str]) -> RegistryDouble:
            double = RegistryDouble(auth=auth, users=users)  # type: ignore[arg-type]
            assert double.authority is not None
            double.authority.token_prefix = canaries.issued_token
            await stack.enter_async_context(double)
            for number in range(IMAGES):
                plant(double, f"src{number}", "1", make_image(seed=number))
            misbehave(double, canaries, dice)
            return double

        basic = await start("basic", {"user": canaries.password, "odd": canaries.odd_password})
        bearer = await start("bearer", {"user": canaries.bearer_password})
        assert bearer.authority is not None
        bearer.authority.identity_tokens[canaries.identity_token] = "user"
        by_setting = await start("basic", {"user": canaries.operator_password})
        by_config = await start("bearer", {"user": canaries.operator_config})
        by_identity = await start("bearer", {"user": "unused"})
        assert by_identity.authority is not None
        by_identity.authority.identity_tokens[canaries.operator_identity_token] = "user"
        by_helper = await start("bearer", {"user": canaries.operator_helper})
        yield Registries(
            (
                Site(
                    basic,
                    (
                        {"username": "user", "password": canaries.password},
                        {"username": "odd", "password": canaries.odd_password},
                    ),
                ),
                Site(
                    bearer,
                    (
                        {"username": "user", "password": canaries.bearer_password},
                        {"identitytoken": canaries.identity_token},
                        {"registrytoken": canaries.registry_token},
                    ),
                ),
                *(Site(each) for each in (by_setting, by_config, by_identity, by_helper)),
            ),
            _settings(canaries, directory, (by_setting, by_config, by_identity, by_helper)),
        )


def misbehave(double: RegistryDouble, canaries: Canaries, dice: random.Random) -> None:
    """Repeat secrets in all forms and at all places, and fail now and then."""

    def any_form(secret: str) -> str:
        return dice.choice(list(FORMS.values()))(secret)

    always = {"times": None, "optional": True}
    for number, place in enumerate(get_args(Place)):
        echo = Echo(any_form, place)
        double.misbehave(echo, path="/v2/.+", probability=ECHOES, seed=number, **always)  # type: ignore[arg-type]
    double.misbehave(Echo(any_form, "text", 401), path="/token", probability=ECHOES, **always)  # type: ignore[arg-type]
    for fault in (Reset(), Status(500, b"out of order"), Status.oci(404, "NAME_UNKNOWN", "not here")):
        double.misbehave(fault, path="/v2/.+", probability=FAULTS, **always)  # type: ignore[arg-type]
    signed = UploadLocation(query=f"X-Amz-Signature={canaries.signature}")
    double.misbehave(signed, path="/uploads/", probability=0.5, **always)  # type: ignore[arg-type]


def _settings(canaries: Canaries, directory: Path, operators: tuple[RegistryDouble, ...]) -> dict[str, str]:
    by_setting, by_config, by_identity, by_helper = operators
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "config.json"
    login = {"username": "user", "password": canaries.operator_config}
    config.write_text(json.dumps({"auths": {by_config.host: login}, "credHelpers": {by_helper.host: HELPER}}))
    helper = directory / f"docker-credential-{HELPER}"
    answer = json.dumps({"Username": "user", "Secret": canaries.operator_helper})
    helper.write_text(f"#!/bin/sh\ncat >/dev/null\nprintf '%s' '{answer}'\n")
    helper.chmod(0o755)
    given = {
        by_setting.host: {"username": "user", "password": canaries.operator_password},
        by_identity.host: {"identity_token": canaries.operator_identity_token},
    }
    return {"BROKER_DOCKER_CONFIG": str(config), "BROKER_REGISTRY_CREDENTIALS": json.dumps(given)}
