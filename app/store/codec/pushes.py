"""Pushes: their results, how far they came, and their views.

The order of members is kept as it is, since callers and receivers of webhooks get some of these documents
byte for byte. Workers and APIs of neighbouring versions read each other's rows: a member that is missing has
its default, and one that is unknown is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from app.lists.difference import Change, Difference
from app.lists.push_result import BlobProgress, PushResult, TargetReached, TargetResult
from app.lists.pushes import PushView
from app.oci.copy_outcomes import (
    BlobCounts,
    ManifestAction,
    ManifestOutcome,
    ReferrerAction,
    ReferrerOutcome,
    TagAction,
)
from app.oci.digest import Digest, parse_digest
from app.oci.reference import Reference, Repository, parse_reference
from app.oci.timestamps import rfc3339
from app.store.codec.findings import encode_finding, read_finding
from app.store.codec.platforms import read_platform_name

Json = Mapping[str, Any]
Document = dict[str, Any]
_LEFT = TagAction.LEFT.value
_UNVERIFIED = TagAction.MOVED_UNVERIFIED.value


def optional_text(value: object | None) -> str | None:
    return str(value) if value is not None else None


def read_optional_digest(text: str | None) -> Digest | None:
    return parse_digest(text) if text else None


def read_optional_id(text: str | None) -> UUID | None:
    return UUID(text) if text else None


# --- what tags led to ---


def encode_previous(previous: Mapping[Reference, Digest | None]) -> Document:
    return {str(reference): optional_text(digest) for reference, digest in previous.items()}


def read_previous(document: Json) -> Mapping[Reference, Digest | None]:
    return {parse_reference(name): read_optional_digest(digest) for name, digest in document.items()}


def encode_difference(difference: Difference) -> Document:
    return {
        "added": [platform.full_name for platform in difference.added],
        "removed": [platform.full_name for platform in difference.removed],
        "changed": [
            {"platform": each.platform.full_name, "from": str(each.before), "to": str(each.after)}
            for each in difference.changed
        ],
    }


def _encode_kept_difference(difference: Difference) -> Document:
    """In the order that Postgres gives the members of a jsonb column, through which results have come."""
    return {
        "added": [platform.full_name for platform in difference.added],
        "changed": [
            {"to": str(each.after), "from": str(each.before), "platform": each.platform.full_name}
            for each in difference.changed
        ],
        "removed": [platform.full_name for platform in difference.removed],
    }


def read_difference(document: Json) -> Difference:
    return Difference(
        added=tuple(read_platform_name(text) for text in document["added"]),
        removed=tuple(read_platform_name(text) for text in document["removed"]),
        changed=tuple(
            Change(read_platform_name(each["platform"]), parse_digest(each["from"]), parse_digest(each["to"]))
            for each in document["changed"]
        ),
    )


def encode_differences(differences: Mapping[Reference, Difference]) -> Document:
    return {str(reference): encode_difference(each) for reference, each in differences.items()}


def read_differences(document: Json) -> Mapping[Reference, Difference]:
    return {parse_reference(name): read_difference(each) for name, each in document.items()}


# --- how far an attempt came ---


def encode_reached(reached: Iterable[TargetReached]) -> list[Document]:
    return [
        {
            "repository": str(target.repository),
            "blobs": {"done": target.blobs.done, "total": target.blobs.total},
            "manifests": {
                **{
                    action.value: [
                        str(digest) for digest, taken in target.manifests.items() if taken is action
                    ]
                    for action in ManifestAction
                },
                _LEFT: [str(digest) for digest, taken in target.manifests.items() if taken is None],
            },
            "tags": {
                action.value: names
                for action in TagAction
                if (names := _targets(target, action)) or action is not TagAction.MOVED_UNVERIFIED
            },
        }
        for target in reached
    ]


def _targets(target: TargetReached, action: TagAction) -> list[str]:
    return [reference.target for reference, taken in target.tags.items() if taken is action]


def encode_kept_reached(reached: Iterable[TargetReached]) -> list[Document]:
    """As versions before this one read it: they know of no tag that moved unverified."""
    return [_keep_reached(document) for document in encode_reached(reached)]


def _keep_reached(document: Document) -> Document:
    unverified = document["tags"].pop(_UNVERIFIED, [])
    if not unverified:
        return document
    document["tags"][TagAction.MOVED.value] += unverified
    return {**document, "unverified": unverified}


def read_reached(documents: Sequence[Json]) -> tuple[TargetReached, ...]:
    return tuple(_read_reached(document) for document in documents)


def _read_reached(document: Json) -> TargetReached:
    repository = read_repository(document["repository"])
    manifests: dict[Digest, ManifestAction | None] = {}
    for name, digests in document["manifests"].items():
        action = None if name == _LEFT else ManifestAction(name)
        manifests |= dict.fromkeys(map(parse_digest, digests), action)
    tags = {
        _read_target(repository, target): TagAction(name)
        for name, targets in document["tags"].items()
        for target in targets
    }
    tags |= {
        _read_target(repository, target): TagAction.MOVED_UNVERIFIED
        for target in document.get("unverified", ())
    }
    return TargetReached(repository, BlobProgress(**document["blobs"]), manifests, tags)


def read_repository(text: str) -> Repository:
    return parse_reference(text).repository


def _read_target(repository: Repository, text: str) -> Reference:
    return repository.at(parse_digest(text)) if ":" in text else repository.tagged(text)


# --- results ---


def encode_result(result: PushResult) -> Document:
    return {
        "targets": _encode_targets(result.targets),
        "lines": list(result.lines),
        "findings": [encode_finding(finding) for finding in result.findings],
    }


def encode_kept_result(result: PushResult) -> Document:
    """As versions before this one read it, with members of this one only where they say something.

    Those versions know of no tag that moved unverified.
    """
    document = encode_result(result)
    document["targets"] = [_keep_target(each) for each in document["targets"]]
    return {name: value for name, value in document.items() if value or name != "findings"}


def _keep_target(document: Document) -> Document:
    referrers = [_without_none(each, "tag") for each in document["referrers"]]
    kept = {**document, "referrers": referrers}
    return kept | {"action": TagAction.MOVED.value, "verified": False} if _is_unverified(kept) else kept


def _is_unverified(document: Json) -> bool:
    return bool(document["action"] == TagAction.MOVED_UNVERIFIED.value)


def _without_none(document: Json, name: str) -> Document:
    return {each: value for each, value in document.items() if each != name or value is not None}


def read_result(document: Json) -> PushResult:
    return PushResult(
        tuple(_read_target_result(each) for each in document.get("targets", ())),
        tuple(document.get("lines", ())),
        tuple(read_finding(each) for each in document.get("findings", ())),
    )


def _encode_targets(targets: Iterable[TargetResult]) -> list[Document]:
    return [
        {
            **encode_target_head(each),
            "manifests": encode_manifests(each.reference.repository, each.manifests),
            "referrers": encode_referrers(each.reference.repository, each.referrers),
            "blobs": asdict(each.blobs),
        }
        for each in targets
    ]


def encode_target_head(target: TargetResult) -> Document:
    """What has become of the reference itself."""
    difference = target.difference
    return {
        "reference": str(target.reference),
        "digest": str(target.digest),
        "action": target.action.value,
        "previous_digest": optional_text(target.previous),
        "difference": _encode_kept_difference(difference) if difference is not None else None,
    }


def _read_target_result(document: Json) -> TargetResult:
    difference = document.get("difference")
    return TargetResult(
        reference=parse_reference(document["reference"]),
        digest=parse_digest(document["digest"]),
        action=_read_action(document),
        previous=read_optional_digest(document.get("previous_digest")),
        difference=read_difference(difference) if difference is not None else None,
        manifests=read_manifests(document["manifests"]),
        referrers=read_referrers(document.get("referrers", ())),
        blobs=read_blob_counts(document["blobs"]),
    )


def _read_action(document: Json) -> TagAction:
    is_verified = document.get("verified", True)
    return TagAction(document.get("action", TagAction.MOVED)) if is_verified else TagAction.MOVED_UNVERIFIED


def encode_manifests(repository: Repository, manifests: Iterable[ManifestOutcome]) -> list[Document]:
    return [
        {
            "reference": str(repository.at(each.digest)),
            "digest": str(each.digest),
            "action": each.action.value,
        }
        for each in manifests
    ]


def read_manifests(documents: Iterable[Json]) -> tuple[ManifestOutcome, ...]:
    return tuple(
        ManifestOutcome(parse_digest(each["digest"]), ManifestAction(each["action"])) for each in documents
    )


def encode_referrers(repository: Repository, referrers: Iterable[ReferrerOutcome]) -> list[Document]:
    return [
        {
            "reference": str(repository.at(each.digest)),
            "digest": str(each.digest),
            "subject": str(each.subject),
            "artifact_type": each.artifact_type,
            "action": each.action.value,
            "tag": each.tag,
        }
        for each in referrers
    ]


def read_referrers(documents: Iterable[Json]) -> tuple[ReferrerOutcome, ...]:
    return tuple(
        ReferrerOutcome(
            parse_digest(each["subject"]),
            parse_digest(each["digest"]),
            each["artifact_type"],
            ReferrerAction(each["action"]),
            each.get("tag"),
        )
        for each in documents
    )


def read_blob_counts(document: Json) -> BlobCounts:
    return BlobCounts(
        mounted=document.get("mounted", 0),
        copied=document.get("copied", 0),
        skipped=document.get("skipped", 0),
        bytes_copied=document.get("bytes_copied", 0),
    )


# --- views ---


def encode_push_view(view: PushView) -> Document:
    return {
        "id": str(view.id),
        "operation_id": str(view.operation_id),
        "list_id": optional_text(view.list_id),
        "reference": str(view.reference),
        "session": view.session,
        "state": view.state.value,
        "digest": str(view.digest),
        "media_type": view.media_type,
        "partial": view.is_partial,
        "missing_platforms": list(view.missing_platforms),
        **encode_result(view.result),
        "problem": dict(view.problem) if view.problem is not None else None,
        "restores": optional_text(view.restores),
        "labels": dict(view.labels),
        "created_by": view.created_by,
        "created_at": rfc3339(view.created_at),
        "ended_at": rfc3339(view.ended_at),
    }
