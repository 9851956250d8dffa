"""FastAPI dependencies that the routes share: the services, the caller, and the call's headers."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import WithJsonSchema
from starlette.exceptions import HTTPException

from app.api.schemas.checks import checked
from app.api.wrong_tokens import WrongTokens
from app.errors import FieldError, InvalidHeader, TooManyRequests, Unauthenticated
from app.registry.auth.registry_auth import parse_registry_auths
from app.services.callers import Call, Caller, Idempotency
from app.services.events.log import Events
from app.services.health import Readiness
from app.services.inspections.requests import Inspections
from app.services.lists.requests import Lists
from app.services.operations.wait import Operations
from app.services.pushes.requests import Pushes
from app.services.quotas import Quotas
from app.services.revocations import Revocations
from app.services.stream_slots import StreamSlots
from app.services.tokens import Tokens, require_admin
from app.services.webhooks.deliveries import Deliveries
from app.services.webhooks.registrations import Webhooks


@dataclass(frozen=True, slots=True)
class BrokerServices:
    """The services that the routes call."""

    lists: Lists
    pushes: Pushes
    inspections: Inspections
    operations: Operations
    events: Events
    webhooks: Webhooks
    deliveries: Deliveries
    tokens: Tokens
    quotas: Quotas
    revocations: Revocations
    stream_slots: StreamSlots
    readiness: Readiness
    version: str


def _services(request: Request) -> BrokerServices:
    services: BrokerServices = request.app.state.services
    return services


ServicesDep = Annotated[BrokerServices, Depends(_services)]

BEARER = HTTPBearer(auto_error=False, description="The token of a project.")


async def identify(request: Request) -> Caller:
    """The caller of a request. Authentication runs once, before any other check."""
    credentials = await BEARER(request)
    if credentials is None:
        raise Unauthenticated("Send the header `Authorization: Bearer TOKEN`.")
    try:
        return await _services(request).tokens.identify(credentials.credentials)
    except Unauthenticated:
        wrong: WrongTokens = request.app.state.wrong_tokens
        seconds = wrong.count(request.client.host if request.client is not None else "")
        if seconds is None:
            raise
    raise TooManyRequests(
        "The token is unknown, or was revoked, and too many such tokens came from this address. "
        "Wait a minute before you try another token.",
        retry_after=seconds,
    )


async def admit_to_operator_pages(request: Request) -> None:
    """Restrict the API's documentation and the metrics to the callers that the operator allows."""
    match request.app.state.options.operator_pages:
        case "admin":
            require_admin(await identify(request))
        case "off":
            raise HTTPException(HTTPStatus.NOT_FOUND)


async def _caller(
    request: Request, _credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]
) -> Caller:
    caller: Caller = request.state.caller
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]

# The draft requires a structured string, but the identifiers of CI systems are printable and short.
_KEY = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")


def _parse_key(text: str) -> str:
    if not _KEY.fullmatch(text):
        detail = "An Idempotency-Key must have 1 to 255 printable ASCII characters."
        raise InvalidHeader(detail, errors=[FieldError("header:Idempotency-Key", detail)])
    return text


# Described as a string, since generators of clients accept no list in a header.
RegistryAuthHeader = Annotated[
    list[str] | None,
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "null"}]}),
    Header(
        alias="X-Registry-Auth",
        description=(
            "A registry credential for this call only, as in the Docker Engine API: base64url of a JSON "
            "object with serveraddress, and with username and password, identitytoken or registrytoken. "
            "Repeat the header, or separate its values with commas, to send up to 16 credentials. "
            "serveraddress is a registry (registry.example.com) or a path of its repositories "
            "(registry.example.com/team); the longest that covers a repository is used for it. "
            "Credentials of the call come before those of the operator."
        ),
    ),
    checked(parse_registry_auths),
]


async def _change(caller: CallerDep, x_registry_auth: RegistryAuthHeader = None) -> Call:
    """A request that changes a resource immediately and may thereby start a push."""
    registry_auth = parse_registry_auths(x_registry_auth) if x_registry_auth is not None else ()
    return Call(caller.project_id, caller.name, token_id=caller.token_id, registry_auth=registry_auth)


ChangeDep = Annotated[Call, Depends(_change)]


async def _call(
    request: Request,
    change: ChangeDep,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="For 7 days, the same key with the same request returns the same operation.",
            examples=["run-4711-amd64"],
        ),
        checked(_parse_key),
    ] = None,
) -> Call:
    """A request that starts an operation."""
    if idempotency_key is None:
        return change
    return replace(change, idempotency=Idempotency(_parse_key(idempotency_key), await _fingerprint(request)))


CallDep = Annotated[Call, Depends(_call)]


async def _fingerprint(request: Request) -> bytes:
    hashed = hashlib.sha256()
    for part in (request.method, request.scope["path"], request.url.query):
        hashed.update(part.encode() + b"\0")
    hashed.update(await request.body())
    return hashed.digest()
