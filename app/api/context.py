"""What routes are given besides their body: the services, who calls, and what the headers ask for."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.errors import FieldError, InvalidHeader, Unauthenticated
from app.registry.credentials import Credential, parse_registry_auth
from app.services.callers import Call, Caller, Idempotency
from app.services.inspections import Inspections
from app.services.lists import Lists
from app.services.operations import Operations
from app.services.pushes import Pushes
from app.services.readiness import Readiness
from app.services.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the routes call."""

    lists: Lists
    pushes: Pushes
    inspections: Inspections
    operations: Operations
    tokens: Tokens
    readiness: Readiness
    version: str


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]

_bearer = HTTPBearer(auto_error=False, description="A token of a project.")


async def _caller(
    services: ServicesDep, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    if credentials is None:
        raise Unauthenticated("Send the header Authorization: Bearer TOKEN")
    return await services.tokens.identify(credentials.credentials)


CallerDep = Annotated[Caller, Depends(_caller)]

# The draft asks for a structured string; what CI systems have at hand is printable and short.
_KEY = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request that starts an operation, before it is known which registries it is about."""

    caller: Caller
    idempotency: Idempotency | None
    registry_auth: tuple[str | None, Credential] | None

    def call(self, registries: Iterable[str] = ()) -> Call:
        """With the caller's credential bound to the registry that it names, or to the only one there is."""
        credentials = {}
        if self.registry_auth is not None:
            host, credential = self.registry_auth
            credentials = {host or _only(set(registries)): credential}
        return Call(self.caller.project_id, self.caller.name, self.idempotency, credentials)


def _only(registries: set[str]) -> str:
    if len(registries) != 1:
        detail = (
            "serveraddress is missing, and the request is about several registries: say which one it is for"
        )
        raise InvalidHeader(detail, errors=[FieldError("header:X-Registry-Auth", detail)])
    return registries.pop()


async def _incoming(
    request: Request,
    caller: CallerDep,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="The same key with the same request is the same operation, for 7 days.",
            examples=["run-4711-amd64"],
        ),
    ] = None,
    x_registry_auth: Annotated[
        str | None,
        Header(
            alias="X-Registry-Auth",
            description=(
                "A registry credential for this call only, as in the Docker Engine API: base64url of JSON "
                "with serveraddress and username and password, identitytoken or registrytoken."
            ),
        ),
    ] = None,
) -> Incoming:
    idempotency = None
    if idempotency_key is not None:
        idempotency = Idempotency(_parse_key(idempotency_key), await _fingerprint(request))
    registry_auth = parse_registry_auth(x_registry_auth) if x_registry_auth is not None else None
    return Incoming(caller, idempotency, registry_auth)


IncomingDep = Annotated[Incoming, Depends(_incoming)]


def _parse_key(text: str) -> str:
    if not _KEY.fullmatch(text):
        detail = "An Idempotency-Key has 1 to 255 printable ASCII characters"
        raise InvalidHeader(detail, errors=[FieldError("header:Idempotency-Key", detail)])
    return text


async def _fingerprint(request: Request) -> bytes:
    hashed = hashlib.sha256()
    for part in (request.method, request.scope["path"], request.url.query):
        hashed.update(part.encode() + b"\0")
    hashed.update(await request.body())
    return hashed.digest()
