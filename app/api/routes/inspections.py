"""Inspections: `docker manifest inspect`."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import Body, Query, Response
from fastapi.responses import JSONResponse

from app import errors
from app.api.admission import Router
from app.api.dependencies import CallDep, ChangeDep, ServicesDep
from app.api.openapi import examples
from app.api.openapi.documented_responses import documented_responses
from app.api.openapi.problem_responses import BODY_ERRORS, REGISTRY_ERRORS
from app.api.operation_responses import json_result, respond_when_done
from app.api.preferences import WaitDep
from app.api.schemas.checks import checked
from app.api.schemas.common import Text
from app.api.schemas.inspections import (
    Inspected,
    InspectImage,
    InspectImages,
    InspectionOutcomes,
    InspectSource,
    render_found_list,
    render_verbose_image,
)
from app.api.schemas.operations import inspections_document
from app.oci.digest import parse_digest
from app.oci.manifest import Manifest
from app.oci.media_types import MANIFEST_TYPES
from app.oci.reference import parse_reference
from app.operations.requests import InspectImageRequest
from app.services.lists.requests import no_such_list

router = Router(prefix="/v1", tags=["inspections"])

SOURCE = (
    errors.InvalidReference,
    errors.SourceUnsupported,
    errors.SourceInvalid,
    errors.SourceTooLarge,
    errors.DigestMismatch,
)


@router.get(
    "/inspect",
    operation_id="inspect_image",
    responses=documented_responses(
        200,
        Inspected,
        "The inspection.",
        *SOURCE,
        *REGISTRY_ERRORS,
        errors.ListNotFound,
        errors.IdempotencyMismatch,
        example=examples.INSPECTION,
        raw=MANIFEST_TYPES,
    ),
)
async def inspect_image(
    call: ChangeDep,
    wait: WaitDep,
    services: ServicesDep,
    reference: Annotated[
        Text, Query(description="A reference in any form that Docker accepts."), checked(parse_reference)
    ],
    verbose: Annotated[
        bool, Query(description="Include each image of the index, as `inspect -v` does.")
    ] = False,
    raw: Annotated[
        bool, Query(description="Respond with the exact bytes of the manifest, under its own media type.")
    ] = False,
    insecure: bool = False,
    source: Annotated[
        InspectSource,
        Query(description="`auto`: look for a list with this reference first, then ask the registry."),
    ] = "auto",
    session: Annotated[Text, Query(description="The session of the list.")] = "",
) -> Response:
    """Inspect a reference: first a list with this name, as Docker does, then its registry."""
    parsed = parse_reference(reference)
    # Also where a list answers, which needs no credential.
    call.check_places([parsed.registry])
    if source != "registry":
        render = render_verbose_image if verbose and not raw else None
        found = await services.inspections.find_list(call.project_id, parsed, session, render=render)
        if found is not None and raw:
            return _exact(found.inspection.manifest)
        if found is not None:
            return Response(render_found_list(found), media_type="application/json")
        if source == "list":
            raise no_such_list(parsed)
    wanted = InspectImageRequest(str(parsed), verbose=verbose, insecure=insecure)
    operation = await services.inspections.request(call, wanted)
    return await respond_when_done(
        services.operations, operation, wait, lambda result: _render(result, raw=raw)
    )


@router.post(
    "/inspections",
    operation_id="inspect_images",
    responses=documented_responses(
        200,
        InspectionOutcomes,
        "The outcome for each reference, in the order of the request.",
        *BODY_ERRORS,
        *REGISTRY_ERRORS,
    ),
)
async def inspect_images(
    body: Annotated[InspectImages, Body(openapi_examples=examples.INSPECT_IMAGES)],
    call: CallDep,
    wait: WaitDep,
    services: ServicesDep,
) -> Response:
    """Inspect several references at their registries. Each has its own result or problem."""
    wanted = [_request(body, each) for each in body.references]
    operation = await services.inspections.request_many(call, wanted)
    render = json_result(200)
    return await respond_when_done(
        services.operations, operation, wait, lambda result: render(inspections_document(result))
    )


def _request(body: InspectImages, each: str | InspectImage) -> InspectImageRequest:
    one = (
        InspectImage(reference=each, verbose=body.verbose, insecure=body.insecure)
        if isinstance(each, str)
        else each
    )
    return InspectImageRequest(
        str(parse_reference(one.reference)), verbose=one.verbose, insecure=one.insecure
    )


def _render(result: dict[str, Any], *, raw: bool) -> Response:
    if not raw:
        return JSONResponse(result)
    content = base64.b64decode(result["raw"])
    return _exact(Manifest(result["media_type"], content, parse_digest(result["digest"])))


def _exact(manifest: Manifest) -> Response:
    headers = {"Docker-Content-Digest": str(manifest.digest)}
    return Response(manifest.raw, media_type=manifest.media_type, headers=headers)
