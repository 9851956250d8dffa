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
from app.services.documents import push_document
from app.services.intake import Intake
from app.services.push_progress import PushProgress
from app.services.push_result import build_result
from app.store import lists
from app.store import pushes as stored
from app.store.database import Database, Transaction
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
        self, database: Database, client: RegistryClient, credentials: Credentials, intake: Intake
    ) -> None:
        self._database = database
        self._client = client
        self._credentials = credentials
        self._intake = intake

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
        if planned.list_id is not None:
            await _fail_list(tx, operation, planned.list_id, problem)

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
        guard = Guard(partial(self._guard, attempt, planned), is_strict=plan.conditions != ALWAYS)
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

    async def _guard(self, attempt: Attempt, planned: Push, held: Held) -> Collection[Reference]:
        """Before the first tag moves: what all of them hold is allowed to go, and is kept.

        A later attempt would take what this one put for what was there.
        """
        for reference, digest in held.items():
            # An attempt that was cut off may have moved it already.
            if digest != planned.plan.index.digest:
                planned.plan.conditions.check(str(reference), digest)
        found = {str(reference): str(digest) if digest else None for reference, digest in held.items()}
        if found:
            async with self._database.transaction() as tx:
                await attempt.hold(tx)
                await stored.keep_previous(tx, planned.id, found)
        return ()

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
            previous = (await stored.get_push(tx, operation.project_id, planned.id)).previous
            result = build_result(planned.plan, results, previous)
            done = replace(planned, state=PushState.SUCCEEDED, result=result, ended_at=datetime.now(UTC))
            # The operation's row first, as everyone takes them who ends one: no two wait for each other.
            await attempt.succeed(tx, push_document(done))
            await stored.end_push(
                tx, operation.project_id, done.id, done.state, ended_at=done.ended_at, result=result
            )
            if planned.list_id is not None:
                await _settle_list(tx, operation, planned.list_id, planned)


async def _settle_list(tx: Transaction, operation: Operation, list_id: UUID, planned: Push) -> None:
    """A list that is still what was pushed says so, or goes if purge was asked; a changed one stays."""
    try:
        draft = await lists.get_list(tx, operation.project_id, list_id, lock=True)
    except ListNotFound:
        return
    same = build_draft_index(draft).digest == planned.plan.index.digest
    if same and operation.request["purge"]:
        await lists.delete_list(tx, operation.project_id, list_id)
        return
    settled = replace(draft, state=ListState.PUSHED, problem=None) if same else draft
    await lists.save_state(tx, operation.project_id, replace(settled, last_push_id=planned.id))


async def _fail_list(
    tx: Transaction, operation: Operation, list_id: UUID, problem: Mapping[str, Any]
) -> None:
    """A list whose completion started the push has failed with it; of one pushed by hand its caller knows."""
    try:
        draft = await lists.get_list(tx, operation.project_id, list_id, lock=True)
    except ListNotFound:
        return
    if draft.push_operation_id == operation.id:
        failed = replace(draft, state=ListState.FAILED, problem=problem)
        await lists.save_state(tx, operation.project_id, failed)


def _push_id(operation: Operation) -> UUID:
    if operation.push_id is None:
        raise ListNotFound("The operation has no push")
    return operation.push_id
