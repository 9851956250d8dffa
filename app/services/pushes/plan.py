"""Plans: what a push of a list would do now, found out by looking and without changing anything."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from app.lists.assessment import Assessment, assess
from app.lists.draft import Draft
from app.lists.push_plan import ALWAYS, PushPlan, parse_plan
from app.lists.targets import PushTarget
from app.oci.digest import parse_digest
from app.oci.manifest import Manifest
from app.operations.operation import Operation
from app.operations.request_codec import decode_request
from app.operations.requests import PlanPushRequest
from app.registry.client import RegistryClient
from app.registry.push.model import DryRunResult, TagSnapshot
from app.registry.push.push import dry_run
from app.services.callers import Call
from app.services.lists.revisions import Revisions, find_seen
from app.services.operations.accept import OperationAcceptor, OperationSpec
from app.services.operations.attempts import Attempt
from app.services.operations.credentials import Credentials
from app.services.pushes.children import load_children, parse_children, targets_of
from app.services.pushes.guard import Decision, Guarded, PushGuard
from app.services.pushes.requests import PushRequest
from app.store.codec.lists import encode_finding
from app.store.codec.pushes import encode_difference, encode_referrers
from app.store.database import Database, Transaction


class Planning:
    """What is planned is decided as a push decides it, when it is asked for."""

    def __init__(
        self,
        database: Database,
        client: RegistryClient,
        credentials: Credentials,
        acceptor: OperationAcceptor,
    ) -> None:
        self._database = database
        self._client = client
        self._credentials = credentials
        self._acceptor = acceptor

    async def request(
        self, call: Call, list_id: UUID, wanted: PushRequest, *, revisions: Revisions = None
    ) -> Operation:

        async def decide(tx: Transaction, _operation_id: UUID) -> OperationSpec:
            draft = await find_seen(tx, call.project_id, list_id, revisions)
            assessment = assess(draft)
            plan = wanted.plan(draft, assessment)
            request = _request(draft, assessment, plan, insecure=wanted.insecure)
            return OperationSpec(request, plan.registries, list_id=list_id)

        return await self._acceptor.accept(call, decide)

    async def perform(self, attempt: Attempt) -> None:
        operation = attempt.operation
        request = decode_request(PlanPushRequest, operation.request)
        plan = _read_plan(request)
        brought = self._credentials.open(operation.id, attempt.secret)
        access = self._credentials.access(operation.project_id, brought, insecure=request.insecure)
        async with self._database.transaction() as tx:
            manifests = await load_children(tx, operation.project_id, plan)
        children = await parse_children(self._client, plan, manifests)
        found = await dry_run(self._client, targets_of(plan), children, access, with_referrers=plan.referrers)
        own = Guarded(operation.project_id, operation.list_id, request.list_document["reference"], plan)
        guard = PushGuard(self._database, self._client, access, own)
        decision = await guard.decide(_held(plan, found))
        document = {**request.list_document, **_document(plan, found, decision)}
        async with self._database.transaction() as tx:
            await attempt.succeed(tx, document)


def _request(draft: Draft, assessment: Assessment, plan: PushPlan, *, insecure: bool) -> PlanPushRequest:
    return PlanPushRequest(
        plan=plan.document(),
        media_type=plan.index.media_type,
        raw=plan.index.raw,
        digest=str(plan.index.digest),
        list_document={
            "list_id": str(draft.id),
            "revision": draft.revision,
            "reference": str(draft.reference),
            "session": draft.session,
            "findings": [encode_finding(finding) for finding in assessment.plan_findings],
        },
        insecure=insecure,
    )


def _read_plan(request: PlanPushRequest) -> PushPlan:
    return parse_plan(Manifest(request.media_type, request.raw, parse_digest(request.digest)), request.plan)


def _held(plan: PushPlan, found: list[DryRunResult]) -> TagSnapshot:
    digests = {
        target.repository.tagged(tag): each.previous[tag]
        for target, each in zip(plan.targets, found, strict=True)
        for tag in target.tags
    }
    return TagSnapshot(
        digests, {digest: manifest for each in found for digest, manifest in each.previous_manifests.items()}
    )


def _document(plan: PushPlan, found: list[DryRunResult], decision: Decision) -> dict[str, Any]:
    refusal = decision.refusal
    return {
        "digest": str(plan.index.digest),
        "media_type": plan.index.media_type,
        "size": plan.index.size,
        "partial": bool(plan.missing_platforms),
        "missing_platforms": list(plan.missing_platforms),
        "conditions": plan.conditions.document() if plan.conditions != ALWAYS else None,
        "targets": [
            _target(target, each, decision) for target, each in zip(plan.targets, found, strict=True)
        ],
        "problem": refusal.document() if refusal is not None else None,
    }


def _target(target: PushTarget, found: DryRunResult, decision: Decision) -> dict[str, Any]:
    counts = found.counts
    return {
        "repository": str(target.repository),
        "tags": [_tag(target, tag, found, decision) for tag in target.tags],
        "manifests": [
            {
                "reference": f"{target.repository}@{placed.digest}",
                "digest": str(placed.digest),
                "action": placed.action.value,
            }
            for placed in found.manifests
        ],
        "referrers": encode_referrers(target.repository, found.referrers),
        "blobs": [
            {
                "digest": str(blob.digest),
                "size": blob.size,
                "action": blob.action.value,
                "from": str(blob.source) if blob.source is not None else None,
            }
            for blob in found.blobs
        ],
        "totals": {
            "mounted": counts.mounted,
            "copied": counts.copied,
            "skipped": counts.skipped,
            "bytes_copied": counts.bytes_copied,
        },
    }


def _tag(target: PushTarget, tag: str, found: DryRunResult, decision: Decision) -> dict[str, Any]:
    reference = target.repository.tagged(tag)
    held, difference = found.previous[tag], decision.differences.get(reference)
    stays = decision.refusal is not None or reference in decision.left
    return {
        "reference": str(reference),
        "action": "left" if stays else "moved",
        "previous_digest": str(held) if held is not None else None,
        "difference": encode_difference(difference) if difference is not None else None,
    }
