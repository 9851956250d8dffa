"""The tenancy matrix: each route, with the ids of another project, for each kind of credential.

The routes come from the OpenAPI document. A row says how to call one of them: its queries and bodies name
what belongs to a project as `{list_id}`, and so does the path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid5

from tests.support.openapi_contract import operations
from tests.support.tenants import Tenant

# Credentials that may do nothing, and one of another project.
REFUSED = ("none", "garbage", "expired", "revoked")
OTHER, SAME = "other", "same"
CREDENTIALS = (*REFUSED, OTHER, SAME)
# How often a path with ids is called, with different ids.
TIMES = 24


@dataclass(frozen=True, slots=True)
class Call:
    """One way to call a route."""

    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """The calls of a route.

    `is_open` needs no token, and `is_admins` an admin's. `is_stream` has no end. `ends` takes rows away, so
    it comes last.
    """

    calls: tuple[Call, ...] = (Call(),)
    is_open: bool = False
    is_admins: bool = False
    is_stream: bool = False
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    name: str
    method: str
    path: str

    @property
    def row(self) -> Row:
        return ROWS[self.name]

    @property
    def repetitions(self) -> int:
        """How often each of its calls is made with each credential."""
        return TIMES if "{" in self.path else 4


def routes() -> list[Route]:
    return [Route(each["operationId"], method.upper(), path) for method, path, each in operations()]


def probes(route: Route) -> Iterator[tuple[Call, int]]:
    """The calls of a route, each with the number of the ids that it names."""
    for call in route.row.calls:
        for number in range(route.repetitions):
            yield call, number


def values_of(tenant: Tenant, number: int) -> dict[str, str]:
    """What a call may name of a project."""
    place, turn = number % len(tenant.references), number // len(tenant.references)
    ids = {name: _chosen(tenant.ids[name], len(tenant.references), place, turn) for name in tenant.ids}
    reference = tenant.references[place]
    return {
        **ids,
        "reference": reference,
        "session": tenant.session,
        "key": tenant.key,
        "project": tenant.name,
    }


def _chosen(ids: Sequence[str], lists: int, place: int, turn: int) -> str:
    """One of the ids that belong to the list, or to the webhook, at that place."""
    each = max(1, len(ids) // lists)
    return ids[(place * each + turn % each) % len(ids)]


def unknown_values(values: Mapping[str, str]) -> dict[str, str]:
    """Values of the same form that no project has."""
    return {
        name: str(uuid5(UUID(int=0), value)) if name.endswith("_id") else value.replace("-of-", "-by-")
        for name, value in values.items()
    }


def filled(template: Any, values: Mapping[str, str]) -> Any:
    """The template with its names replaced by values."""
    match template:
        case str():
            return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], template)
        case Mapping():
            return {name: filled(each, values) for name, each in template.items()}
        case list() | tuple():
            return [filled(each, values) for each in template]
        case _:
            return template


BACKGROUND = {"Prefer": "respond-async"}
REPEATED = {**BACKGROUND, "Idempotency-Key": "{key}"}
FIRST_PAGE = Call({"limit": "1"})
BY_LIST = Call({"list_id": "{list_id}"})
BY_SESSION = Call({"session": "{session}"})
BY_REFERENCE = Call({"reference": "{reference}"})
SOURCES = {"sources": ["{reference}"], "insecure": True}
NEW_LIST = {**SOURCES, "reference": "{reference}", "session": "{session}"}
INSPECTION = {"reference": "{reference}", "insecure": True}


def accepting(body: Any) -> tuple[Call, ...]:
    """A call that an operation follows, also with the Idempotency-Key of another project."""
    return Call(body=body, headers=BACKGROUND), Call(body=body, headers=REPEATED)


# A new route needs a row here.
ROWS: Mapping[str, Row] = {
    "create_list": Row((*accepting(NEW_LIST), *accepting({**NEW_LIST, "amend": True}))),
    "list_lists": Row((FIRST_PAGE, Call(), BY_REFERENCE, BY_SESSION)),
    "get_list": Row((Call(), Call({"wait_for": "pushed"}, headers={"Prefer": "wait=0"}))),
    "update_list": Row((Call(body={"labels": {"stage": "changed"}}),)),
    "delete_list": Row(ends=True),
    "delete_lists": Row(
        (
            Call(body={"ids": ["{list_id}"]}),
            Call(body={"references": ["{reference}"], "session": "{session}"}),
        ),
        ends=True,
    ),
    "get_index": Row(),
    "refresh_list": Row(accepting({})),
    "add_entries": Row(accepting(SOURCES)),
    "get_entry": Row(),
    "annotate_entry": Row((Call(body={"annotations": {"changed": "yes"}}),)),
    "remove_entry": Row(ends=True),
    "plan_push": Row(accepting({"insecure": True})),
    "push_list": Row(accepting({"insecure": True})),
    "list_pushes": Row((FIRST_PAGE, Call(), BY_REFERENCE, BY_SESSION, BY_LIST)),
    "get_push": Row(),
    "get_pushed_index": Row(),
    "restore_push": Row(accepting({"insecure": True})),
    "inspect_image": Row(
        (
            Call({"reference": "{reference}", "insecure": "true"}, headers=BACKGROUND),
            Call(
                {"reference": "{reference}", "session": "{session}", "insecure": "true"}, headers=BACKGROUND
            ),
        )
    ),
    "inspect_images": Row(accepting({"inspections": [INSPECTION]})),
    "list_operations": Row((FIRST_PAGE, Call(), BY_LIST, Call({"kind": "push_list"}))),
    "get_operation": Row((Call(), Call(headers={"Prefer": "wait=0"}))),
    "stream_operation": Row((Call(), Call(headers={"Last-Event-ID": "0"})), is_stream=True),
    "cancel_operation": Row(ends=True),
    "stream_events": Row((Call({"after": "0"}), Call({"list_id": "{list_id}"}), BY_SESSION), is_stream=True),
    "list_events": Row((FIRST_PAGE, Call(), BY_LIST, BY_SESSION)),
    "create_webhook": Row((Call(body={"url": "https://receiver.example.com/another"}),)),
    "list_webhooks": Row((FIRST_PAGE, Call())),
    "get_webhook": Row(),
    "update_webhook": Row((Call(body={"description": "changed", "enabled": True}),)),
    "delete_webhook": Row(ends=True),
    "rotate_webhook_secret": Row((Call(body={}),)),
    "test_webhook": Row(),
    "list_webhook_deliveries": Row((Call(), Call({"state": "pending"}))),
    "get_webhook_delivery": Row(),
    "replay_webhook_delivery": Row(),
    "replay_webhook_deliveries": Row((Call(body={"states": ["failed", "delivered"]}),)),
    "get_quota": Row(),
    "create_project": Row((Call(body={"name": "another"}),), is_admins=True),
    "list_projects": Row((FIRST_PAGE, Call()), is_admins=True),
    "create_token": Row((Call(body={"name": "another", "project": "{project}"}),), is_admins=True),
    "list_tokens": Row((FIRST_PAGE, Call()), is_admins=True),
    "revoke_token": Row(is_admins=True),
    "get_health": Row(is_open=True),
    "get_readiness": Row(is_open=True),
    "get_metrics": Row(is_open=True),
    "get_version": Row(is_open=True),
}
