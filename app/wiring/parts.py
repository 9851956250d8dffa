"""Where everything is constructed: settings in, the parts of a process out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from app.api.context import Services
from app.operations.retries import RetryPolicy
from app.operations.states import Kind
from app.registry.client import AccessPolicy, Limits, RegistryClient
from app.runner.housekeeper import Chore, in_batches
from app.services.encryption import Seal
from app.services.events.log import Events
from app.services.health import Readiness
from app.services.inspections import Inspections
from app.services.lists.deadlines import Deadlines
from app.services.lists.requests import Lists
from app.services.lists.save import Saving
from app.services.lists.worker import Composer
from app.services.operations.attempts import Handler
from app.services.operations.credentials import Credentials
from app.services.operations.intake import Intake
from app.services.operations.wait import Operations
from app.services.pushes.plan import Planning
from app.services.pushes.requests import Pushes
from app.services.shared_budgets import Registries
from app.services.tokens import Tokens
from app.services.webhooks.deliveries import Deliveries
from app.services.webhooks.registrations import Webhooks
from app.services.webhooks.signing import Secrets
from app.settings import Settings, secret_key_of
from app.store import deliveries as bringing
from app.store import events, operations
from app.store.budgets import forget_old_budgets
from app.store.database import Database
from app.store.notifications import Notifications
from app.wiring.operators import read_keychain, read_trusts

# A push outlasts the restart of a registry, or of what is before it: a minute and more.
PATIENT = RetryPolicy(max_attempts=10, base=1.0)

# For calls that someone waits for: rather an answer soon than success late, and no pause that is longer than
# callers wait by default.
PROMPT = RetryPolicy(max_attempts=3, base=0.25, cap=2.0, longest_park=10.0)

# A receiver that is away is tried for days, until the deadline of its delivery: soon at first, then rarely.
DELIVERY = RetryPolicy(
    max_attempts=1_000, base=5.0, cap=6 * 3600.0, shortest_wait=1.0, longest_wait=6 * 3600.0
)

# So long a request waits for a registry that asked for a pause; beyond it the operation is parked.
PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Wired:
    """The parts of one process."""

    database: Database
    notifications: Notifications
    client: RegistryClient
    services: Services
    handlers: Mapping[Kind, Handler]
    registries: Registries
    deadlines: Deadlines
    saving: Saving
    chores: Sequence[Chore]


def broker_version() -> str:
    try:
        return version("manifest-broker")
    except PackageNotFoundError:
        return "0.0.0"


def wire(
    settings: Settings,
    url: str,
    *,
    push: RetryPolicy = PATIENT,
    prompt: RetryPolicy = PROMPT,
    delivery: RetryPolicy = DELIVERY,
    limits: Limits | None = None,
) -> Wired:
    """Construct everything once; nothing is connected yet.

    `push` is how patient pushes are, `prompt` the operations that callers wait for, and `delivery` those that
    bring events; `limits` are those of the registry client that are not settings.
    """
    database = Database(url, pool_size=settings.pool_size)
    notifications = Notifications(url)
    client = _client(settings, limits or Limits())
    seal = Seal(secret_key_of(settings))
    secrets = Secrets(seal)
    credentials = Credentials(read_keychain(settings), seal)
    intake = Intake(credentials)
    log = Events(database, notifications)
    pushes = Pushes(database, client, credentials, intake, log)
    saving = Saving(pushes, log)
    planning = Planning(database, client, credentials, intake)
    inspections = Inspections(database, client, credentials, intake)
    composer = Composer(database, client, credentials, saving)
    deliveries = Deliveries(database, client, secrets)
    handlers = {
        **_asked(composer, planning, inspections, policy=prompt),
        Kind.PUSH_LIST: Handler(pushes.perform, pushes.ended, policy=push),
        Kind.DELIVER: Handler(deliveries.perform, deliveries.ended, policy=delivery),
    }
    services = Services(
        lists=Lists(database, notifications, intake, saving, client.policy),
        pushes=pushes,
        planning=planning,
        inspections=inspections,
        operations=Operations(database, notifications, handlers),
        events=log,
        webhooks=Webhooks(database, client, secrets),
        deliveries=deliveries,
        tokens=Tokens(database),
        readiness=Readiness(database),
        version=broker_version(),
    )
    registries = Registries(database, notifications, client.budgets)
    deadlines = Deadlines(database, saving)
    chores = _chores(settings, saving, deliveries)
    return Wired(database, notifications, client, services, handlers, registries, deadlines, saving, chores)


def _asked(
    composer: Composer, planning: Planning, inspections: Inspections, *, policy: RetryPolicy
) -> dict[Kind, Handler]:
    """What callers wait for."""
    return {
        Kind.CREATE_LIST: Handler(composer.perform_create, policy=policy),
        Kind.ADD_ENTRIES: Handler(composer.perform_add, policy=policy),
        Kind.REFRESH_LIST: Handler(composer.perform_refresh, policy=policy),
        Kind.PLAN_PUSH: Handler(planning.perform, policy=policy),
        Kind.INSPECT_IMAGE: Handler(inspections.perform, policy=policy),
        Kind.INSPECT_IMAGES: Handler(inspections.perform_many, policy=policy),
    }


def _chores(settings: Settings, saving: Saving, deliveries: Deliveries) -> Sequence[Chore]:
    return [
        saving.remove_expired,
        forget_old_budgets,
        in_batches(events.forget_old_events, events.FORGOTTEN_AT_ONCE),
        in_batches(bringing.forget_old_deliveries, bringing.FORGOTTEN_AT_ONCE),
        deliveries.go_on,
        in_batches(
            partial(operations.forget_ended, older_than=timedelta(days=settings.keep_operations_days)),
            operations.FORGOTTEN_AT_ONCE,
        ),
    ]


def _client(settings: Settings, limits: Limits) -> RegistryClient:
    return RegistryClient(
        AccessPolicy.parse(
            allowed_networks=settings.allowed_networks,
            insecure_registries=settings.insecure_registries,
            registries=settings.registries,
            receivers=settings.receivers,
            ports=settings.registry_ports,
            allow_loopback=settings.loopback_allowed,
            token_origins=settings.token_origins,
            redirect_hosts=settings.redirect_hosts,
        ),
        limits=replace(
            limits,
            concurrency=settings.registry_concurrency,
            connect_seconds=settings.registry_connect_seconds,
            call_seconds=settings.registry_call_seconds,
            patience_seconds=PATIENCE_SECONDS,
            hook_seconds=settings.webhook_seconds,
        ),
        trusts=read_trusts(settings),
    )
