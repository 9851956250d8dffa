"""The history of pushes."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body, Depends, Query, Request, Response
from fastapi.responses import JSONResponse

from app import errors
from app.api import examples
from app.api.admission import Router
from app.api.answers import MANIFEST, answer, answers, json_answer
from app.api.context import CallDep, CallerDep, ServicesDep
from app.api.filters import LabelQuery, SinceQuery, UntilQuery, parse_labels
from app.api.pagination import DEFAULT_LIMIT, CursorQuery, LimitQuery, page_response, parse_cursor
from app.api.preferences import PUSH_SECONDS, Wait, waits
from app.api.problems import BODY, REGISTRY, problems
from app.api.references import canonical_query
from app.api.schemas.common import Text
from app.api.schemas.pushes import Push, PushPage, RestorePush, push_answer
from app.lists.push_plan import Conditions
from app.lists.source import at
from app.oci import media_types
from app.oci.digest import parse_digest
from app.store.pushes import PushFilter, PushState

router = Router(prefix="/v1/pushes", tags=["pushes"])

PushWaitDep = Annotated[Wait, Depends(waits(PUSH_SECONDS))]


@router.get(
    "",
    operation_id="list_pushes",
    response_model=PushPage,
    responses=problems(errors.InvalidCursor, errors.InvalidReference),
)
async def list_pushes(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    reference: Annotated[Text | None, Query(description="Read as Docker reads it.")] = None,
    registry: Text | None = None,
    repository: Annotated[Text | None, Query(description="The path, without the registry.")] = None,
    session: Text | None = None,
    list_id: UUID | None = None,
    state: PushState | None = None,
    label: LabelQuery = None,
    since: SinceQuery = None,
    until: UntilQuery = None,
    limit: LimitQuery = DEFAULT_LIMIT,
    cursor: CursorQuery = None,
) -> Response:
    """Page through pushes, newest first."""
    wanted = PushFilter(
        reference=canonical_query(reference),
        registry=registry,
        repository=repository,
        session=session,
        list_id=list_id,
        state=state,
        labels=parse_labels(label),
        since=since,
        until=until,
    )
    before = parse_cursor(cursor)
    found = await services.pushes.page(caller.project_id, wanted, before=before, limit=limit + 1)
    return page_response(request, found, limit, push_answer)


@router.get(
    "/{push_id}", operation_id="get_push", response_model=Push, responses=problems(errors.PushNotFound)
)
async def get_push(push_id: UUID, caller: CallerDep, services: ServicesDep) -> Response:
    """What went where, when, by whom, replacing what."""
    return JSONResponse(push_answer(await services.pushes.get(caller.project_id, push_id)))


@router.get(
    "/{push_id}/index",
    operation_id="get_pushed_index",
    response_class=Response,
    responses={
        200: {
            "description": "The index's exact bytes.",
            "content": {media_types.OCI_INDEX: MANIFEST, media_types.DOCKER_LIST: MANIFEST},
            "headers": {"Docker-Content-Digest": {"schema": {"type": "string"}}},
        },
        **problems(errors.PushNotFound),
    },
)
async def get_pushed_index(push_id: UUID, caller: CallerDep, services: ServicesDep) -> Response:
    """The exact bytes that it put, or was to put."""
    index = (await services.pushes.get(caller.project_id, push_id)).plan.index
    headers = {"Docker-Content-Digest": str(index.digest)}
    return Response(index.raw, headers=headers, media_type=index.media_type)


@router.post(
    "/{push_id}/restore",
    operation_id="restore_push",
    responses=answers(
        200,
        Push,
        "The push that has put the bytes back.",
        *BODY,
        *REGISTRY,
        errors.InvalidDigest,
        errors.PushNotFound,
        errors.PushNotRestorable,
        errors.TagMoved,
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
    """Put an earlier push's exact bytes back on all of its tags: a rollback, whatever they hold now."""
    body = body or RestorePush()
    with at("/if_digest"):
        conditions = Conditions(if_digest=parse_digest(body.if_digest) if body.if_digest else None)
    operation = await services.pushes.restore(call, push_id, conditions, insecure=body.insecure)
    return await answer(services.operations, operation, wait, json_answer(200))
