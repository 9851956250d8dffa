"""The quotas of a project."""

from __future__ import annotations

from fastapi import Response
from fastapi.responses import JSONResponse

from app.api.admission import Router
from app.api.dependencies import CallerDep, ServicesDep
from app.api.openapi.problem_responses import problem_responses
from app.api.schemas.quotas import ProjectQuota, quota_usage

router = Router(prefix="/v1/quota", tags=["quota"])


@router.get("", operation_id="get_quota", response_model=ProjectQuota, responses=problem_responses())
async def get_quota(caller: CallerDep, services: ServicesDep) -> Response:
    """Get what the project uses of each of its quotas."""
    found = await services.quotas.report(caller.project_id)
    usages = {quota.value: quota_usage(usage) for quota, usage in found.items()}
    return JSONResponse(ProjectQuota(project=caller.project, **usages).render())
