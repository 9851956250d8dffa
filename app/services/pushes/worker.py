"""The work of a push: the stored bytes, put at every target and then under every tag."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

from app.errors import BrokerError, PushNotFound, Unavailable
from app.lists.push_plan import ALWAYS
from app.lists.pushes import Push, PushState, view_push
from app.oci.digest import Digest
from app.oci.manifest import Manifest
from app.oci.reference import Reference
from app.operations.operation import Operation
from app.operations.request_codec import decode_request
from app.operations.requests import PushListRequest
from app.operations.states import State
from app.registry.client import Access, RegistryClient
from app.registry.push.model import CopyResult, Guard, TagSnapshot
from app.registry.push.push import push
from app.services.operations.attempts import Attempt
from app.services.operations.credentials import Credentials
from app.services.pushes.children import load_children, parse_children, targets_of
from app.services.pushes.guard import GuardedPush, PushGuard
from app.services.pushes.outcome import PushOutcomes
from app.services.pushes.progress import PushProgress
from app.services.pushes.result import build_result
from app.services.pushes.tag_leases import PushTagLeases
from app.store import pushes as stored
from app.store.codec.pushes import encode_push_view, encode_reached
from app.store.database import Database, Transaction
from app.store.notifications import Notifications
from app.store.operation_changes import LostLease

logger = logging.getLogger(__name__)


class PushWorker:
    """Performs the pushes that `Pushes` accepts."""

    def __init__(
        self,
        database: Database,
        notifications: Notifications,
        client: RegistryClient,
        credentials: Credentials,
        outcomes: PushOutcomes,
    ) -> None:
        self._database = database
        self._notifications = notifications
        self._client = client
        self._credentials = credentials
        self._outcomes = outcomes

    async def perform(self, attempt: Attempt) -> None:
        """Put the stored bytes everywhere; every attempt puts the same ones."""
        operation = attempt.operation
        request = decode_request(PushListRequest, operation.request)
        # Neither changes once the push is accepted, so they need no common snapshot.
        async with self._database.transaction(operation.project_id) as tx:
            planned = await stored.get_push(tx, operation.project_id, _push_id(operation))
            manifests = await load_children(tx, operation.project_id, planned.plan)
        own = self._credentials.decrypt(operation.id, attempt.secret)
        access = self._credentials.access(operation.project_id, own, insecure=request.insecure)
        progress = PushProgress(attempt, planned.plan, planned.reached)
        try:
            results = await self._copy(attempt, planned, manifests, access, progress)
        except BaseException:
            await self._keep_reached(attempt, planned, progress)
            raise
        await self._record(attempt, planned, results)

    async def ended(self, tx: Transaction, operation: Operation, _: State) -> None:
        """Record the end of an operation that failed or was cancelled."""
        push = await stored.get_push(tx, operation.project_id, _push_id(operation))
        await self._outcomes.failed(tx, operation, push)

    async def _copy(
        self,
        attempt: Attempt,
        planned: Push,
        manifests: Mapping[Digest, Manifest],
        access: Access,
        progress: PushProgress,
    ) -> list[CopyResult]:
        """Copy to all targets; an error has the progress at each target as a member."""
        plan = planned.plan
        children = await parse_children(self._client, plan, manifests)
        own = GuardedPush(attempt.operation.project_id, planned.list_id, planned.reference, plan)
        judge = PushGuard(self._database, self._client, access, own)
        leases = PushTagLeases(self._database, self._notifications, attempt.operation, planned)
        ask = partial(self._guard, attempt, planned, judge, leases)
        guard = Guard(ask, is_strict=plan.conditions != ALWAYS)
        try:
            return await push(
                self._client,
                targets_of(plan),
                children,
                access,
                progress.report,
                guard=guard,
                with_referrers=plan.referrers,
                allow_unverified=plan.consent.unverified,
                leases=leases,
                origins=plan.origins,
                # A caller may go back to an old push because the registry has lost content.
                checks_blobs=planned.restores is not None,
            )
        except BrokerError as error:
            raise error.with_members(targets=encode_reached(progress.reached)) from error

    async def _guard(
        self, attempt: Attempt, planned: Push, judge: PushGuard, leases: PushTagLeases, held: TagSnapshot
    ) -> Collection[Reference]:
        """Decide before a tag moves, and store the previous digests and differences.

        This attempt overwrites the tags, so a later attempt can't find them.
        """
        decision = await judge.decide(held)
        if decision.refusal is not None:
            raise decision.refusal
        left = {*decision.left, *await leases.find_left()}
        async with self._database.transaction(attempt.operation.project_id) as tx:
            await attempt.hold_to_go_on(tx)
            await self._outcomes.check(tx, attempt.operation, planned)
            if held.digests:
                own = planned.plan.index.digest
                await stored.keep_previous(tx, planned.id, held.digests, decision.differences, own=own)
        return left

    async def _keep_reached(self, attempt: Attempt, planned: Push, progress: PushProgress) -> None:
        """Store the progress at each target if possible; a failure here must not hide the attempt's error."""
        try:
            async with self._database.transaction(attempt.operation.project_id) as tx:
                await attempt.hold(tx)
                await stored.keep_reached(tx, planned.id, progress.reached)
        except (LostLease, Unavailable):
            logger.warning("The progress of push %s could not be written", planned.id)

    async def _record(self, attempt: Attempt, planned: Push, results: Sequence[CopyResult]) -> None:
        operation = attempt.operation
        async with self._database.transaction(attempt.operation.project_id) as tx:
            kept = await stored.get_push(tx, operation.project_id, planned.id)
            result = build_result(planned.plan, results, kept)
            done = replace(planned, state=PushState.SUCCEEDED, result=result, ended_at=datetime.now(UTC))
            # Every transaction that ends an operation locks its row first, to avoid deadlocks.
            await attempt.succeed(tx, encode_push_view(view_push(done)))
            await self._outcomes.succeeded(tx, operation, done)


def _push_id(operation: Operation) -> UUID:
    if operation.push_id is None:
        raise PushNotFound("The operation has no push.")
    return operation.push_id
