"""A tag that can't be read never counts as absent."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from app import errors
from app.oci.digest import parse_digest
from app.registry.push.model import Step, TagAction
from app.registry.push.push import dry_run
from tests.support.images import plant
from tests.support.pushes import OTHER, STAGED, RecordingGuard
from tests.support.registry import Fault, RegistryDouble, Status
from tests.support.registry_clients import INSECURE, child_at, connect, push_one, reference_at, target_at
from tests.support.registry_double.wire import Answer, Exchange

DENIALS = [
    Status.oci(401, "UNAUTHORIZED"),
    Status.oci(403, "DENIED"),
    Status(403),
    Status.oci(405, "UNSUPPORTED"),
    Status(451),
]
MISSING = Status.oci(404, "MANIFEST_UNKNOWN")
ALL, LIST = "/app/manifests/", "/app/tags/list$"


@dataclass(frozen=True, slots=True)
class DeniesWhatIsMissing(Fault):
    """404 becomes 403, as on registries that don't tell strangers what exists."""

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        return Answer(403) if answer.status == 404 else answer


def deny(registry: RegistryDouble, *paths: str, denial: Status = DENIALS[1]) -> None:
    for path in paths:
        for method in ("HEAD", "GET"):
            registry.misbehave(denial, method=method, path=path, times=None, optional=True)


@pytest.mark.parametrize("denial", DENIALS)
@pytest.mark.parametrize(
    "paths", [(ALL,), (ALL, LIST), ("/app/manifests/1$",)], ids=["manifests", "everything", "the tag"]
)
@pytest.mark.parametrize("held", [OTHER, None], ids=["held", "absent"])
async def test_a_tag_that_is_denied_is_left_alone(
    registry: RegistryDouble, denial: Status, paths: tuple[str, ...], held: object
) -> None:
    plant(registry, "src", "1", STAGED)
    if held is not None:
        plant(registry, "app", "1", OTHER)
    elif paths == ("/app/manifests/1$",):
        pytest.skip("The list of tags tells that it is absent.")
    deny(registry, *paths, denial=denial)
    async with connect() as client:
        target, children = target_at(registry, "app", [STAGED]), [child_at(registry, "src", STAGED)]
        with pytest.raises(errors.TagUnreadable, match="could not be read"):
            await push_one(client, target, children, INSECURE)
    assert not registry.tag_puts


@pytest.mark.parametrize("answer", [MISSING, Status.oci(404, "NAME_UNKNOWN"), Status(404)])
@pytest.mark.parametrize("is_strict", [False, True])
async def test_a_tag_is_not_missing_if_the_registry_hides_what_it_has_just_taken(
    registry: RegistryDouble, answer: Status, is_strict: bool
) -> None:
    plant(registry, "src", "1", STAGED)
    plant(registry, "app", "1", OTHER)
    deny(registry, ALL, denial=answer)
    asked = RecordingGuard(is_strict=is_strict, refuses=True)
    async with connect() as client:
        target, children = target_at(registry, "app", [STAGED]), [child_at(registry, "src", STAGED)]
        with pytest.raises(errors.TagMoved):
            await push_one(client, target, children, INSECURE, guard=asked.guard)
        with pytest.raises(errors.TagUnreadable, match="which it has just taken"):
            await push_one(client, target, children, INSECURE)
    (told,) = asked.told
    assert list(told.unread) == [reference_at(registry, "app:1")]
    assert not registry.tag_puts


@pytest.mark.parametrize("tags", [("1",), ("1", "2")])
async def test_a_push_that_may_be_unverified_moves_tags_that_the_registry_hides(
    registry: RegistryDouble, tags: tuple[str, ...]
) -> None:
    plant(registry, "src", "1", STAGED)
    plant(registry, "app", "1", OTHER)
    deny(registry, ALL, denial=MISSING)
    async with connect() as client:
        target = target_at(registry, "app", [STAGED], tags=tags)
        children = [child_at(registry, "src", STAGED)]
        result = await push_one(client, target, children, INSECURE, allow_unverified=True)
    assert result.tags == dict.fromkeys(tags, TagAction.MOVED_UNVERIFIED)
    assert all(registry.get_manifest("app", tag)[1] == target.index.raw for tag in tags)


