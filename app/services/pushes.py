"""Pushes: decided and stored with their bytes before the first request, then carried out target by target."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from app.errors import BrokerError, ListNotFound
from app.lists.draft import Draft, ListState
from app.lists.push_plan import ALWAYS, Conditions, PushPlan, PushTarget, build_draft_index, plan_push
from app.oci.digest import Digest
from app.oci.manifest import ImageManifest, Manifest, parse_manifest
from app.oci.reference import Reference
from app.operations.states import Kind, State
from app.registry.client import Access, RegistryClient
from app.registry.copy import CopyChild, CopyResult, CopyTarget, push
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
from app.store.operations import Operation
from app.store.pushes import Push, PushFilter, PushState


@dataclass(frozen=True, slots=True)
class PushRequest:
    """What push was asked for, besides the list."""

    purge: bool = False
    insecure: bool = False
    targets: Sequence[Reference] = ()
    conditions: Conditions = ALWAYS


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
            draft = await lists.get_list(tx, call.project_id, list_id)
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
        results = await self._copy(planned.plan, manifests, access, PushProgress(attempt))
        await self._record(attempt, planned, build_result(planned.plan, results))

    async def ended(self, tx: Transaction, operation: Operation, state: State) -> None:
        """The push row of an operation that failed or was cancelled says so too."""
        outcome = PushState.CANCELLED if state is State.CANCELLED else PushState.FAILED
        await stored.end_push(tx, operation.project_id, _push_id(operation), outcome)

    async def _enqueue(
        self, tx: Transaction, call: Call, draft: Draft, wanted: PushRequest, operation_id: UUID
    ) -> Operation:
        plan = plan_push(draft, targets=wanted.targets, conditions=wanted.conditions)
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
            list_id=draft.id,
            push_id=planned.id,
        )

    async def _copy(
        self, plan: PushPlan, manifests: Mapping[Digest, Manifest], access: Access, progress: PushProgress
    ) -> list[CopyResult]:
        """All targets side by side; the first failure ends the rest, and says what had been put by then."""
        children = await asyncio.to_thread(_children, plan, manifests)

        condition = plan.conditions.check if plan.conditions != ALWAYS else None

        async def to(target: PushTarget) -> CopyResult | BrokerError:
            goal = CopyTarget(target.repository, target.tags, plan.index)
            try:
                on_progress = progress.of(target.repository)
                return await push(self._client, goal, children, access, on_progress, condition=condition)
            except BrokerError as error:
                return error

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(to(target)) for target in plan.targets]
        outcomes = [task.result() for task in tasks]
        for outcome in outcomes:
            if isinstance(outcome, BrokerError):
                raise type(outcome)(
                    outcome.detail,
                    errors=outcome.errors,
                    **{**outcome.members, "targets": progress.document()},
                )
        return [outcome for outcome in outcomes if isinstance(outcome, CopyResult)]

    async def _record(self, attempt: Attempt, planned: Push, result: dict[str, Any]) -> None:
        operation = attempt.operation
        async with self._database.transaction() as tx:
            done = await stored.end_push(tx, operation.project_id, planned.id, PushState.SUCCEEDED, result)
            await attempt.succeed(tx, push_document(done))
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
    state = ListState.PUSHED if same else draft.state
    await lists.save_state(tx, operation.project_id, replace(draft, state=state, last_push_id=planned.id))


def _children(plan: PushPlan, manifests: Mapping[Digest, Manifest]) -> tuple[CopyChild, ...]:
    """The manifests as they were fetched, with the blobs that each needs."""
    found = []
    for child in plan.children:
        manifest = manifests[child.digest]
        parsed = parse_manifest(manifest.raw, manifest.media_type)
        blobs = parsed.copyable_blobs if isinstance(parsed, ImageManifest) else ()
        found.append(CopyChild(child.repository, manifest, blobs))
    return tuple(found)


def _push_id(operation: Operation) -> UUID:
    if operation.push_id is None:
        raise ListNotFound("The operation has no push")
    return operation.push_id
