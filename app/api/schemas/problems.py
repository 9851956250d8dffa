"""Problem documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidatorFunctionWrapHandler, field_serializer, field_validator

from app.api.problem_mapping import problem_of
from app.api.schemas.common import Document


class ProblemField(Document):
    """One error in the request, or one source that failed."""

    pointer: str = Field(
        description="A JSON pointer into the body (RFC 6901), or `query:name`, `header:Name` or `path:name`."
    )
    detail: str
    code: str | None = Field(
        None, description="Of several errors, or of a source that failed: the code of its own."
    )
    reference: str | None = None


class ReachedBlobs(Document):
    """The number of blobs that exist. The total grows while the push reads manifests."""

    done: int
    total: int


class ReachedManifests(Document):
    """The manifests of the index, by digest."""

    put: list[str] = Field(description="Put by this push.")
    present: list[str] = Field(description="Already in the repository.")
    left: list[str] = Field(description="Not known to be in the repository.")


class ReachedTags(Document):
    """The tags of the target. Without a tag, the digest of the index takes its place."""

    moved: list[str]
    moved_unverified: list[str] | None = Field(
        None,
        alias="moved-unverified",
        description="The registry took the index and did not let it be read back.",
    )
    left: list[str] = Field(description="Not known to hold the index.")


class ReachedTarget(Document):
    """The state of one repository after a push that did not succeed, over all its attempts."""

    repository: str
    blobs: ReachedBlobs
    manifests: ReachedManifests
    tags: ReachedTags


class Problem(Document):
    """A problem (RFC 9457). `type` is stable; programs must not depend on the texts."""

    type: str = Field(examples=["urn:manifest-broker:problem:list-exists"])
    title: str
    status: int
    detail: str
    instance: str | None = Field(None, description="The path of the request, or the operation that failed.")
    errors: list[ProblemField] | None = None
    reference: str | None = Field(None, description="The image reference that the problem concerns.")
    registry: str | None = Field(None, description="The registry that the problem concerns.")
    upstream_status: int | None = Field(None, description="The HTTP status of the registry or the receiver.")
    upstream_code: str | None = Field(
        None, description="The registry's error code, such as MANIFEST_UNKNOWN."
    )
    retry_after: float | None = Field(None, description="Seconds to wait before the next request.")
    list_id: str | None = None
    operation_id: str | None = None
    targets: list[ReachedTarget] | None = Field(
        None, description="For a push that failed or was cancelled: the state of each target."
    )


class WithProblem(Document):
    """A document with a member `problem`, whose members and their order are those of its error."""

    @field_validator("problem", mode="wrap", check_fields=False)
    @classmethod
    def _take_problem(cls, problem: Any, _: ValidatorFunctionWrapHandler) -> Any:
        return problem

    @field_serializer("problem", check_fields=False)
    def _give_problem(self, problem):  # type: ignore[no-untyped-def]
        return problem


def render_recorded(document: dict[str, Any]) -> dict[str, Any]:
    """The result of an operation as its worker has recorded it, with its problem as a problem document.

    Like an event it is passed on, and not written again: what a worker of a later version adds is kept.
    """
    return {**document, "problem": problem_of(document.get("problem"))}


def stored_problem(stored: Mapping[str, Any] | None) -> Any:
    """The problem document of an error that is kept without HTTP."""
    return problem_of(stored)
