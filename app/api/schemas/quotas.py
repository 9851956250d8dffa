"""The quotas of a project."""

from __future__ import annotations

from pydantic import Field

from app.api.schemas.common import Document
from app.projects import quotas as domain


class QuotaUsage(Document):
    """How much a project uses of one quota."""

    used: int
    limit: int = Field(description="A request that would lead beyond it is refused with `quota-exceeded`.")


class ProjectQuota(Document):
    """What the project uses, and what it may use."""

    project: str
    lists: QuotaUsage
    metadata_bytes: QuotaUsage = Field(
        description="The labels and annotations of lists, and the annotations of their entries."
    )
    manifest_bytes: QuotaUsage = Field(description="The manifests of all images that lists have had.")
    webhooks: QuotaUsage
    tokens: QuotaUsage = Field(description="Live tokens.")
    events: QuotaUsage = Field(description="Beyond the limit, the oldest events are removed each minute.")


def quota_usage(usage: domain.Usage) -> QuotaUsage:
    return QuotaUsage(used=usage.used, limit=usage.limit)