async def test_no_tag_moves_if_the_index_can_not_be_seen_under_its_digest(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", STAGED)
    plant(registry, "app", "1", OTHER)
    deny(registry, ALL, denial=MISSING)
    async with connect() as client:
        target = target_at(registry, "app", [STAGED], tags=("1", "2"))
        with pytest.raises(errors.PushNotVerified):
            await push_one(client, target, [child_at(registry, "src", STAGED)], INSECURE)
    assert not registry.tag_puts


async def test_a_registry_may_show_what_it_has_taken_a_moment_later(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", STAGED)
    # The first look finds that the target lacks the image.
    registry.misbehave(MISSING, method="HEAD", path=f"/app/manifests/{STAGED.digest}", times=2, after=1)
    async with connect() as client:
        target, children = target_at(registry, "app", [STAGED]), [child_at(registry, "src", STAGED)]
        result = await push_one(client, target, children, INSECURE)
    assert result.tags == {"1": TagAction.MOVED}


async def test_a_dry_run_believes_the_list_of_tags_rather_than_a_missing_tag(
    registry: RegistryDouble,
) -> None:
    plant(registry, "src", "1", STAGED)
    plant(registry, "app", "1", OTHER)
    deny(registry, ALL, denial=MISSING)
    async with connect() as client:
        target = target_at(registry, "app", [STAGED], tags=("1", "2"))
        (found,) = await dry_run(client, [target], [child_at(registry, "src", STAGED)], INSECURE)
    assert list(found.unread) == ["1"]
    assert "although its list of tags has it" in found.unread["1"].detail


async def test_a_guard_is_told_of_tags_that_are_unread(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", STAGED)
    plant(registry, "app", "1", OTHER)
    plant(registry, "app", "2", OTHER)
    deny(registry, "/app/manifests/1$")
    asked = RecordingGuard(refuses=True)
    async with connect() as client:
        target = target_at(registry, "app", [STAGED], tags=("1", "2"))
        with pytest.raises(errors.TagMoved):
            await push_one(client, target, [child_at(registry, "src", STAGED)], INSECURE, guard=asked.guard)
    (told,) = asked.told
    assert list(told.unread) == [reference_at(registry, "app:1")]
    assert told.digests[reference_at(registry, "app:2")] == parse_digest(OTHER.digest)


@pytest.mark.parametrize("tags", [(), ("1",), ("1", "2")])
async def test_a_push_that_may_be_unverified_says_what_it_could_not_verify(
    registry: RegistryDouble, tags: tuple[str, ...]
) -> None:
    plant(registry, "src", "1", STAGED)
    plant(registry, "app", "1", OTHER)
    deny(registry, ALL)
    async with connect() as client:
        target = target_at(registry, "app", [STAGED], tags=tags)
        children = [child_at(registry, "src", STAGED)]
        result = await push_one(client, target, children, INSECURE, allow_unverified=True)
    digest = str(target.index.digest)
    assert result.tags == dict.fromkeys(tags or (digest,), TagAction.MOVED_UNVERIFIED)
    assert all(registry.get_manifest("app", each)[1] == target.index.raw for each in tags or (digest,))


async def test_a_push_that_may_be_unverified_is_verified_where_that_is_possible(
    registry: RegistryDouble,
) -> None:
    plant(registry, "src", "1", STAGED)
    async with connect() as client:
        target, children = target_at(registry, "app", [STAGED]), [child_at(registry, "src", STAGED)]
        result = await push_one(client, target, children, INSECURE, allow_unverified=True)
    assert result.tags == {"1": TagAction.MOVED}


@pytest.mark.parametrize("shows_list", [True, False])
@pytest.mark.parametrize("is_new", [True, False], ids=["a new repository", "a new tag"])
async def test_a_first_push_succeeds_where_the_registry_denies_what_is_missing(
    registry: RegistryDouble, shows_list: bool, is_new: bool
) -> None:
    plant(registry, "src", "1", STAGED)
    if not is_new:
        plant(registry, "app", "other", OTHER)
    if not shows_list:
        deny(registry, LIST)
    registry.misbehave(DeniesWhatIsMissing(), path="/app/(manifests|tags|blobs/sha)", times=None)
    async with connect() as client:
        target, children = target_at(registry, "app", [STAGED]), [child_at(registry, "src", STAGED)]
        result = await push_one(client, target, children, INSECURE)
    assert (result.previous, result.tags) == ({"1": None}, {"1": TagAction.MOVED})


@pytest.mark.parametrize("shows_list", [True, False])
async def test_a_condition_rests_on_the_list_of_tags_alone(
    registry: RegistryDouble, shows_list: bool
) -> None:
    plant(registry, "src", "1", STAGED)
    if not shows_list:
        deny(registry, LIST)
    registry.misbehave(DeniesWhatIsMissing(), path="/app/manifests", times=None)
    asked = RecordingGuard(is_strict=True)
    async with connect() as client:
        target, children = target_at(registry, "app", [STAGED]), [child_at(registry, "src", STAGED)]
        await push_one(client, target, children, INSECURE, guard=asked.guard)
    assert bool(asked.told[0].unread) is not shows_list


@pytest.mark.parametrize("paths", [(ALL,), (ALL, LIST), ("/app/manifests/1$",)])
async def test_a_dry_run_says_which_tags_are_unread(registry: RegistryDouble, paths: tuple[str, ...]) -> None:
    plant(registry, "src", "1", STAGED)
    plant(registry, "app", "1", OTHER)
    deny(registry, *paths)
    async with connect() as client:
        target, children = target_at(registry, "app", [STAGED]), [child_at(registry, "src", STAGED)]
        (found,) = await dry_run(client, [target], children, INSECURE)
    assert list(found.unread) == ["1"]
    assert "If the repository or the tag is new, push" in found.unread["1"].detail


@pytest.mark.parametrize("denies", [False, True])
async def test_a_tag_that_moved_before_the_push_failed_is_reported(
    registry: RegistryDouble, denies: bool
) -> None:
    plant(registry, "src", "1", STAGED)
    after = Status.oci(403, "DENIED") if denies else Status.oci(400, "UNSUPPORTED")
    told: list[Step] = []
    async with connect() as client:
        target, children = target_at(registry, "app", [STAGED]), [child_at(registry, "src", STAGED)]
        registry.misbehave(after, method="GET", path="/app/manifests/1$", times=None)
        with pytest.raises(errors.RegistryError):
            await push_one(client, target, children, INSECURE, told.append)
    last = told[-1]
    assert [(each.name, each.action) for each in last.finished] == [("1", TagAction.MOVED_UNVERIFIED)]
    assert last.done == 0
