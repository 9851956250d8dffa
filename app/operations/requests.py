"""What operations are asked for: one type for each kind.

`request_codec` says which changes of these types workers of other versions survive.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self
from uuid import UUID

from app.operations.request_codec import Members, OperationRequest
from app.operations.states import Kind


@dataclass(frozen=True, slots=True)
class CreateListRequest(OperationRequest):
    """A list and its first sources; `options` has the list's options that were given, by their API names.

    Version 2 keeps an order, and one image for several platforms.
    """

    kind: ClassVar[Kind] = Kind.CREATE_LIST
    version: ClassVar[int] = 2

    reference: str
    sources: Sequence[Any]
    session: str = ""
    amend: bool = False
    insecure: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def required_version(self) -> int:
        """The first workers pass over `exact` and `order`, and keep only the last place of one image."""
        has_order = self.options.get("order") not in {None, "docker"}
        has_choice = has_order or self.options.get("exact") is not None
        return 2 if has_choice or _names_one_twice(self.sources) else 1

    def document(self) -> dict[str, Any]:
        return {
            "reference": self.reference,
            "sources": list(self.sources),
            "session": self.session,
            "amend": self.amend,
            "insecure": self.insecure,
            "options": dict(self.options),
        }

    @classmethod
    def parse(cls, members: Members) -> Self:
        return cls(
            reference=members.text("reference"),
            sources=members.array("sources", default=()),
            session=members.text("session", default=""),
            amend=members.flag("amend"),
            insecure=members.flag("insecure"),
            options=members.mapping("options", default={}),
        )


@dataclass(frozen=True, slots=True)
class AddEntriesRequest(OperationRequest):
    """More sources for a list. Version 2 keeps one image for several platforms."""

    kind: ClassVar[Kind] = Kind.ADD_ENTRIES
    version: ClassVar[int] = 2

    list_id: UUID
    sources: Sequence[Any]
    insecure: bool = False

    @property
    def required_version(self) -> int:
        return 2 if _names_one_twice(self.sources) else 1

    def document(self) -> dict[str, Any]:
        return {"list_id": str(self.list_id), "sources": list(self.sources), "insecure": self.insecure}

    @classmethod
    def parse(cls, members: Members) -> Self:
        return cls(members.uuid("list_id"), members.array("sources"), members.flag("insecure"))


@dataclass(frozen=True, slots=True)
class RefreshListRequest(OperationRequest):
    """Every source of a list that is named by a tag is resolved again."""

    kind: ClassVar[Kind] = Kind.REFRESH_LIST

    list_id: UUID
    insecure: bool = False

    def document(self) -> dict[str, Any]:
        return {"list_id": str(self.list_id), "insecure": self.insecure}

    @classmethod
    def parse(cls, members: Members) -> Self:
        return cls(members.uuid("list_id"), members.flag("insecure"))


@dataclass(frozen=True, slots=True)
class PushListRequest(OperationRequest):
    """The push itself is stored as a `Push`. One that `follows` was started by the completion of its list."""

    kind: ClassVar[Kind] = Kind.PUSH_LIST
    version: ClassVar[int] = 2

    purge: bool = False
    insecure: bool = False
    follows: bool = False
    # Its plan has choices, which the first workers pass over.
    has_choices: bool = False

    @property
    def required_version(self) -> int:
        return 2 if self.has_choices else 1

    def document(self) -> dict[str, Any]:
        document = {"purge": self.purge, "insecure": self.insecure, "follows": self.follows}
        return {**document, "has_choices": True} if self.has_choices else document

    @classmethod
    def parse(cls, members: Members) -> Self:
        return cls(
            members.flag("purge"),
            members.flag("insecure"),
            members.flag("follows"),
            members.flag("has_choices"),
        )


@dataclass(frozen=True, slots=True)
class PlanPushRequest(OperationRequest):
    """A push plan with its index, and what the result says of the list: both as they were on acceptance."""

    kind: ClassVar[Kind] = Kind.PLAN_PUSH
    version: ClassVar[int] = 2

    plan: Mapping[str, Any]
    media_type: str
    raw: bytes
    digest: str
    list_document: Mapping[str, Any]
    insecure: bool = False

    @property
    def required_version(self) -> int:
        """The first workers pass over the choices of a plan."""
        return 2 if self.plan.get("choices") else 1

    def document(self) -> dict[str, Any]:
        return {
            "insecure": self.insecure,
            "plan": dict(self.plan),
            "media_type": self.media_type,
            "raw": base64.b64encode(self.raw).decode(),
            "digest": self.digest,
            "list": dict(self.list_document),
        }

    @classmethod
    def parse(cls, members: Members) -> Self:
        return cls(
            plan=members.mapping("plan"),
            media_type=members.text("media_type"),
            raw=base64.b64decode(members.text("raw"), validate=True),
            digest=members.text("digest"),
            list_document=members.mapping("list"),
            insecure=members.flag("insecure"),
        )


@dataclass(frozen=True, slots=True)
class InspectImageRequest(OperationRequest):
    """One reference; `verbose` adds the manifests that it lists, or the platform of its image."""

    kind: ClassVar[Kind] = Kind.INSPECT_IMAGE

    reference: str
    verbose: bool = False
    insecure: bool = False

    def document(self) -> dict[str, Any]:
        return {"reference": self.reference, "verbose": self.verbose, "insecure": self.insecure}

    @classmethod
    def parse(cls, members: Members) -> Self:
        return cls(members.text("reference"), members.flag("verbose"), members.flag("insecure"))


@dataclass(frozen=True, slots=True)
class InspectImagesRequest(OperationRequest):
    """Several inspections with one result each."""

    kind: ClassVar[Kind] = Kind.INSPECT_IMAGES

    inspections: Sequence[InspectImageRequest]

    def document(self) -> dict[str, Any]:
        return {"inspections": [each.document() for each in self.inspections]}

    @classmethod
    def parse(cls, members: Members) -> Self:
        return cls([InspectImageRequest.parse(Members(each)) for each in members.array("inspections")])


@dataclass(frozen=True, slots=True)
class DeliverRequest(OperationRequest):
    """One delivery to one webhook."""

    kind: ClassVar[Kind] = Kind.DELIVER

    delivery_id: UUID

    def document(self) -> dict[str, Any]:
        return {"delivery_id": str(self.delivery_id)}

    @classmethod
    def parse(cls, members: Members) -> Self:
        return cls(members.uuid("delivery_id"))


def _names_one_twice(sources: Sequence[Any]) -> bool:
    """Whether one image is to stand for several platforms; workers of version 1 keep only the last."""
    names = [source if isinstance(source, str) else source.get("reference") for source in sources]
    return len(set(names)) < len(names)
