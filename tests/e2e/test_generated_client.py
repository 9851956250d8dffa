"""A client generated from the OpenAPI document does the main job."""

from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.broker import Broker
from tests.support.images import make_image_for, seed
from tests.support.openapi_contract import document
from tests.support.registry import RegistryDouble

PACKAGE = "generated_broker_client"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The client, generated without a single warning."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "openapi.json").write_text(json.dumps(document()))
    # Formatting what was generated is a courtesy of the tool that needs ruff on the path; it is left out.
    (folder / "config.json").write_text(json.dumps({"post_hooks": []}))
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("openapi-python-client")), "generate"),
            *("--path", "openapi.json", "--config", "config.json", "--meta", "none"),
            *("--output-path", PACKAGE, "--fail-on-warning"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Generating " + PACKAGE + "\n", "")
    sys.path.insert(0, str(folder))
    yield importlib.import_module(PACKAGE)
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def test_every_model_has_a_deliberate_name(generated: ModuleType) -> None:
    models = importlib.import_module(f"{PACKAGE}.models")
    made_up = [name for name in models.__all__ if "Type0" in name or name.endswith("Item")]
    assert made_up == []
    assert {"DraftList", "Entry", "Push", "Operation", "OperationState", "Problem"} <= set(models.__all__)


async def test_the_client_creates_annotates_pushes_and_inspects_a_list(
    generated: ModuleType, broker: Broker, registry: RegistryDouble
) -> None:
    for platform in ("linux/amd64", "linux/arm64"):
        await seed(registry, f"app-{platform.partition('/')[2]}", "1", make_image_for(platform))
    pushed, found, problem = await asyncio.to_thread(_use, generated, broker, registry.host)

    assert registry.get_manifest("app", "1") is not None
    assert pushed.digest == found.digest
    assert pushed.lines[-1] == pushed.digest
    assert found.from_.value == "registry"
    assert problem.type_ == "urn:manifest-broker:problem:list-exists"


async def test_bodies_are_optional_and_exact_bytes_are_returned(
    generated: ModuleType, broker: Broker, registry: RegistryDouble
) -> None:
    await seed(registry, "app-amd64", "1", make_image_for("linux/amd64"))
    await asyncio.to_thread(check_absent_bodies, generated, broker, registry.host)


def check_absent_bodies(generated: ModuleType, broker: Broker, host: str) -> None:
    models = importlib.import_module(f"{PACKAGE}.models")

    def call(name: str) -> Any:
        return importlib.import_module(f"{PACKAGE}.api.{name}")

    client: Any = generated
    with client.AuthenticatedClient(base_url=broker.base_url, token=broker.token) as session:
        body = models.CreateList(reference=f"{host}/app:1", sources=[f"{host}/app-amd64:1"], insecure=True)
        draft = call("lists.create_list").sync(client=session, body=body)
        for name in ("lists.plan_push", "lists.push_list", "lists.refresh_list"):
            # Plain HTTP needs the caller's word, which an absent body does not give.
            answered = call(name).sync(draft.id, client=session)
            assert isinstance(answered, models.Problem), (name, answered)
            assert not answered.type_.endswith((":malformed-body", ":invalid-input")), (name, answered)
        index = call("lists.get_index").sync_detailed(draft.id, client=session)
        assert index.headers["Docker-Content-Digest"] == draft.digest
        assert (index.parsed.schema_version, json.loads(index.content)) == (2, index.parsed.to_dict())
        pushed = call("lists.push_list").sync(draft.id, client=session, body=models.PushList(insecure=True))
        kept = call("pushes.get_pushed_index").sync_detailed(pushed.id, client=session)
        assert kept.content == index.content
        assert call("pushes.restore_push").sync(pushed.id, client=session).type_
        raw = call("inspections.inspect_image").sync_detailed(
            client=session,
            reference=f"{host}/app:1",
            insecure=True,
            raw=True,
            source=models.InspectSource.REGISTRY,
        )
        assert isinstance(raw.parsed, models.RawManifest)
        assert raw.content == index.content


def _use(generated: ModuleType, broker: Broker, host: str) -> tuple[Any, Any, Any]:
    """What the user of the client writes, who knows only its names."""
    models = importlib.import_module(f"{PACKAGE}.models")
    create_list = importlib.import_module(f"{PACKAGE}.api.lists.create_list")
    push_list = importlib.import_module(f"{PACKAGE}.api.lists.push_list")
    annotate_entry = importlib.import_module(f"{PACKAGE}.api.entries.annotate_entry")
    inspect_image = importlib.import_module(f"{PACKAGE}.api.inspections.inspect_image")
    client: Any = generated
    with client.AuthenticatedClient(base_url=broker.base_url, token=broker.token) as session:
        body = models.CreateList(
            reference=f"{host}/app:1",
            sources=[f"{host}/app-amd64:1", models.Source(reference=f"{host}/app-arm64:1")],
            insecure=True,
        )
        draft = create_list.sync(client=session, body=body)
        assert isinstance(draft, models.DraftList), draft
        entry = next(each for each in draft.entries if each.platform.architecture == "arm64")
        annotation = models.AnnotateEntry(platform=models.Platform(variant="v8"))
        draft = annotate_entry.sync(draft.id, entry.id, client=session, body=annotation)
        assert isinstance(draft, models.DraftList), draft
        pushed = push_list.sync(draft.id, client=session, body=models.PushList(insecure=True))
        assert isinstance(pushed, models.Push), pushed
        found = inspect_image.sync(
            client=session,
            reference=f"{host}/app:1",
            insecure=True,
            source=models.InspectSource.REGISTRY,
            verbose=True,
        )
        assert isinstance(found, models.Inspection), found
        problem = create_list.sync(client=session, body=body)
        assert isinstance(problem, models.Problem), problem
    return pushed, found, problem
