"""The work of a plan: a dry run of the push, and the same guard that decides about its tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from app.lists.planned_push import PlannedList, PlannedPush, PlannedTag, PlannedTarget
from app.lists.push_plan import ALWAYS, PushPlan
from app.lists.push_result import find_left_behind, find_unreadable
from app.lists.targets import PushTarget
from app.oci.copy_outcomes import TagAction
from app.oci.digest import parse_digest
from app.oci.manifest import Manifest
from app.operations.request_codec import decode_request
from app.operations.requests import PlanPushRequest
from app.registry.client import RegistryClient
from app.registry.push.model import DryRunResult, TagSnapshot
from app.registry.push.push import dry_run
from app.services.operations.attempts import Attempt
from app.services.operations.credentials import Credentials
from app.services.pushes.children import load_children, parse_children, targets_of
from app.services.pushes.guard import Decision, GuardedPush, PushGuard
from app.store.codec.plans import encode_planned_push, read_plan, read_planned_list
from app.store.database import Database


class PushPlanner:
    """Performs the plans that `Pushes` accepts; it only reads from registries."""

    def __init__(self, database: Database, client: RegistryClient, credentials: Credentials) -> None:
        self._database = database
        self._client = client
        self._credentials = credentials

    async def perform(self, attempt: Attempt) -> None:
        operation = attempt.operation
        request = decode_request(PlanPushRequest, operation.request)
        index = Manifest(request.media_type, request.raw, parse_digest(request.digest))
        plan = read_plan(index, request.plan)
        planned_list = read_planned_list(request.list_document)
        own = self._credentials.decrypt(operation.id, attempt.secret)
        access = self._credentials.access(operation.project_id, own, insecure=request.insecure)
        async with self._database.transaction(operation.project_id) as tx:
            manifests = await load_children(tx, operation.project_id, plan)
        children = await parse_children(self._client, plan, manifests)
        found = await dry_run(
            self._client,
            targets_of(plan),
            children,
            access,
            with_referrers=plan.referrers,
            origins=plan.origins,
        )
        guarded = GuardedPush(operation.project_id, operation.list_id, planned_list.reference, plan)
        guard = PushGuard(self._database, self._client, access, guarded)
        decision = await guard.decide(_snapshot(plan, found))
        planned = _planned(planned_list, plan, found, decision)
        async with self._database.transaction(operation.project_id) as tx:
            await attempt.succeed(tx, encode_planned_push(planned))


def _snapshot(plan: PushPlan, found: Sequence[DryRunResult]) -> TagSnapshot:
    digests = {
        target.repository.tagged(tag): each.previous[tag]
        for target, each in zip(plan.targets, found, strict=True)
        for tag in target.tags
    }
    unread = {
        target.repository.tagged(tag): error
        for target, each in zip(plan.targets, found, strict=True)
        for tag, error in each.unread.items()
    }
    manifests = {digest: manifest for each in found for digest, manifest in each.previous_manifests.items()}
    return TagSnapshot(digests, manifests, unread)


def _planned(
    planned_list: PlannedList, plan: PushPlan, found: Sequence[DryRunResult], decision: Decision
) -> PlannedPush:
    refusal = decision.refusal
    left = [left for each in found for left in each.left_behind]
    findings = find_unreadable(decision.unread) + find_left_behind(left)
    return PlannedPush(
        planned_list=replace(planned_list, findings=planned_list.findings + findings),
        digest=plan.index.digest,
        media_type=plan.index.media_type,
        size=plan.index.size,
        missing_platforms=plan.missing_platforms,
        conditions=plan.conditions if plan.conditions != ALWAYS else None,
        targets=tuple(
            _target(target, each, decision) for target, each in zip(plan.targets, found, strict=True)
        ),
        problem=refusal.document() if refusal is not None else None,
    )


def _target(target: PushTarget, found: DryRunResult, decision: Decision) -> PlannedTarget:
    return PlannedTarget(
        repository=target.repository,
        tags=tuple(_tag(target, tag, found, decision) for tag in target.tags),
        manifests=found.manifests,
        referrers=found.referrers,
        blobs=found.blobs,
        totals=found.counts,
    )


def _tag(target: PushTarget, tag: str, found: DryRunResult, decision: Decision) -> PlannedTag:
    reference = target.repository.tagged(tag)
    action = TagAction.MOVED_UNVERIFIED if tag in found.unread else TagAction.MOVED
    if decision.refusal is not None or reference in decision.left:
        action = TagAction.LEFT
    return PlannedTag(
        reference,
        action,
        found.previous[tag],
        decision.differences.get(reference),
        is_unreadable=tag in found.unread or reference in decision.unread,
    )
