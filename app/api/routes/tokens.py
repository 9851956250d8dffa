"""Projects and their tokens; for admins."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Body, Query, Request, Response
from fastapi.responses import JSONResponse

from app import errors
from app.api.admission import Router
from app.api.dependencies import CallerDep, ServicesDep
from app.api.openapi import examples
from app.api.openapi.problem_responses import BODY_ERRORS, problem_responses
from app.api.pagination import DEFAULT_LIMIT, CursorQuery, LimitQuery, page_response, parse_cursor
from app.api.schemas.tokens import (
    CreateProject,
    CreateToken,
    NewToken,
    Project,
    ProjectPage,
    TokenPage,
)
from app.oci.timestamps import rfc3339
from app.projects import tokens as domain
from app.services.tokens import require_admin

router = Router(prefix="/v1", tags=["tokens"])


@router.post(
    "/projects",
    operation_id="create_project",
    status_code=201,
    response_model=Project,
    responses=problem_responses(*BODY_ERRORS, errors.Forbidden, errors.NameTaken),
)
async def create_project(
    body: Annotated[CreateProject, Body(openapi_examples=examples.CREATE_PROJECT)],
    caller: CallerDep,
    services: ServicesDep,
) -> Response:
    """Create a project."""
    require_admin(caller)
    return JSONResponse(_project(await services.tokens.create_project(body.name)), 201)


@router.get(
    "/projects",
    operation_id="list_projects",
    response_model=ProjectPage,
    responses=problem_responses(errors.Forbidden, errors.InvalidCursor),
)
async def list_projects(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    limit: LimitQuery = DEFAULT_LIMIT,
    cursor: CursorQuery = None,
) -> Response:
    """List all projects, newest first."""
    require_admin(caller)
    return await page_response(
        request,
        lambda before, number: services.tokens.page_projects(before=before, limit=number),
        limit,
        _project,
        before=parse_cursor(cursor),
    )


@router.post(
    "/tokens",
    operation_id="create_token",
    status_code=201,
    response_model=NewToken,
    responses=problem_responses(
        *BODY_ERRORS, errors.Forbidden, errors.ProjectNotFound, errors.NameTaken, errors.QuotaExceeded
    ),
)
async def create_token(
    body: Annotated[CreateToken, Body(openapi_examples=examples.CREATE_TOKEN)],
    caller: CallerDep,
    services: ServicesDep,
) -> Response:
    """Create a token. Its text is shown only in this response."""
    require_admin(caller)
    token, text = await services.tokens.create(
        body.project, body.name, admin=body.admin, expires_at=body.expires_at
    )
    return JSONResponse({**_token(token), "token": text}, 201, {"Cache-Control": "no-store"})


@router.get(
    "/tokens",
    operation_id="list_tokens",
    response_model=TokenPage,
    responses=problem_responses(errors.Forbidden, errors.InvalidCursor),
)
async def list_tokens(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    limit: LimitQuery = DEFAULT_LIMIT,
    cursor: CursorQuery = None,
) -> Response:
    """List the valid tokens of all projects, newest first. Their texts are not shown."""
    require_admin(caller)
    return await page_response(
        request,
        lambda before, number: services.tokens.page(before=before, limit=number),
        limit,
        _token,
        before=parse_cursor(cursor),
    )


@router.delete(
    "/tokens/{token_id}",
    operation_id="revoke_token",
    status_code=204,
    response_class=Response,
    responses=problem_responses(errors.Forbidden, errors.TokenNotFound),
)
async def revoke_token(
    token_id: UUID,
    caller: CallerDep,
    services: ServicesDep,
    cancel_operations: Annotated[
        bool,
        Query(description="Also cancel what the token has asked for: operations that are queued or running."),
    ] = False,
) -> Response:
    """Revoke a token immediately and permanently. Its streams and waiting calls end within seconds."""
    require_admin(caller)
    await services.tokens.revoke(token_id)
    if cancel_operations:
        await services.operations.cancel_of_token(token_id)
    return Response(status_code=204)


def _project(project: domain.Project) -> dict[str, Any]:
    return {
        "id": str(project.id),
        "name": project.name,
        "created_at": rfc3339(project.created_at),
    }


def _token(token: domain.Token) -> dict[str, Any]:
    return {
        "id": str(token.id),
        "name": token.name,
        "project": token.project,
        "admin": token.admin,
        "created_at": rfc3339(token.created_at),
        "expires_at": rfc3339(token.expires_at),
    }
