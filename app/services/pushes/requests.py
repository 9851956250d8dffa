"""Pushes: accepted, looked up, and decided with their bytes before the first request to a registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

from app.errors import PushNotRestorable
from app.lists.assessment import Assessment, assess
from app.lists.draft import Draft
from app.lists.planned_push import describe_planned
from app.lists.push_plan import ALWAYS, NONE, Conditions, Consent, PushPlan, plan_push, restored
from app.lists.pushes import Push, PushFilter, PushState
from app.oci.reference import Reference
from app.operations.operation import Operation
from app.operations.requests import PlanPushRequest, PushListRequest
from app.projects.paging import Position
from app.services.callers import Call
from app.services.lists.revisions import Revisions, find_seen, open_list
from app.services.operations.accept import OperationAcceptor, OperationSpec
from app.store import pushes as stored
from app.store.codec.plans import encode_plan, encode_planned_list
from app.store.database import Database, Transaction


@dataclass(frozen=True, slots=True)
class PushRequest:
    """The options of a push request."""

    purge: bool = False
    insecure: bool = False
    targets: Sequence[Reference] = ()
    conditions: Conditions = ALWAYS
    consent: Consent = NONE
    referrers: bool = False

    def plan(self, draft: Draft, assessment: Assessment) -> PushPlan:
        """Decide the push of the list as it stands now."""
        return plan_push(
            draft,
            assessment,
            datetime.now(UTC),
            targets=self.targets,
            conditions=self.conditions,
            consent=self.consent,
            referrers=self.referrers,
        )


class Pushes:
    """Accepts pushes, and looks up their history."""

    def __init__(self, database: Database, acceptor: OperationAcceptor) -> None:
        self._database = database
        self._acceptor = acceptor

    async def request(
        self, call: Call, list_id: UUID, wanted: PushRequest, *, revisions: Revisions = None
    ) -> Operation:
        """Accept a push of the list as it stands now; its bytes are decided here, not later."""

        async def decide(tx: Transaction, operation_id: UUID) -> OperationSpec:
            draft = await open_list(tx, call.project_id, list_id, revisions)
            planned = _planned(call, draft, wanted.plan(draft, assess(draft)), operation_id)
            request = PushListRequest(wanted.purge, wanted.insecure)
            spec = await _store_push(tx, call.project_id, planned, request)
            return replace(spec, named=draft.registries)

        return await self._acceptor.accept(call, decide)

    async def plan(
        self, call: Call, list_id: UUID, wanted: PushRequest, *, revisions: Revisions = None
    ) -> Operation:
        """Accept a plan of a push of the list as it stands now, decided here as for a push."""

        async def decide(tx: Transaction, _operation_id: UUID) -> OperationSpec:
            draft = await find_seen(tx, call.project_id, list_id, revisions)
            assessment = assess(draft)
            plan = wanted.plan(draft, assessment)
            request = PlanPushRequest(
                plan=encode_plan(plan),
                media_type=plan.index.media_type,
                raw=plan.index.raw,
                digest=str(plan.index.digest),
                list_document=encode_planned_list(describe_planned(draft, assessment)),
                insecure=wanted.insecure,
            )
            return OperationSpec(request, plan.registries, list_id=list_id, named=draft.registries)

        return await self._acceptor.accept(call, decide)

    async def accept_due(
        self, tx: Transaction, call: Call, draft: Draft, assessment: Assessment
    ) -> Operation:
        """Accept a push within the transaction that makes it due."""
        operation_id = uuid4()
        planned = _planned(call, draft, PushRequest().plan(draft, assessment), operation_id)
        request = PushListRequest(insecure=draft.options.insecure, follows=True)
        spec = await _store_push(tx, call.project_id, planned, request)
        return await self._acceptor.enqueue(tx, call, operation_id, spec)

    async def restore(
        self,
        call: Call,
        push_id: UUID,
        conditions: Conditions,
        *,
        insecure: bool,
        allow_unverified: bool = False,
    ) -> Operation:
        """Accept a push that puts the exact bytes of an earlier one back on its tags."""

        async def decide(tx: Transaction, operation_id: UUID) -> OperationSpec:
            push = await stored.get_push(tx, call.project_id, push_id)
            if push.state is not PushState.SUCCEEDED:
                raise PushNotRestorable(f"The push {push_id} has not succeeded. Its state is {push.state}.")
            moved = push.result.moved if push.result is not None else ()
            again = Push(
                id=uuid4(),
                operation_id=operation_id,
                list_id=push.list_id,
                reference=push.reference,
                session=push.session,
                labels=push.labels,
                plan=restored(
                    push.plan, datetime.now(UTC), moved, conditions, allow_unverified=allow_unverified
                ),
                created_by=call.by,
                restores=push.id,
            )
            return await _store_push(tx, call.project_id, again, PushListRequest(insecure=insecure))

        return await self._acceptor.accept(call, decide)

    async def get(self, project_id: UUID, push_id: UUID) -> Push:
        async with self._database.transaction(project_id) as tx:
            return await stored.get_push(tx, project_id, push_id)

    async def page(
        self, project_id: UUID, wanted: PushFilter, *, before: Position | None, limit: int
    ) -> list[Push]:
        async with self._database.transaction(project_id) as tx:
            return await stored.page_pushes(tx, project_id, wanted, before=before, limit=limit)


async def _store_push(
    tx: Transaction, project_id: UUID, planned: Push, request: PushListRequest
) -> OperationSpec:
    await stored.insert_push(tx, project_id, planned)
    request = replace(request, has_choices=bool(planned.plan.choices))
    return OperationSpec(
        request, planned.plan.registries, planned.plan.keys, list_id=planned.list_id, push_id=planned.id
    )


def _planned(call: Call, draft: Draft, plan: PushPlan, operation_id: UUID) -> Push:
    return Push(
        id=uuid4(),
        operation_id=operation_id,
        list_id=draft.id,
        reference=draft.reference,
        session=draft.session,
        labels=draft.options.labels,
        plan=plan,
        created_by=call.by,
    )
