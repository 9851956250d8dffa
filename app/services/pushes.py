"""Pushes: decided and stored with their bytes before the first request, then carried out target by target."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from app.errors import BrokerError, ListNotFound, OperationCancelled, Unavailable
from app.lists.draft import Draft, ListState
from app.lists.events import EventKind
from app.lists.push_plan import (
    ALWAYS,
    NONE,
    Conditions,
    Consent,
    PushChild,
    build_draft_index,
    plan_push,
)
from app.oci.digest import Digest
from app.oci.manifest import ImageManifest, Manifest, parse_manifest
from app.oci.reference import Reference
from app.operations.states import Kind, State
from app.registry.client import Access, RegistryClient
from app.registry.copy import CopyChild, CopyResult, CopyTarget, Guard, Held, push
from app.services.attempts import Attempt
from app.services.callers import Call
from app.services.credentials import Credentials
from app.services.documents import list_event, push_document, push_event
from app.services.events import Events
from app.services.intake import Intake
from app.services.push_guard import PushGuard
from app.services.push_progress import PushProgress
from app.services.push_result import build_result, moved_before_the_end, moved_references
from app.store import lists
from app.store import pushes as stored
from app.store.database import Database, Transaction
from app.store.heads import TagHead, save_head
from app.store.lists import Position
from app.store.manifests import load_manifests
from app.store.operations import LostLease, Operation
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


class Pushes:
    """Requests, history, and the work itself."""

    def __init__(
        self,
        database: Database,
        client: RegistryClient,
        credentials: Credentials,
        intake: Intake,
        events: Events,
    ) -> None:
        self._database = database
        self._client = client
        self._credentials = credentials
        self._intake = intake
        self._events = events

    async def request(self, call: Call, list_id: UUID, wanted: PushRequest) -> Operation:
        """Accept a push of the list as it stands now; what it will put is decided here, not later."""
        operation_id = uuid4()
        async with self._database.transaction() as tx:
            if earlier := await self._intake.find_earlier(tx, call, operation_id):
                return earlier
            draft = await lists.get_list(tx, call.project_id, list_id, lock=True)
            return await self._enqueue(tx, call, draft, wanted, operation_id)

    async def enqueue(self, tx: Transaction, call: Call, draft: Draft, wanted: PushRequest) -> Operation:
        """Accept a push within the transaction that makes it due."""
        # The key that the caller sent stands for what it asked for, not for what follows from that.
        return await self._enqueue(tx, replace(call, idempotency=None), draft, wanted, uuid4())

    async def get(self, project_id: UUID, push_id: UUID) -> Push:
        async with self._database.transaction() as tx:
            return await stored.get_push(tx, project_id, push_id)

    async def page(
        self, project_id: UUID, wanted: PushFilter, *, before: Position | None, limit: int
    ) -> list[Push]:
        async with self._database.transaction() as tx:
            return await stored.page_pushes(tx, project_id, wanted, before=before, limit=limit)

    async def perform(self, attempt: Attempt) -> None:
        """Put the stored bytes everywhere; every attempt puts the same ones."""
        operation = attempt.operation
        async with self._database.transaction() as tx:
            planned = await stored.get_push(tx, operation.project_id, _push_id(operation))
            digests = [child.digest for child in planned.plan.children]
            manifests = await load_manifests(tx, operation.project_id, digests)
        own = self._credentials.open(operation.id, attempt.secret)
        access = self._credentials.access(operation.project_id, own, insecure=operation.request["insecure"])
        progress = PushProgress(attempt, planned.plan, planned.reached)
        try:
            results = await self._copy(attempt, planned, manifests, access, progress)
        except BaseException:
            await self._keep_reached(attempt, planned, progress)
            raise
        await self._record(attempt, planned, results)

    async def ended(self, tx: Transaction, operation: Operation, state: State) -> None:
        """The push row of an operation that failed or was cancelled says so too, and where everything is."""
        outcome = PushState.CANCELLED if state is State.CANCELLED else PushState.FAILED
        planned = await stored.get_push(tx, operation.project_id, _push_id(operation))
        problem = operation.problem or OperationCancelled("The push was cancelled").document()
        if planned.reached:
            problem = {"targets": planned.reached, **problem}
        await stored.end_push(
            tx, operation.project_id, planned.id, outcome, ended_at=operation.ended_at, problem=problem
        )
        # Of several tags some may have moved, and older runs must find that out.
        await save_head(tx, operation.project_id, moved_before_the_end(planned), _head(planned))
        failed = await _fail_list(tx, operation, planned, problem)
        ended = replace(planned, state=outcome, problem=problem)
        await self._tell(tx, operation, EventKind.PUSH_FAILED, ended)
        if failed is not None:
            await self._tell_of_list(tx, operation, EventKind.LIST_FAILED, failed)

    async def _tell(self, tx: Transaction, operation: Operation, kind: EventKind, push: Push) -> None:
        await self._events.record(
            tx, operation.project_id, kind, push_event(push), list_id=push.list_id, push_id=push.id
        )

    async def _tell_of_list(
        self, tx: Transaction, operation: Operation, kind: EventKind, draft: Draft
    ) -> None:
        await self._events.record(tx, operation.project_id, kind, list_event(draft), list_id=draft.id)

    async def _enqueue(
        self, tx: Transaction, call: Call, draft: Draft, wanted: PushRequest, operation_id: UUID
    ) -> Operation:
        plan = plan_push(
            draft,
            datetime.now(UTC),
            targets=wanted.targets,
            conditions=wanted.conditions,
            consent=wanted.consent,
        )
        planned = Push(
            id=uuid4(),
            operation_id=operation_id,
            list_id=draft.id,
            reference=str(draft.reference),
            registry=draft.reference.registry,
            repository=draft.reference.repository.path,
            session=draft.session,
            labels=draft.options.labels,
            plan=plan,
            created_by=call.by,
        )
        await stored.insert_push(tx, call.project_id, planned)
        return await self._intake.accept(
            tx,
            call,
            operation_id,
            Kind.PUSH_LIST,
            {"purge": wanted.purge, "insecure": wanted.insecure},
            keys=plan.keys,
            registries=plan.registries,
            list_id=draft.id,
            push_id=planned.id,
        )

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
        children = [await self._child(child, manifests[child.digest]) for child in plan.children]
        targets = [CopyTarget(each.repository, each.tags, plan.index) for each in plan.targets]
        judge = PushGuard(self._database, self._client, access, attempt.operation.project_id, planned)
        guard = Guard(partial(self._guard, attempt, planned, judge), is_strict=plan.conditions != ALWAYS)
        try:
            return await push(self._client, targets, children, access, progress.tell, guard=guard)
        except BrokerError as error:
            members = {**error.members, "targets": progress.document()}
            raise type(error)(error.detail, errors=error.errors, **members) from error

    async def _child(self, child: PushChild, manifest: Manifest) -> CopyChild:
        """The manifest as it was fetched, with the blobs that it needs."""
        parsed = await self._client.parse(parse_manifest, manifest.raw, manifest.media_type)
        blobs = parsed.copyable_blobs if isinstance(parsed, ImageManifest) else ()
        # Many small documents together would keep others waiting as a large one does.
        await asyncio.sleep(0)
        return CopyChild(child.repository, manifest, blobs)

    async def _guard(
        self, attempt: Attempt, planned: Push, judge: PushGuard, held: Held
    ) -> Collection[Reference]:
        """Before the first tag moves: what all of them hold is allowed to go, and is kept.

        A later attempt would take what this one put for what was there.
        """
        left, differences = await judge.decide(held)
        found = {str(reference): str(digest) if digest else None for reference, digest in held.items()}
        differing = {str(reference): each.document() for reference, each in differences.items()}
        if found:
            async with self._database.transaction() as tx:
                await attempt.hold(tx)
                await stored.keep_previous(tx, planned.id, found, differing)
        return left

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
            await stored.end_push(
                tx, operation.project_id, done.id, done.state, ended_at=done.ended_at, result=result
            )
            await save_head(tx, operation.project_id, moved_references(result), _head(planned))
            gone = await _settle_list(tx, operation, done)
            await self._tell(tx, operation, EventKind.LIST_PUSHED, done)
            if gone is not None:
                await self._tell_of_list(tx, operation, EventKind.LIST_REMOVED, gone)


async def _settle_list(tx: Transaction, operation: Operation, push: Push) -> Draft | None:
    """A list that is still what was pushed says so, or is removed and returned if purge was asked."""
    draft = await _find_list(tx, operation, push)
    if draft is None:
        return None
    same = build_draft_index(draft).digest == push.plan.index.digest
    if same and operation.request["purge"]:
        await lists.delete_list(tx, operation.project_id, draft.id)
        return draft
    settled = replace(draft, state=ListState.PUSHED, problem=None) if same else draft
    await lists.save_state(tx, operation.project_id, replace(settled, last_push_id=push.id))
    return None


async def _fail_list(
    tx: Transaction, operation: Operation, push: Push, problem: Mapping[str, Any]
) -> Draft | None:
    """A list whose completion started the push has failed with it; of one pushed by hand its caller knows."""
    draft = await _find_list(tx, operation, push)
    if draft is None or draft.push_operation_id != operation.id:
        return None
    failed = replace(draft, state=ListState.FAILED, problem=problem)
    await lists.save_state(tx, operation.project_id, failed)
    return failed


async def _find_list(tx: Transaction, operation: Operation, push: Push) -> Draft | None:
    if push.list_id is None:
        return None
    try:
        return await lists.get_list(tx, operation.project_id, push.list_id, lock=True)
    except ListNotFound:
        return None


def _head(push: Push) -> TagHead:
    return TagHead(push.plan.order, push.list_id, push.id, push.plan.index.digest)


def _push_id(operation: Operation) -> UUID:
    if operation.push_id is None:
        raise ListNotFound("The operation has no push")
    return operation.push_id
