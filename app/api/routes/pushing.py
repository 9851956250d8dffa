"""Pushes of a list: `docker manifest push`, planned and done."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body, Depends, Response

from app import errors
from app.api import examples
from app.api.admission import Router
from app.api.answers import answer, answers, json_answer
from app.api.context import CallDep, ServicesDep
from app.api.preconditions import IfMatchDep
from app.api.preferences import DEFAULT_SECONDS, PUSH_SECONDS, Wait, waits
from app.api.problems import BODY, REGISTRY
from app.api.references import parse_at
from app.api.schemas.pushes import Push, PushList, PushPlan, plan_answer
from app.errors import FieldError, InvalidInput
from app.lists.push_plan import Conditions, Consent
from app.lists.source import at
from app.oci.digest import parse_digest
from app.services.pushes.requests import PushRequest

router = Router(prefix="/v1/lists", tags=["lists"])

WaitDep = Annotated[Wait, Depends(waits(DEFAULT_SECONDS))]
PushWaitDep = Annotated[Wait, Depends(waits(PUSH_SECONDS))]


@router.post(
    "/{list_id}/plan",
    operation_id="plan_push",
    responses=answers(
        200,
        PushPlan,
        "What a push would do.",
        *BODY,
        *REGISTRY,
        errors.InvalidDigest,
        errors.ListNotFound,
        errors.ListNotPushable,
        errors.RevisionChanged,
        errors.DigestMismatch,
    ),
)
async def plan_push(
    list_id: UUID,
    call: CallDep,
    wait: WaitDep,
    revisions: IfMatchDep,
    services: ServicesDep,
    body: Annotated[PushList | None, Body(openapi_examples=examples.PLAN_PUSH)] = None,
) -> Response:
    """What a push with the same body would do now: nothing is put anywhere, registries are only asked."""
    operation = await services.planning.request(
        call, list_id, _wanted(body or PushList()), revisions=revisions
    )
    return await answer(services.operations, operation, wait, json_answer(200, None, plan_answer))


@router.post(
    "/{list_id}/push",
    operation_id="push_list",
    responses=answers(
        200,
        Push,
        "The push.",
        *BODY,
        *REGISTRY,
        errors.InvalidDigest,
        errors.ListNotFound,
        errors.ListNotPushable,
        errors.RevisionChanged,
        errors.Superseded,
        errors.PlatformsLost,
        errors.TagMoved,
        errors.TagImmutable,
        errors.RegistryRejected,
        errors.PushNotVerified,
        errors.DigestMismatch,
    ),
)
async def push_list(
    list_id: UUID,
    call: CallDep,
    wait: PushWaitDep,
    revisions: IfMatchDep,
    services: ServicesDep,
    body: Annotated[PushList | None, Body(openapi_examples=examples.PUSH_LIST)] = None,
) -> Response:
    """Push the list: every manifest by digest, then the index under its tags, last; then read back."""
    wanted = _wanted(body or PushList())
    operation = await services.pushes.request(call, list_id, wanted, revisions=revisions)
    return await answer(services.operations, operation, wait, json_answer(200))


def _wanted(body: PushList) -> PushRequest:
    return PushRequest(
        purge=body.purge,
        insecure=body.insecure,
        targets=tuple(parse_at(text, f"/targets/{position}") for position, text in enumerate(body.targets)),
        conditions=_conditions(body),
        consent=Consent(shrink=body.allow_shrink, older=body.allow_older),
        referrers=body.referrers,
    )


def _conditions(body: PushList) -> Conditions:
    if body.if_absent and body.if_digest is not None:
        detail = "A tag can't be absent and hold a digest: give if_absent or if_digest"
        raise InvalidInput(detail, errors=[FieldError("/if_absent", detail)])
    with at("/if_digest"):
        wanted = parse_digest(body.if_digest) if body.if_digest is not None else None
    return Conditions(if_absent=body.if_absent, if_digest=wanted)
