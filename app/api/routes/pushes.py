"""Pushes: plan and push a list (`docker manifest push`), read past pushes, restore one."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body, Query, Request, Response
from fastapi.responses import JSONResponse

from app import errors
from app.api.admission import Router
from app.api.dependencies import CallDep, CallerDep, ServicesDep
from app.api.filters import LabelQuery, SinceQuery, UntilQuery, parse_labels
from app.api.openapi import examples
from app.api.openapi.documented_responses import RAW_MANIFEST, documented_responses
from app.api.openapi.problem_responses import BODY_ERRORS, REGISTRY_ERRORS, problem_responses
from app.api.operation_responses import json_result, respond_when_done
from app.api.pagination import DEFAULT_LIMIT, CursorQuery, LimitQuery, page_response, parse_cursor
from app.api.preconditions import IfMatchDep
from app.api.preferences import PushWaitDep, WaitDep
from app.api.references import ReferenceQuery, canonical
from app.api.schemas.common import Text
from app.api.schemas.problems import render_recorded
from app.api.schemas.pushes import Push, PushList, PushPage, PushPlan, RestorePush, render_push
from app.lists.push_plan import Conditions, Consent
from app.lists.pushes import PushFilter, PushState
from app.oci import media_types
from app.oci.digest import Digest, parse_digest
from app.oci.reference import parse_reference
from app.services.pushes.requests import PushRequest

list_router = Router(prefix="/v1/lists", tags=["lists"])
router = Router(prefix="/v1/pushes", tags=["pushes"])


@list_router.post(
    "/{list_id}/plan",
    operation_id="plan_push",
    responses=documented_responses(
        200,
        PushPlan,
        "The plan of the push.",
        *BODY_ERRORS,
        *REGISTRY_ERRORS,
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
    """Plan a push with the same body. The plan only reads from the registries."""
    operation = await services.pushes.plan(call, list_id, _wanted(body or PushList()), revisions=revisions)
    return await respond_when_done(
        services.operations, operation, wait, json_result(200, None, render_recorded)
    )


@list_router.post(
    "/{list_id}/push",
    operation_id="push_list",
    responses=documented_responses(
        200,
        Push,
        "The push.",
        *BODY_ERRORS,
        *REGISTRY_ERRORS,
        errors.InvalidDigest,
        errors.ListNotFound,
        errors.ListNotPushable,
        errors.RevisionChanged,
        errors.Superseded,
        errors.PlatformsLost,
        errors.TagUnreadable,
        errors.TagMoved,
        errors.TagImmutable,
        errors.RegistryRejected,
        errors.TooManyPushes,
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
    """Push the list: every manifest by digest, then the index under its tags; then verify the tags."""
    wanted = _wanted(body or PushList())
    operation = await services.pushes.request(call, list_id, wanted, revisions=revisions)
    return await respond_when_done(services.operations, operation, wait, json_result(200))


@router.get(
    "",
    operation_id="list_pushes",
    response_model=PushPage,
    responses=problem_responses(errors.InvalidCursor, errors.InvalidReference),
)
async def list_pushes(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    reference: ReferenceQuery = None,
    registry: Text | None = None,
    repository: Annotated[Text | None, Query(description="The repository path without the registry.")] = None,
    session: Text | None = None,
    list_id: UUID | None = None,
    state: PushState | None = None,
    label: LabelQuery = None,
    since: SinceQuery = None,
    until: UntilQuery = None,
    limit: LimitQuery = DEFAULT_LIMIT,
    cursor: CursorQuery = None,
) -> Response:
    """List pushes, newest first."""
    wanted = PushFilter(
        reference=canonical(reference),
        registry=registry,
        repository=repository,
        session=session,
        list_id=list_id,
        state=state,
        labels=parse_labels(label),
        since=since,
        until=until,
    )
    return await page_response(
        request,
        lambda before, number: services.pushes.page(caller.project_id, wanted, before=before, limit=number),
        limit,
        render_push,
        before=parse_cursor(cursor),
    )


@router.get(
    "/{push_id}",
    operation_id="get_push",
    response_model=Push,
    responses=problem_responses(errors.PushNotFound),
)
async def get_push(push_id: UUID, caller: CallerDep, services: ServicesDep) -> Response:
    """Get one push: its targets, its results, and the digests that it replaced."""
    return JSONResponse(render_push(await services.pushes.get(caller.project_id, push_id)))


@router.get(
    "/{push_id}/index",
    operation_id="get_pushed_index",
    response_class=Response,
    responses={
        200: {
            "description": "The exact bytes of the index.",
            "content": {media_types.OCI_INDEX: RAW_MANIFEST, media_types.DOCKER_LIST: RAW_MANIFEST},
            "headers": {"Docker-Content-Digest": {"schema": {"type": "string"}}},
        },
        **problem_responses(errors.PushNotFound),
    },
)
async def get_pushed_index(push_id: UUID, caller: CallerDep, services: ServicesDep) -> Response:
    """Get the exact bytes of the index of a push, whether or not it succeeded."""
    index = (await services.pushes.get(caller.project_id, push_id)).plan.index
    headers = {"Docker-Content-Digest": str(index.digest)}
    return Response(index.raw, headers=headers, media_type=index.media_type)


@router.post(
    "/{push_id}/restore",
    operation_id="restore_push",
    responses=documented_responses(
        200,
        Push,
        "The push that restored the earlier one.",
        *BODY_ERRORS,
        *REGISTRY_ERRORS,
        errors.TooManyPushes,
        errors.InvalidDigest,
        errors.PushNotFound,
        errors.PushNotRestorable,
        errors.TagMoved,
        errors.TagUnreadable,
        errors.TagImmutable,
        errors.PushNotVerified,
        errors.DigestMismatch,
    ),
)
async def restore_push(
    push_id: UUID,
    call: CallDep,
    wait: PushWaitDep,
    services: ServicesDep,
    body: Annotated[RestorePush | None, Body(openapi_examples=examples.RESTORE_PUSH)] = None,
) -> Response:
    """Roll back: push the exact bytes of an earlier push to all its tags, even if they have moved."""
    body = body or RestorePush()
    conditions = Conditions(if_digest=_digest(body.if_digest or None))
    operation = await services.pushes.restore(
        call, push_id, conditions, insecure=body.insecure, allow_unverified=body.allow_unverified
    )
    return await respond_when_done(services.operations, operation, wait, json_result(200))


def _wanted(body: PushList) -> PushRequest:
    return PushRequest(
        purge=body.purge,
        insecure=body.insecure,
        targets=tuple(map(parse_reference, body.targets)),
        conditions=Conditions(if_absent=body.if_absent, if_digest=_digest(body.if_digest)),
        consent=Consent(shrink=body.allow_shrink, older=body.allow_older, unverified=body.allow_unverified),
        referrers=body.referrers,
    )


def _digest(text: str | None) -> Digest | None:
    return parse_digest(text) if text is not None else None
