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


class ReachedStep(Document):
    """How much of one part was done."""

    done: int
    total: int


class ReachedTarget(Document):
    """How far a push that failed had come in one repository."""

    repository: str
    blobs: ReachedStep | None = None
    manifests: ReachedStep | None = None
    tags: ReachedStep | None = None


class Problem(Document):
    """What went wrong (RFC 9457). `type` is stable; decide by it, not by the texts."""

    type: str = Field(examples=["urn:manifest-broker:problem:list-exists"])
    title: str
    status: int
    detail: str
    instance: str | None = Field(None, description="The path that was called.")
    errors: list[ProblemField] | None = None
    reference: str | None = Field(None, description="The image reference that it is about.")
    registry: str | None = Field(None, description="The registry that it is about.")
    upstream_status: int | None = Field(None, description="The registry's HTTP status.")
    upstream_code: str | None = Field(
        None, description="The registry's error code, such as MANIFEST_UNKNOWN."
    )
    retry_after: float | None = Field(None, description="Seconds.")
    list_id: str | None = None
    operation_id: str | None = None
    targets: list[ReachedTarget] | None = Field(
        None, description="Of a push that failed: what had been put where by then."
    )
