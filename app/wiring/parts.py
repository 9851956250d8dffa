"""Constructs the parts of a process from the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from app.api.dependencies import BrokerServices
from app.oci.reference import use_aliases
from app.operations.operation import OperationLimits
from app.operations.retries import RetryPolicy
from app.operations.states import Kind
from app.outbound.client import OutboundClient
from app.projects.quotas import Quota
from app.registry.client import Limits, RegistryClient
from app.runner.housekeeper import Chore, in_batches
from app.services.encryption import SecretBox
from app.services.events.log import Events
from app.services.health import Readiness
from app.services.inspections.requests import Inspections
from app.services.inspections.worker import InspectionWorker
from app.services.lists.deadlines import Deadlines
from app.services.lists.requests import Lists
from app.services.lists.save import ListWriter
from app.services.lists.worker import ListWorker
from app.services.operations.accept import OperationAcceptor
from app.services.operations.attempts import Handler
from app.services.operations.credentials import Credentials
from app.services.operations.wait import Operations
from app.services.pushes.outcome import PushOutcomes
from app.services.pushes.plan import PushPlanner
from app.services.pushes.requests import Pushes
from app.services.pushes.worker import PushWorker
from app.services.quotas import Quotas
from app.services.revocations import Revocations
from app.services.shared_budgets import SharedBudgets
from app.services.stream_slots import StreamSlots
from app.services.tokens import Tokens
from app.services.webhooks.deliveries import Deliveries
from app.services.webhooks.registrations import Webhooks
from app.services.webhooks.sender import WebhookSender
from app.services.webhooks.signing import Secrets
from app.settings import Settings, secret_keys_of
from app.store import deliveries as bringing
from app.store import events, operations, tag_leases
from app.store.budgets import forget_old_budgets
from app.store.database import Database
from app.store.notifications import Notifications
from app.store.quotas import summing
from app.store.row_security.roles import roles_of
from app.wiring import retry_policies
from app.wiring.outbound import build_clients
from app.wiring.tls_and_credentials import read_keychain


@dataclass(frozen=True, slots=True)
class BrokerParts:
    """The parts of one process."""

    database: Database
    notifications: Notifications
    outbound: OutboundClient
    client: RegistryClient
    services: BrokerServices
    handlers: Mapping[Kind, Handler]
    registries: SharedBudgets
    deadlines: Deadlines
    list_writer: ListWriter
    chores: Sequence[Chore]


def secret_box(settings: Settings) -> SecretBox:
    """The keys of the stored secrets. Only a ring stores a key id with each secret."""
    return SecretBox(*secret_keys_of(settings), names_key=bool(settings.secret_keys))


def broker_version() -> str:
    try:
        return version("manifest-broker")
    except PackageNotFoundError:
        return "0.0.0"


def build_parts(
    settings: Settings,
    url: str,
    *,
    push: RetryPolicy = retry_policies.PUSH,
    prompt: RetryPolicy = retry_policies.PROMPT,
    delivery: RetryPolicy = retry_policies.DELIVERY,
    limits: Limits | None = None,
) -> BrokerParts:
    """Construct every part once; nothing connects yet.

    The policies are for pushes, for the operations that callers wait for, and for deliveries of events.
    `limits` are the registry client's limits that are not settings.
    """
    use_aliases(settings.registry_aliases)
    base = _build_base(settings, url, limits or Limits())
    performers = _build_performers(base)
    handlers = {
        **_prompt_handlers(performers, prompt),
        Kind.PUSH_LIST: Handler(performers.push_worker.perform, performers.push_worker.ended, policy=push),
        Kind.DELIVER: Handler(performers.deliveries.perform, performers.deliveries.ended, policy=delivery),
    }
    return BrokerParts(
        base.database,
        base.notifications,
        base.outbound,
        base.client,
        _build_services(settings, base, performers, handlers),
        handlers,
        SharedBudgets(base.database, base.notifications, base.outbound.budgets),
        Deadlines(base.database, performers.list_writer),
        performers.list_writer,
        _chores(settings, performers.list_writer, performers.deliveries),
    )


@dataclass(frozen=True, slots=True)
class _Base:
    """The parts that the services are built on."""

    database: Database
    notifications: Notifications
    outbound: OutboundClient
    client: RegistryClient
    sender: WebhookSender
    secrets: Secrets
    credentials: Credentials
    acceptor: OperationAcceptor
    events: Events
    quotas: Quotas


@dataclass(frozen=True, slots=True)
class _Performers:
    """The services that perform operations."""

    pushes: Pushes
    push_worker: PushWorker
    list_writer: ListWriter
    list_worker: ListWorker
    push_planner: PushPlanner
    inspection_worker: InspectionWorker
    deliveries: Deliveries


def _build_base(settings: Settings, url: str, limits: Limits) -> _Base:
    roles = roles_of(url, settings.service_role)
    database = Database(url, roles=roles, pool_size=settings.pool_size)
    notifications = Notifications(url, roles)
    box = secret_box(settings)
    credentials = Credentials(read_keychain(settings), box)
    clients = build_clients(settings, limits)
    return _Base(
        database,
        notifications,
        outbound=clients.outbound,
        client=clients.registries,
        sender=clients.webhooks,
        secrets=Secrets(box),
        credentials=credentials,
        acceptor=OperationAcceptor(
            database,
            credentials,
            OperationLimits(settings.project_operations, settings.tag_operations),
        ),
        events=Events(database, notifications),
        quotas=Quotas(database, _quota_limits(settings)),
    )


def _build_performers(base: _Base) -> _Performers:
    pushes = Pushes(base.database, base.acceptor)
    list_writer = ListWriter(pushes, base.events, base.quotas)
    outcomes = PushOutcomes(list_writer, base.events)
    return _Performers(
        pushes,
        PushWorker(base.database, base.notifications, base.client, base.credentials, outcomes),
        list_writer,
        ListWorker(base.database, base.client, base.credentials, list_writer),
        push_planner=PushPlanner(base.database, base.client, base.credentials),
        inspection_worker=InspectionWorker(base.database, base.client, base.credentials),
        deliveries=Deliveries(base.database, base.sender, base.secrets),
    )


def _build_services(
    settings: Settings, base: _Base, performers: _Performers, handlers: Mapping[Kind, Handler]
) -> BrokerServices:
    return BrokerServices(
        lists=Lists(
            base.database, base.notifications, base.acceptor, performers.list_writer, base.client.policy
        ),
        pushes=performers.pushes,
        inspections=Inspections(base.database, base.client, base.acceptor),
        operations=Operations(base.database, base.notifications, handlers),
        events=base.events,
        webhooks=Webhooks(base.database, base.sender, base.secrets, base.quotas),
        deliveries=performers.deliveries,
        tokens=Tokens(base.database, base.quotas),
        quotas=base.quotas,
        revocations=Revocations(base.database, base.notifications),
        stream_slots=StreamSlots(settings.project_streams),
        readiness=Readiness(base.database),
        version=broker_version(),
    )


def _prompt_handlers(performers: _Performers, policy: RetryPolicy) -> dict[Kind, Handler]:
    """The handlers of the operations that callers wait for."""
    lists, inspections = performers.list_worker, performers.inspection_worker
    return {
        Kind.CREATE_LIST: Handler(lists.perform_create, policy=policy),
        Kind.ADD_ENTRIES: Handler(lists.perform_add, policy=policy),
        Kind.REFRESH_LIST: Handler(lists.perform_refresh, policy=policy),
        Kind.PLAN_PUSH: Handler(performers.push_planner.perform, policy=policy),
        Kind.INSPECT_IMAGE: Handler(inspections.perform, policy=policy),
        Kind.INSPECT_IMAGES: Handler(inspections.perform_many, policy=policy),
    }


def _quota_limits(settings: Settings) -> Mapping[Quota, int]:
    return {
        Quota.LISTS: settings.quota_lists,
        Quota.METADATA: settings.quota_metadata_bytes,
        Quota.MANIFESTS: settings.quota_manifest_bytes,
        Quota.WEBHOOKS: settings.quota_webhooks,
        Quota.TOKENS: settings.quota_tokens,
        Quota.EVENTS: settings.quota_events,
    }


def _chores(settings: Settings, list_writer: ListWriter, deliveries: Deliveries) -> Sequence[Chore]:
    return [
        list_writer.remove_expired,
        forget_old_budgets,
        in_batches(tag_leases.forget_old, tag_leases.FORGOTTEN_AT_ONCE),
        in_batches(events.forget_old_events, events.FORGOTTEN_AT_ONCE),
        in_batches(
            partial(events.forget_excess_events, kept=settings.quota_events), events.FORGOTTEN_AT_ONCE
        ),
        in_batches(summing.sum_up, summing.SUMMED_AT_ONCE),
        in_batches(bringing.forget_old_deliveries, bringing.FORGOTTEN_AT_ONCE),
        deliveries.go_on,
        in_batches(
            partial(operations.forget_ended, older_than=timedelta(days=settings.keep_operations_days)),
            operations.FORGOTTEN_AT_ONCE,
        ),
    ]
