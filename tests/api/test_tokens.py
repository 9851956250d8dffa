"""Tokens and projects: authentication and isolation."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.support.broker import Broker, Client, check_problem
from tests.support.openapi_contract import document, operations
from tests.support.planted_images import plant_images
from tests.support.postgres import execute
from tests.support.registry import RegistryDouble

V1 = [
    pytest.param(method.upper(), path, id=operation["operationId"])
    for method, path, operation in operations()
    if path.startswith("/v1/")
]


@pytest.mark.parametrize(("method", "path"), V1)
async def test_every_call_under_v1_needs_a_token(broker: Broker, method: str, path: str) -> None:
    path = path.replace("{", "").replace("}", "")
    for name in ("list_id", "entry_id", "operation_id", "push_id", "token_id", "webhook_id", "delivery_id"):
        path = path.replace(name, str(uuid4()))
    query = "?reference=a" if path == "/v1/inspect" else ""
    body = _example(method, path)
    async with broker.client_with(None) as client:
        reply = await client.request(method, path + query, json=body)
    check_problem(reply, 401, "unauthenticated")
    # RFC 9110, section 15.5.2: a 401 names the scheme to use.
    assert reply.headers["WWW-Authenticate"].startswith("Bearer ")


def _example(method: str, path: str) -> object:
    for at, template, operation in operations():
        if at == method.lower() and template.count("/") == path.count("/") and "requestBody" in operation:
            same = [
                a == b or a.startswith("{") for a, b in zip(template.split("/"), path.split("/"), strict=True)
            ]
            if all(same):
                examples = operation["requestBody"]["content"]["application/json"]["examples"]
                return next(iter(examples.values()))["value"]
    return None


async def test_a_new_token_works_and_is_shown_once(broker: Broker) -> None:
    body = {"name": "ci", "project": "default"}
    reply = await broker.client.post("/v1/tokens", json=body)
    assert (reply.status_code, reply.headers["Cache-Control"]) == (201, "no-store")
    text = reply.json()["token"]
    async with broker.client_with(text) as client:
        assert (await client.get("/v1/lists")).status_code == 200
    listed = await broker.client.get("/v1/tokens")
    assert text not in listed.text
    assert {each["name"] for each in listed.json()["items"]} == {"ci", "operator"}
    check_problem(await broker.client.post("/v1/tokens", json=body), 409, "name-taken")


async def test_a_revoked_token_is_rejected_at_once(broker: Broker) -> None:
    made = await broker.call("POST", "/v1/tokens", {"name": "ci"}, status=201)
    async with broker.client_with(made["token"]) as client:
        assert (await client.get("/v1/lists")).status_code == 200
        await broker.call("DELETE", f"/v1/tokens/{made['id']}", status=204)
        check_problem(await client.get("/v1/lists"), 401, "unauthenticated")
    check_problem(await broker.client.delete(f"/v1/tokens/{made['id']}"), 404, "token-not-found")
    await broker.new_token(name="ci")


async def test_a_token_is_rejected_once_it_has_expired(broker: Broker, database_url: str) -> None:
    body = {"name": "ci", "expires_at": "2999-01-01T00:00:00+01:00"}
    made = await broker.call("POST", "/v1/tokens", body, status=201)
    assert made["expires_at"] == "2998-12-31T23:00:00Z"
    assert made["expires_at"] in {each["expires_at"] for each in await listed_tokens(broker)}
    async with broker.client_with(made["token"]) as client:
        assert (await client.get("/v1/lists")).status_code == 200
        await execute(database_url, "UPDATE tokens SET expires_at = now() WHERE name = 'ci'")
        check_problem(await client.get("/v1/lists"), 401, "unauthenticated")
    assert {each["name"] for each in await listed_tokens(broker)} == {"operator"}
    # Its name is free again.
    assert (await broker.call("POST", "/v1/tokens", {"name": "ci"}, status=201))["expires_at"] is None


async def listed_tokens(broker: Broker) -> list[dict[str, object]]:
    found: list[dict[str, object]] = (await broker.call("GET", "/v1/tokens"))["items"]
    return found


@pytest.mark.parametrize("moment", ["2020-01-01T00:00:00Z", "2999-01-01", "2999-01-01T00:00:00", 4e9, "soon"])
async def test_a_token_expires_at_a_time_in_the_future(broker: Broker, moment: object) -> None:
    reply = await broker.client.post("/v1/tokens", json={"name": "ci", "expires_at": moment})
    assert check_problem(reply, 422)["errors"][0]["pointer"] == "/expires_at"


async def test_only_admins_create_projects_and_tokens(broker: Broker) -> None:
    token = await broker.new_token()
    async with broker.client_with(token) as client:
        for method, path, body in (
            ("GET", "/v1/projects", None),
            ("POST", "/v1/projects", {"name": "x"}),
            ("GET", "/v1/tokens", None),
            ("POST", "/v1/tokens", {"name": "x"}),
            ("DELETE", f"/v1/tokens/{uuid4()}", None),
        ):
            check_problem(await client.request(method, path, json=body), 403, "forbidden")
    projects = await broker.call("GET", "/v1/projects")
    assert [each["name"] for each in projects["items"]] == ["default"]


@pytest.mark.parametrize("what", ["projects", "tokens"])
async def test_the_listings_are_paged_newest_first_by_links(broker: Broker, what: str) -> None:
    for n in range(4):
        await broker.call("POST", f"/v1/{what}", {"name": f"n{n}"}, status=201)
    seen: list[str] = []
    path: str | None = f"/v1/{what}?limit=2"
    while path is not None:
        reply = await broker.client.get(path)
        page = reply.json()
        seen += [each["name"] for each in page["items"]]
        link = reply.links.get("next")
        path = link["url"] if link else None
        assert (path is None) == (page["next_cursor"] is None)
    assert seen == ["n3", "n2", "n1", "n0", "default" if what == "projects" else "operator"]
    check_problem(await broker.client.get(f"/v1/{what}?cursor=x"), 422, "invalid-cursor")


async def test_a_created_admin_token_has_the_same_rights(broker: Broker) -> None:
    async with broker.client_with(await broker.new_token(admin=True)) as client:
        reply = await client.post("/v1/projects", json={"name": "x"})
        assert reply.status_code == 201
        check_problem(await client.post("/v1/projects", json={"name": "x"}), 409, "name-taken")
        check_problem(
            await client.post("/v1/tokens", json={"name": "y", "project": "no"}), 404, "project-not-found"
        )


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", "a-", "a" * 64, "a\n", "é", "a/b"])
async def test_names_have_a_restricted_alphabet(broker: Broker, name: str) -> None:
    check_problem(await broker.client.post("/v1/projects", json={"name": name}), 422, "invalid-input")
    check_problem(await broker.client.post("/v1/tokens", json={"name": name}), 422, "invalid-input")


async def test_resources_of_another_project_are_not_found(broker: Broker, registry: RegistryDouble) -> None:
    await broker.call("POST", "/v1/projects", {"name": "other"}, status=201)
    draft = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    pushed = await broker.push(draft["id"])
    entry = draft["entries"][0]["id"]
    async with broker.client_with(await broker.new_token("other")) as client:
        for method, path, own, body in (
            ("GET", "/v1/lists/{}", draft["id"], None),
            ("PATCH", "/v1/lists/{}", draft["id"], {}),
            ("DELETE", "/v1/lists/{}", draft["id"], None),
            ("GET", "/v1/lists/{}/index", draft["id"], None),
            ("POST", "/v1/lists/{}/push", draft["id"], {}),
            ("POST", "/v1/lists/{}/entries", draft["id"], {"sources": ["a"]}),
            ("GET", f"/v1/lists/{{}}/entries/{entry}", draft["id"], None),
            ("PATCH", f"/v1/lists/{{}}/entries/{entry}", draft["id"], {}),
            ("DELETE", f"/v1/lists/{{}}/entries/{entry}", draft["id"], None),
            ("GET", "/v1/pushes/{}", pushed["id"], None),
            ("GET", "/v1/operations/{}", pushed["operation_id"], None),
            ("GET", "/v1/operations/{}/events", pushed["operation_id"], None),
            ("POST", "/v1/operations/{}/cancel", pushed["operation_id"], None),
        ):
            await _are_alike(client, method, path, own, body)
        for listing in ("lists", "pushes", "operations"):
            assert (await client.get(f"/v1/{listing}")).json()["items"] == []
        body = {"references": [draft["reference"]], "ids": [draft["id"]]}
        results = (await client.post("/v1/lists/delete", json=body)).json()["results"]
        assert [each["deleted"] for each in results] == [False, False]
    assert (await broker.call("GET", f"/v1/lists/{draft['id']}"))["reference"] == draft["reference"]


async def _are_alike(client: Client, method: str, path: str, own: str, body: object) -> None:
    unknown = str(uuid4())
    answers = []
    for identity in (own, unknown):
        reply = await client.request(method, path.format(identity), json=body)
        text = reply.text.replace(identity, "ID")
        answers.append((reply.status_code, text))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


async def test_projects_can_have_lists_with_the_same_reference(
    broker: Broker, registry: RegistryDouble
) -> None:
    await broker.call("POST", "/v1/projects", {"name": "other"}, status=201)
    mine = await broker.create(f"{registry.host}/app:1")
    async with broker.client_with(await broker.new_token("other")) as client:
        reply = await client.post("/v1/lists", json={"reference": mine["reference"]})
        assert reply.status_code == 201
        assert reply.json()["created_by"] == "ci"
        found = await client.get("/v1/inspect", params={"reference": mine["reference"]})
        assert found.json()["list_id"] == reply.json()["id"]


def test_only_the_response_to_a_new_token_shows_a_token() -> None:
    showing = [
        name
        for name, schema in document()["components"]["schemas"].items()
        if "token" in schema.get("properties", {})
    ]
    assert showing == ["NewToken"]
