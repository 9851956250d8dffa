"""Lists: `docker manifest create` and `rm`, and operations that Docker has no command for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import Body, Query, Request, Response
from fastapi.responses import JSONResponse

from app import errors
from app.api.addresses import address
from app.api.admission import Router
from app.api.dependencies import CallDep, CallerDep, ChangeDep, ServicesDep
from app.api.filters import LabelQuery, SinceQuery, UntilQuery, parse_labels
from app.api.openapi import examples
from app.api.openapi.documented_responses import RAW_MANIFEST, documented_responses
from app.api.openapi.problem_responses import BODY_ERRORS, REGISTRY_ERRORS, SOURCE_ERRORS, problem_responses
from app.api.openapi.response_headers import header
from app.api.operation_responses import json_result, respond_when_done
from app.api.pagination import DEFAULT_LIMIT, CursorQuery, LimitQuery, page_response, parse_cursor
from app.api.preconditions import NOT_MODIFIED, IfMatchDep, IfNoneMatchDep, etag, unless_known
from app.api.preferences import PushWaitDep, WaitDep
from app.api.references import ReferenceQuery, canonical
from app.api.schemas.common import Text
from app.api.schemas.list_requests import CreateList, DeleteLists, ListOptions, RefreshList
from app.api.schemas.lists import Deletion, Deletions, DraftList, DraftListPage, RefreshedList, render_list
from app.api.schemas.problems import render_recorded
from app.lists.draft import ListState
from app.lists.views import ListFilter, ListView
from app.oci import media_types
from app.operations.requests import RefreshListRequest
from app.services.lists.requests import Goal

router = Router(prefix="/v1/lists", tags=["lists"])

OPTIONS = (errors.InvalidPlatform, errors.UnsupportedPlatform, errors.InvalidAnnotation)
# The problems of a list that a caller waits for.
GOALS = (
    errors.ListNotFound,
    errors.ListFailed,
    errors.ListIncomplete,
    errors.BuildFailed,
    errors.ListNotPushable,
    errors.Superseded,
    errors.PlatformsLost,
    errors.TagUnreadable,
    errors.TagMoved,
    errors.TagImmutable,
    errors.PushNotVerified,
    errors.SourceUnusable,
    errors.SourceInvalid,
    errors.SourceTooLarge,
    errors.DigestMismatch,
)
CHANGES = (errors.ListNotFound, errors.RevisionChanged)


@router.post(
    "",
    operation_id="create_list",
    status_code=201,
    responses=documented_responses(
        201,
        DraftList,
        "The list.",
        *BODY_ERRORS,
        *SOURCE_ERRORS,
        *REGISTRY_ERRORS,
        errors.ListExists,
        errors.DuplicatePlatform,
        errors.MixedRevisions,
        errors.QuotaExceeded,
    ),
)
async def create_list(
    body: Annotated[CreateList, Body(openapi_examples=examples.CREATE_LIST)],
    call: CallDep,
    wait: WaitDep,
    services: ServicesDep,
) -> Response:
    """Create a list from sources. With `amend`, create it or add to it in one call.

    The call is all or nothing: if one source can't be used, nothing is created, and the problem names each
    source that failed.
    """
    request = body.request(_changes(body))
    operation = await services.lists.create(call, request)
    return await respond_when_done(
        services.operations, operation, wait, json_result(201, _location, render_recorded)
    )


@router.get(
    "",
    operation_id="list_lists",
    response_model=DraftListPage,
    responses=problem_responses(errors.InvalidCursor, errors.InvalidReference),
)
async def list_lists(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    reference: ReferenceQuery = None,
    registry: Text | None = None,
    repository: Annotated[Text | None, Query(description="The repository path without the registry.")] = None,
    session: Text | None = None,
    state: ListState | None = None,
    label: LabelQuery = None,
    since: SinceQuery = None,
    until: UntilQuery = None,
    limit: LimitQuery = DEFAULT_LIMIT,
    cursor: CursorQuery = None,
) -> Response:
    """List lists, newest first."""
    wanted = ListFilter(
        reference=canonical(reference),
        registry=registry,
        repository=repository,
        session=session,
        state=state,
        labels=parse_labels(label),
        since=since,
        until=until,
    )
    return await page_response(
        request,
        lambda before, number: services.lists.page(caller.project_id, wanted, before=before, limit=number),
        limit,
        render_list,
        before=parse_cursor(cursor),
    )


@router.get(
    "/{list_id}",
    operation_id="get_list",
    response_model=DraftList,
    responses={
        202: {
            "model": DraftList,
            "description": "The list has not reached the state yet. Send the request again.",
        },
        **NOT_MODIFIED,
        **problem_responses(*GOALS, *REGISTRY_ERRORS),
    },
)
async def get_list(
    request: Request,
    list_id: UUID,
    caller: CallerDep,
    wait: PushWaitDep,
    services: ServicesDep,
    wait_for: Annotated[
        Goal | None,
        Query(
            description=(
                "Wait until the list reaches this state, for at most N seconds with `Prefer: wait=N` "
                "(default 60). If the list has failed, its problem is returned at once."
            )
        ),
    ] = None,
    _known: IfNoneMatchDep = None,
) -> Response:
    """Get one list: its entries, its missing platforms, and the digest of the index."""
    if wait_for is None:
        return unless_known(request, list_response(await services.lists.get(caller.project_id, list_id)))
    async with wait.unless_revoked():
        view, is_reached = await services.lists.wait(caller.project_id, list_id, wait_for, wait.seconds)
    applied = {"Preference-Applied": wait.applied} if wait.applied is not None else {}
    if is_reached:
        return list_response(view, more=applied)
    return list_response(view, HTTPStatus.ACCEPTED, {"Retry-After": "1", **applied})


@router.patch(
    "/{list_id}",
    operation_id="update_list",
    response_model=DraftList,
    responses=problem_responses(
        *BODY_ERRORS, *OPTIONS, *CHANGES, errors.RegistryForbidden, errors.QuotaExceeded
    ),
)
async def update_list(
    list_id: UUID,
    body: Annotated[ListOptions, Body(openapi_examples=examples.UPDATE_LIST)],
    change: ChangeDep,
    revisions: IfMatchDep,
    services: ServicesDep,
) -> Response:
    """Change the options of a list (JSON Merge Patch, RFC 7396: null clears)."""
    changes = _changes(body)
    return list_response(await services.lists.update(change, list_id, changes, revisions=revisions))


@router.delete(
    "/{list_id}",
    operation_id="delete_list",
    status_code=204,
    responses=problem_responses(*CHANGES),
    response_class=Response,
)
async def delete_list(
    list_id: UUID, caller: CallerDep, revisions: IfMatchDep, services: ServicesDep
) -> Response:
    """Delete the list. This changes nothing in any registry."""
    await services.lists.delete(caller.project_id, list_id, revisions=revisions)
    return Response(status_code=204)


@router.post(
    "/delete",
    operation_id="delete_lists",
    response_model=Deletions,
    responses=problem_responses(*BODY_ERRORS),
)
async def delete_lists(
    body: Annotated[DeleteLists, Body(openapi_examples=examples.DELETE_LISTS)],
    caller: CallerDep,
    services: ServicesDep,
) -> Response:
    """Delete several lists. Each has its own outcome; a failure does not stop the others."""
    outcomes = await services.lists.delete_many(caller.project_id, body.references, body.ids, body.session)
    named = len(body.references)
    results = [Deletion.from_outcome(each, is_id=at >= named) for at, each in enumerate(outcomes)]
    return JSONResponse(Deletions(results=results).render())


@router.get(
    "/{list_id}/index",
    operation_id="get_index",
    response_class=Response,
    responses={
        200: {
            "description": "The exact bytes of the index.",
            "content": {
                media_types.OCI_INDEX: RAW_MANIFEST,
                media_types.DOCKER_LIST: RAW_MANIFEST,
            },
            "headers": {"Docker-Content-Digest": {"schema": {"type": "string"}}, **header("ETag")},
        },
        **NOT_MODIFIED,
        **problem_responses(errors.ListNotFound, errors.ListNotPushable),
    },
)
async def get_index(
    request: Request,
    list_id: UUID,
    caller: CallerDep,
    services: ServicesDep,
    _known: IfNoneMatchDep = None,
) -> Response:
    """Get the exact bytes of the index that a push would put. Nothing is pushed."""
    index, revision = await services.lists.get_index(caller.project_id, list_id)
    headers = {"Docker-Content-Digest": str(index.digest), "ETag": etag(revision)}
    return unless_known(request, Response(index.raw, headers=headers, media_type=index.media_type))


@router.post(
    "/{list_id}/refresh",
    operation_id="refresh_list",
    responses=documented_responses(
        200,
        RefreshedList,
        "The list, with the old and the new digest of each entry that was resolved again.",
        *BODY_ERRORS,
        *SOURCE_ERRORS,
        *REGISTRY_ERRORS,
        *CHANGES,
        errors.DuplicatePlatform,
        errors.MixedRevisions,
        errors.QuotaExceeded,
    ),
)
async def refresh_list(
    list_id: UUID,
    call: CallDep,
    revisions: IfMatchDep,
    wait: WaitDep,
    services: ServicesDep,
    body: Annotated[RefreshList | None, Body(openapi_examples=examples.REFRESH_LIST)] = None,
) -> Response:
    """Resolve again every source that was named by a tag. Annotations stay."""
    wanted = RefreshListRequest(list_id, insecure=body is not None and body.insecure)
    operation = await services.lists.refresh(call, wanted, revisions=revisions)
    render = json_result(200, lambda result: {"ETag": etag(result["revision"])}, render_recorded)
    return await respond_when_done(services.operations, operation, wait, render)


def list_response(view: ListView, status: int = 200, more: Mapping[str, str] | None = None) -> JSONResponse:
    response = JSONResponse(render_list(view), status, more)
    response.headers["ETag"] = etag(view.revision, bytes(response.body))
    return response


def _location(result: dict[str, Any]) -> dict[str, str]:
    return {"Location": address(f"/v1/lists/{result['id']}"), "ETag": etag(result["revision"])}


def _changes(body: ListOptions) -> dict[str, Any]:
    """The options that the caller sent; durations become points in time."""
    changes = body.changes()
    now = datetime.now(UTC)
    for name, moment, seconds in (
        ("expires_in", "expires_at", body.expires_in),
        ("complete_in", "complete_by", body.complete_in),
    ):
        if name in body.model_fields_set:
            changes[moment] = (now + timedelta(seconds=seconds)).isoformat() if seconds else None
    return changes
