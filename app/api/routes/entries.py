"""Entries of a list: `docker manifest annotate`, `create --amend` and `inspect LIST MANIFEST`."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body, Response

from app import errors
from app.api.admission import Router
from app.api.dependencies import CallDep, CallerDep, ChangeDep, ServicesDep
from app.api.openapi import examples
from app.api.openapi.documented_responses import documented_responses
from app.api.openapi.problem_responses import BODY_ERRORS, REGISTRY_ERRORS, SOURCE_ERRORS, problem_responses
from app.api.operation_responses import json_result, respond_when_done
from app.api.preconditions import IfMatchDep, etag
from app.api.preferences import WaitDep
from app.api.routes.lists import list_response
from app.api.schemas.common import platform_input
from app.api.schemas.inspections import render_entry_inspection
from app.api.schemas.list_requests import AddEntries, AnnotateEntry, source_documents
from app.api.schemas.lists import DraftList, EntryInspection
from app.api.schemas.problems import render_recorded
from app.lists.entry_changes import EntryChanges
from app.lists.overrides import PlatformOverride
from app.lists.source import parse_override
from app.operations.requests import AddEntriesRequest

router = Router(prefix="/v1/lists/{list_id}/entries", tags=["entries"])

ENTRY = (errors.ListNotFound, errors.EntryNotFound)


@router.post(
    "",
    operation_id="add_entries",
    responses=documented_responses(
        200,
        DraftList,
        "The list.",
        *BODY_ERRORS,
        *SOURCE_ERRORS,
        *REGISTRY_ERRORS,
        errors.ListNotFound,
        errors.RevisionChanged,
        errors.DuplicatePlatform,
        errors.MixedRevisions,
        errors.QuotaExceeded,
    ),
)
async def add_entries(
    list_id: UUID,
    body: Annotated[AddEntries, Body(openapi_examples=examples.ADD_ENTRIES)],
    call: CallDep,
    revisions: IfMatchDep,
    wait: WaitDep,
    services: ServicesDep,
) -> Response:
    """Add sources to a list, all or none. A reference that the list already has is resolved again."""
    wanted = AddEntriesRequest(list_id, source_documents(body.sources), body.insecure)
    operation = await services.lists.add(call, wanted, revisions=revisions)
    render = json_result(200, lambda result: {"ETag": etag(result["revision"])}, render_recorded)
    return await respond_when_done(services.operations, operation, wait, render)


@router.get(
    "/{entry_id}",
    operation_id="get_entry",
    response_model=EntryInspection,
    responses=problem_responses(*ENTRY),
)
async def get_entry(list_id: UUID, entry_id: UUID, caller: CallerDep, services: ServicesDep) -> Response:
    """Get one entry with its exact manifest and the output of `docker manifest inspect -v LIST MANIFEST`."""
    revision, document = await services.inspections.find_entry(
        caller.project_id, list_id, entry_id, render_entry_inspection
    )
    return Response(document, headers={"ETag": etag(revision)}, media_type="application/json")


@router.patch(
    "/{entry_id}",
    operation_id="annotate_entry",
    response_model=DraftList,
    responses=problem_responses(
        *BODY_ERRORS,
        *ENTRY,
        errors.InvalidPlatform,
        errors.UnsupportedPlatform,
        errors.InvalidAnnotation,
        errors.DuplicatePlatform,
        errors.RevisionChanged,
        errors.QuotaExceeded,
    ),
)
async def annotate_entry(
    list_id: UUID,
    entry_id: UUID,
    body: Annotated[AnnotateEntry, Body(openapi_examples=examples.ANNOTATE_ENTRY)],
    change: ChangeDep,
    revisions: IfMatchDep,
    services: ServicesDep,
) -> Response:
    """Override the platform of an entry, or change its annotations (null clears)."""
    view = await services.lists.annotate(change, list_id, entry_id, _changes(body), revisions=revisions)
    return list_response(view)


@router.delete(
    "/{entry_id}",
    operation_id="remove_entry",
    response_model=DraftList,
    responses=problem_responses(*ENTRY, errors.RevisionChanged),
)
async def remove_entry(
    list_id: UUID, entry_id: UUID, change: ChangeDep, revisions: IfMatchDep, services: ServicesDep
) -> Response:
    """Remove one image and its attestations from the list."""
    view = await services.lists.remove_entry(change, list_id, entry_id, revisions=revisions)
    return list_response(view)


def _changes(body: AnnotateEntry) -> EntryChanges:
    annotations = body.annotations or {}
    override = parse_override(platform_input(body.platform)) if body.platform is not None else None
    return EntryChanges(
        override or PlatformOverride(),
        annotations,
        forget_override="platform" in body.model_fields_set and body.platform is None,
        forget_annotations="annotations" in body.model_fields_set and body.annotations is None,
    )
