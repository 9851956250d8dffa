"""Accepts operations: each once, in one transaction with its Idempotency-Key and with what it depends on."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from app.logs import current_trace
from app.oci.reference import canonical_registry
from app.operations.operation import NewOperation, Operation, OperationLimits
from app.operations.request_codec import OperationRequest, encode_request
from app.operations.states import Kind
from app.services.callers import Call
from app.services.operations.credentials import Credentials
from app.store import operation_changes, operations, tokens
from app.store.database import Database, Transaction
from app.store.idempotency import remember

logger = logging.getLogger(__name__)

# Long enough for a registry's outage, short enough that callers learn of a failure while they still wait.
DEADLINES = {
    Kind.CREATE_LIST: timedelta(minutes=10),
    Kind.ADD_ENTRIES: timedelta(minutes=10),
    Kind.INSPECT_IMAGE: timedelta(minutes=5),
    Kind.INSPECT_IMAGES: timedelta(minutes=10),
    Kind.REFRESH_LIST: timedelta(minutes=10),
    Kind.PLAN_PUSH: timedelta(minutes=10),
    Kind.PUSH_LIST: timedelta(hours=1),
}


@dataclass(frozen=True, slots=True)
class OperationSpec:
    """A service's decisions about an operation that it accepts.

    `registries` are all registries that the operation will contact. `named` are further registries that the
    call refers to, which a later push may contact.
    """

    request: OperationRequest
    registries: Iterable[str] = ()
    keys: tuple[str, ...] = ()
    list_id: UUID | None = None
    push_id: UUID | None = None
    named: Iterable[str] = ()


# Called in the transaction that accepts the operation, with the operation's id.
Decide = Callable[[Transaction, UUID], Awaitable[OperationSpec]]


class OperationAcceptor:
    """Accepts the requests of callers as operations, up to the limits of each project."""

    def __init__(
        self, database: Database, credentials: Credentials, limits: OperationLimits | None = None
    ) -> None:
        self._database = database
        self._credentials = credentials
        self._limits = limits

    async def accept(self, call: Call, decide: Decide) -> Operation:
        """Enqueue the operation that `decide` returns, or return that of an identical earlier request.

        A concurrent request with the same Idempotency-Key waits until the first has committed. Raises
        IdempotencyMismatch when another request used the key, and TooManyOperations or TooManyPushes at the
        project's limits.
        """
        operation_id = uuid4()
        async with self._database.transaction(call.project_id) as tx:
            if earlier := await self._find_earlier(tx, call, operation_id):
                return earlier
            if call.token_id is not None:
                # The body may have arrived long after the token was checked.
                await tokens.require_live(tx, call.token_id)
            spec = await decide(tx, operation_id)
            call.check_places((*spec.registries, *spec.named))
            return await self._store(tx, call, operation_id, spec, self._limits)

    async def enqueue(
        self, tx: Transaction, call: Call, operation_id: UUID, spec: OperationSpec
    ) -> Operation:
        """Store an operation that follows from a change; a worker takes it after the transaction.

        An Idempotency-Key covers the caller's request, and not its consequences. No limit refuses
        consequences, because the change has been accepted. They do count at the next request.
        """
        return await self._store(tx, call, operation_id, spec)

    async def _store(
        self,
        tx: Transaction,
        call: Call,
        operation_id: UUID,
        spec: OperationSpec,
        limits: OperationLimits | None = None,
    ) -> Operation:
        kind, registries = spec.request.kind, tuple(dict.fromkeys(spec.registries))
        logger.info("Operation %s (%s) is accepted", operation_id, kind.value)
        return await operation_changes.enqueue(
            tx,
            NewOperation(
                id=operation_id,
                project_id=call.project_id,
                kind=kind,
                request=encode_request(spec.request),
                created_by=call.by,
                deadline_in=DEADLINES[kind],
                keys=spec.keys,
                registries=tuple(dict.fromkeys(canonical_registry(name) for name in registries)),
                list_id=spec.list_id,
                push_id=spec.push_id,
                trace=current_trace(),
                token_id=call.token_id,
                secret=self._credentials.encrypt(operation_id, call.credentials_for(registries)),
            ),
            limits,
        )

    async def _find_earlier(self, tx: Transaction, call: Call, operation_id: UUID) -> Operation | None:
        """The operation that the key stands for; a new key stands for `operation_id` from now on."""
        if call.idempotency is None:
            return None
        key = call.idempotency.key
        fingerprint, *older = (
            call.idempotency.fingerprint + caller for caller in self._credentials.identify(call)
        )
        earlier = await remember(tx, call.project_id, key, fingerprint, operation_id, older=older)
        return await operations.get(tx, call.project_id, earlier) if earlier is not None else None
