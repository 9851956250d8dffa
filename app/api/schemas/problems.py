"""Problem documents."""

from __future__ import annotations

from pydantic import Field

from app.api.schemas.common import Document


class ProblemField(Document):
    """One thing wrong with what was sent, or one source that failed."""

    pointer: str = Field(
        description="JSON pointer into the body (RFC 6901), or `query:name`, `header:Name`, `path:name`."
    )
    detail: str
    code: str | None = Field(None, description="For a source that failed: the code of its own problem.")
    reference: str | None = None


class ReachedBlobs(Document):
    """How many were there; the total grows while manifests are looked up."""

    done: int
    total: int


class ReachedManifests(Document):
    """Where the manifests are that the index lists, by digest."""

    put: list[str] = Field(description="Put by this push.")
    present: list[str] = Field(description="There already.")
    left: list[str] = Field(description="Not known to be there.")


class ReachedTags(Document):
    """Which tags lead to the index; where it was to go without a tag, its digest stands for one."""

    moved: list[str]
    left: list[str] = Field(description="Not known to have been moved.")


class ReachedTarget(Document):
    """How far a push that did not succeed had come in one repository, all its attempts together."""

    repository: str
    blobs: ReachedBlobs
    manifests: ReachedManifests
    tags: ReachedTags


class Problem(Document):
    """What went wrong (RFC 9457). `type` is stable; decide by it, not by the texts."""

    type: str = Field(examples=["urn:manifest-broker:problem:list-exists"])
    title: str
    status: int
    detail: str
    instance: str | None = Field(None, description="The path that was called, or the operation that failed.")
    errors: list[ProblemField] | None = None
    reference: str | None = Field(None, description="The image reference that it is about.")
    registry: str | None = Field(None, description="The registry that it is about.")
    upstream_status: int | None = Field(
        None, description="The HTTP status of the registry, or of a receiver."
    )
    upstream_code: str | None = Field(
        None, description="The registry's error code, such as MANIFEST_UNKNOWN."
    )
    retry_after: float | None = Field(None, description="Seconds.")
    list_id: str | None = None
    operation_id: str | None = None
    targets: list[ReachedTarget] | None = Field(
        None, description="Of a push that failed or was cancelled: what had been put where by then."
    )
