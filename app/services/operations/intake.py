"""How a request becomes an operation: once, and together with its Idempotency-Key."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from app.logs import current_trace
from app.oci.reference import canonical_registry
from app.operations.states import Kind
from app.services.callers import Call
from app.services.operations.credentials import Credentials
from app.store import operation_changes, operations
from app.store.database import Transaction
from app.store.idempotency import remember
from app.store.operation_changes import NewOperation
from app.store.operations import Operation

logger = logging.getLogger(__name__)

# Long enough for a registry's outage, short enough that nobody still waits for what was given up.
DEADLINES = {
    Kind.CREATE_LIST: timedelta(minutes=10),
    Kind.ADD_ENTRIES: timedelta(minutes=10),
    Kind.INSPECT_IMAGE: timedelta(minutes=5),
    Kind.INSPECT_IMAGES: timedelta(minutes=10),
    Kind.REFRESH_LIST: timedelta(minutes=10),
    Kind.PLAN_PUSH: timedelta(minutes=10),
    Kind.PUSH_LIST: timedelta(hours=1),
}


class Intake:
    """Takes operations in; used inside the transaction of the service that decides them."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def find_earlier(self, tx: Transaction, call: Call, operation_id: UUID) -> Operation | None:
        """What this very request started before; if nothing, its key now stands for `operation_id`.

        A concurrent request with the same key waits here until the first has committed. Raises
        IdempotencyMismatch when another request used the key.
        """
        if call.idempotency is None:
            return None
        key, fingerprint = call.idempotency.key, call.idempotency.fingerprint
        project_id = call.project_id
        earlier = await remember(tx, project_id, key, fingerprint, operation_id)
        return await operations.get(tx, project_id, earlier) if earlier is not None else None

    async def accept(
        self,
        tx: Transaction,
        call: Call,
        operation_id: UUID,
        kind: Kind,
        request: Mapping[str, Any],
        *,
        keys: tuple[str, ...] = (),
        registries: Iterable[str] = (),
        list_id: UUID | None = None,
        push_id: UUID | None = None,
    ) -> Operation:
        """Store the operation, to be run by a worker once the transaction has committed.

        `registries` are all that it will ask.
        """
        asked = tuple(dict.fromkeys(registries))
        logger.info("Operation %s (%s) is asked for", operation_id, kind.value)
        return await operation_changes.enqueue(
            tx,
            NewOperation(
                id=operation_id,
                project_id=call.project_id,
                kind=kind,
                request=dict(request),
                created_by=call.by,
                deadline_in=DEADLINES[kind],
                keys=keys,
                registries=tuple(dict.fromkeys(canonical_registry(name) for name in asked)),
                list_id=list_id,
                push_id=push_id,
                trace=current_trace(),
                secret=self._credentials.seal(operation_id, call.credentials_for(asked)),
            ),
        )
