"""Pushes: decided and stored with their bytes before the first request, then carried out target by target."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

from app.errors import BrokerError, PushNotFound, PushNotRestorable, Unavailable
from app.lists.draft import Draft
from app.lists.push_plan import ALWAYS, NONE, Conditions, Consent, PushPlan, plan_push, restored
from app.oci.digest import Digest
from app.oci.manifest import Manifest
from app.oci.reference import Reference
from app.operations.operation import Operation
from app.operations.request_codec import decode_request
from app.operations.requests import PushListRequest
from app.operations.states import State
from app.registry.client import Access, RegistryClient
from app.registry.push.model import CopyResult, Guard, TagAction, TagSnapshot
from app.registry.push.push import push
from app.services.callers import Call
from app.services.documents import push_document
from app.services.events.log import Events
from app.services.lists.revisions import Revisions, open_list
from app.services.operations.accept import OperationAcceptor, OperationSpec
from app.services.operations.attempts import Attempt
from app.services.operations.credentials import Credentials
from app.services.pushes.children import load_children, parse_children, targets_of
from app.services.pushes.guard import Guarded, PushGuard
from app.services.pushes.outcome import PushOutcomes
from app.services.pushes.progress import PushProgress
from app.services.pushes.result import build_result
from app.store import pushes as stored
from app.store.database import Database, Transaction
from app.store.operation_changes import LostLease
from app.store.paging import Position
from app.store.pushes import Push, PushFilter, PushState

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PushRequest:
    """What push was asked for, besides the list."""

    purge: bool = False
    insecure: bool = False
    targets: Sequence[Reference] = ()
    conditions: Conditions = ALWAYS
    consent: Consent = NONE
    referrers: bool = False

    def plan(self, draft: Draft) -> PushPlan:
        """What is decided of the list as it stands, now."""
        return plan_push(
            draft,
            datetime.now(UTC),
            targets=self.targets,
            conditions=self.conditions,
            consent=self.consent,
            referrers=self.referrers,
        )


class Pushes:
    """Requests, history, and the work itself."""

    def __init__(
        self,
        database: Database,
        client: RegistryClient,
        credentials: Credentials,
        acceptor: OperationAcceptor,
        events: Events,
    ) -> None:
        self._database = database
        self._client = client
        self._credentials = credentials
        self._acceptor = acceptor
        self._outcomes = PushOutcomes(events)

    async def request(
        self, call: Call, list_id: UUID, wanted: PushRequest, *, revisions: Revisions = None
    ) -> Operation:
        """Accept a push of the list as it stands now; what it will put is decided here, not later."""

        async def decide(tx: Transaction, operation_id: UUID) -> OperationSpec:
            draft = await open_list(tx, call.project_id, list_id, revisions)
            return await self._store_push(tx, call, draft, wanted, operation_id)

        return await self._acceptor.accept(call, decide)

    async def enqueue(self, tx: Transaction, call: Call, draft: Draft, wanted: PushRequest) -> Operation:
        """Accept a push within the transaction that makes it due."""
        operation_id = uuid4()
        spec = await self._store_push(tx, call, draft, wanted, operation_id, follows=True)
        return await self._acceptor.enqueue(tx, call, operation_id, spec)

    async def restore(
        self, call: Call, push_id: UUID, conditions: Conditions, *, insecure: bool
    ) -> Operation:
        """Accept that an earlier push's exact bytes go back on its tags, whatever they hold now."""

        async def decide(tx: Transaction, operation_id: UUID) -> OperationSpec:
            push = await stored.get_push(tx, call.project_id, push_id)
            if push.state is not PushState.SUCCEEDED:
                raise PushNotRestorable(f"The push {push_id} has not succeeded: it is {push.state}")
            again = Push(
                id=uuid4(),
                operation_id=operation_id,
                list_id=push.list_id,
                reference=push.reference,
                registry=push.registry,
                repository=push.repository,
                session=push.session,
                labels=push.labels,
                plan=restored(push.plan, datetime.now(UTC), _reached(push), conditions),
                created_by=call.by,
                restores=push.id,
            )
            await stored.insert_push(tx, call.project_id, again)
            return _spec(again, PushListRequest(insecure=insecure))

        return await self._acceptor.accept(call, decide)

    async def get(self, project_id: UUID, push_id: UUID) -> Push:
        async with self._database.reading() as tx:
            return await stored.get_push(tx, project_id, push_id)

    async def page(
        self, project_id: UUID, wanted: PushFilter, *, before: Position | None, limit: int
    ) -> list[Push]:
        async with self._database.transaction() as tx:
            return await stored.page_pushes(tx, project_id, wanted, before=before, limit=limit)

    async def perform(self, attempt: Attempt) -> None:
        """Put the stored bytes everywhere; every attempt puts the same ones."""
        operation = attempt.operation
        request = decode_request(PushListRequest, operation.request)
        # Neither changes once the push is accepted, so they need not be read at one moment.
        async with self._database.single() as tx:
            planned = await stored.get_push(tx, operation.project_id, _push_id(operation))
            manifests = await load_children(tx, operation.project_id, planned.plan)
        own = self._credentials.open(operation.id, attempt.secret)
        access = self._credentials.access(operation.project_id, own, insecure=request.insecure)
        progress = PushProgress(attempt, planned.plan, planned.reached)
        try:
            results = await self._copy(attempt, planned, manifests, access, progress)
        except BaseException:
            await self._keep_reached(attempt, planned, progress)
            raise
        await self._record(attempt, planned, results)

    async def ended(self, tx: Transaction, operation: Operation, _: State) -> None:
        """What follows from an operation that failed or was cancelled."""
        push = await stored.get_push(tx, operation.project_id, _push_id(operation))
        await self._outcomes.failed(tx, operation, push)

    async def _store_push(
        self,
        tx: Transaction,
        call: Call,
        draft: Draft,
        wanted: PushRequest,
        operation_id: UUID,
        *,
        follows: bool = False,
    ) -> OperationSpec:
        planned = Push(
            id=uuid4(),
            operation_id=operation_id,
            list_id=draft.id,
            reference=str(draft.reference),
            registry=draft.reference.registry,
            repository=draft.reference.repository.path,
            session=draft.session,
            labels=draft.options.labels,
            plan=wanted.plan(draft),
            created_by=call.by,
        )
        await stored.insert_push(tx, call.project_id, planned)
        return _spec(planned, PushListRequest(wanted.purge, wanted.insecure, follows))

    async def _copy(
        self,
        attempt: Attempt,
        planned: Push,
        manifests: Mapping[Digest, Manifest],
        access: Access,
        progress: PushProgress,
    ) -> list[CopyResult]:
        """A failure says what had been put where by then."""
        plan = planned.plan
        children = await parse_children(self._client, plan, manifests)
        own = Guarded(attempt.operation.project_id, planned.list_id, planned.reference, plan)
        judge = PushGuard(self._database, self._client, access, own)
        guard = Guard(partial(self._guard, attempt, planned, judge), is_strict=plan.conditions != ALWAYS)
        try:
            return await push(
                self._client,
                targets_of(plan),
                children,
                access,
                progress.tell,
                guard=guard,
                with_referrers=plan.referrers,
            )
        except BrokerError as error:
            members = {**error.members, "targets": progress.document()}
            raise type(error)(error.detail, errors=error.errors, **members) from error

    async def _guard(
        self, attempt: Attempt, planned: Push, judge: PushGuard, held: TagSnapshot
    ) -> Collection[Reference]:
        """Before the first tag moves: what all of them hold is allowed to go, and is kept.

        A later attempt would take what this one put for what was there.
        """
        decision = await judge.decide(held)
        if decision.refusal is not None:
            raise decision.refusal
        found = {str(at): str(digest) if digest else None for at, digest in held.digests.items()}
        differing = {str(reference): each.document() for reference, each in decision.differences.items()}
        async with self._database.transaction() as tx:
            await attempt.hold(tx)
            await self._outcomes.check(tx, attempt.operation, planned)
            if found:
                own = planned.plan.index.digest
                await stored.keep_previous(tx, planned.id, found, differing, own=own)
        return decision.left

    async def _keep_reached(self, attempt: Attempt, planned: Push, progress: PushProgress) -> None:
        """What ended the attempt matters more than that this can be written."""
        try:
            async with self._database.transaction() as tx:
                await attempt.hold(tx)
                await stored.keep_reached(tx, planned.id, progress.document())
        except (LostLease, Unavailable):
            logger.warning("How far push %s had come could not be written", planned.id)

    async def _record(self, attempt: Attempt, planned: Push, results: Sequence[CopyResult]) -> None:
        operation = attempt.operation
        async with self._database.transaction() as tx:
            kept = await stored.get_push(tx, operation.project_id, planned.id)
            result = build_result(planned.plan, results, kept)
            done = replace(planned, state=PushState.SUCCEEDED, result=result, ended_at=datetime.now(UTC))
            # The operation's row first, as everyone takes them who ends one: no two wait for each other.
            await attempt.succeed(tx, push_document(done))
            await self._outcomes.succeeded(tx, operation, done)


def _spec(planned: Push, request: PushListRequest) -> OperationSpec:
    plan = planned.plan
    return OperationSpec(request, plan.registries, plan.keys, planned.list_id, planned.id)


def _reached(push: Push) -> set[str]:
    """What led to the index when it was done, without the tags that were left to newer runs."""
    targets = (push.result or {}).get("targets", ())
    return {each["reference"] for each in targets if each.get("action", TagAction.MOVED) == TagAction.MOVED}


def _push_id(operation: Operation) -> UUID:
    if operation.push_id is None:
        raise PushNotFound("The operation has no push")
    return operation.push_id
