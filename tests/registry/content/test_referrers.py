"""Lists of referrers: by the API of the registry, or by the tag that stands in for it."""

from __future__ import annotations

import pytest

from app import errors
from app.oci.digest import parse_digest
from app.oci.referrers import referrers_tag
from app.registry.client import RegistryClient
from tests.support.images import OCI_INDEX, Image, make_image, make_index, make_referrer, plant
from tests.support.registry import Fault, Html, OtherStatus, RegistryDouble, Status, Truncated, WithHeaders
from tests.support.registry_clients import INSECURE, QUICK, Clock, connect, repository_at

IMAGE = make_image(media="oci", seed="listed")
SUBJECT = parse_digest(IMAGE.digest)
SIGNATURES = [make_referrer(IMAGE, seed=n, annotations={"n": str(n)}) for n in range(7)]
TAG = referrers_tag(SUBJECT)


def plant_in_tag(double: RegistryDouble, referrers: list[Image]) -> None:
    """As a client leaves them on a registry without the API."""
    for each in referrers:
        plant(double, "app", None, each)
    plant(double, "app", TAG, make_index(referrers))


async def listed(client: RegistryClient, double: RegistryDouble) -> set[str]:
    found = await client.list_referrers(repository_at(double, "app"), SUBJECT, INSECURE)
    assert len(found) == len({each.digest for each in found})
    return {str(each.digest) for each in found}


async def test_the_api_lists_types_and_annotations(registry: RegistryDouble) -> None:
    plant(registry, "app", None, SIGNATURES[3])
    async with connect() as client:
        (found,) = await client.list_referrers(repository_at(registry, "app"), SUBJECT, INSECURE)
    assert str(found.digest) == SIGNATURES[3].digest
    assert (found.annotations, found.artifact_type) == ({"n": "3"}, "application/vnd.example.signature.v1")
    assert not registry.received(path="/manifests/")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
async def test_all_pages_are_read(registry: RegistryDouble, size: int) -> None:
    registry.rules.referrers_per_page = size
    for each in SIGNATURES:
        plant(registry, "app", None, each)
    async with connect() as client:
        assert await listed(client, registry) == {each.digest for each in SIGNATURES}
    assert len(registry.received(path="/referrers/")) == -(-len(SIGNATURES) // size)


async def test_a_manifest_without_referrers_has_an_empty_list(registry: RegistryDouble) -> None:
    async with connect() as client:
        assert await listed(client, registry) == set()
        registry.rules.referrers_api = False
        assert await listed(client, registry) == set()


async def test_a_registry_without_the_api_is_read_by_the_tag_and_not_asked_again(
    registry: RegistryDouble,
) -> None:
    registry.rules.referrers_api = False
    plant_in_tag(registry, SIGNATURES)
    clock = Clock()
    async with connect(now=clock) as client:
        for _ in range(3):
            assert await listed(client, registry) == {each.digest for each in SIGNATURES}
        assert len(registry.received(path="/referrers/")) == 1
        clock.pass_by(QUICK.remembered_seconds)
        await listed(client, registry)
    assert len(registry.received(path="/referrers/")) == 2


@pytest.mark.parametrize(
    "fault",
    [
        Html(),
        Status(200, headers={"Content-Type": "application/json"}, body=b"{}"),
        Status(303, headers={"Location": "https://www.example.test/"}),
        Status.oci(404, "NOT_FOUND"),
        Status(400),
        Status(405),
        Status(406),
        Status(501),
    ],
    ids=["a page", "no index", "redirect", "404", "400", "405", "406", "501"],
)
async def test_an_answer_of_another_type_means_that_the_api_is_missing(
    registry: RegistryDouble, fault: Fault
) -> None:
    registry.misbehave(fault, path="/referrers/", times=None)
    plant_in_tag(registry, SIGNATURES[:2])
    async with connect() as client:
        assert await listed(client, registry) == {each.digest for each in SIGNATURES[:2]}


@pytest.mark.parametrize(
    ("fault", "asked"),
    [(Status.oci(404, "NAME_UNKNOWN"), 2), (Status(400), 2), (Status.oci(404, "OTHER"), 1), (Status(404), 1)],
    ids=["unknown name", "bad request", "this repository", "this registry"],
)
async def test_only_a_permanent_answer_is_remembered(
    registry: RegistryDouble, fault: Fault, asked: int
) -> None:
    registry.misbehave(fault, path="/referrers/", times=1)
    async with connect() as client:
        await listed(client, registry)
        await listed(client, registry)
    assert len(registry.received(path="/referrers/")) == asked


async def test_a_repository_without_the_api_says_nothing_about_others(registry: RegistryDouble) -> None:
    registry.misbehave(Status.oci(404, "NOT_SUPPORTED"), path="/old/referrers/", times=None)
    plant(registry, "app", None, SIGNATURES[0])
    async with connect() as client:
        await client.list_referrers(repository_at(registry, "old"), SUBJECT, INSECURE)
        assert await listed(client, registry) == {SIGNATURES[0].digest}


@pytest.mark.parametrize("where", ["/referrers/", f"/manifests/{TAG}$"])
@pytest.mark.parametrize("times", [1, None])
async def test_a_list_that_can_not_be_read_is_not_an_empty_one(
    registry: RegistryDouble, where: str, times: int | None
) -> None:
    """A truncated list looks like this, and is requested again."""
    registry.rules.referrers_api = where == "/referrers/"
    plant_in_tag(registry, SIGNATURES[:2])
    registry.misbehave(Truncated(with_length=False), path=where, times=times)
    async with connect() as client:
        if times is None:
            with pytest.raises((errors.NotARegistry, errors.SourceUnusable)):
                await listed(client, registry)
        else:
            assert await listed(client, registry) == {each.digest for each in SIGNATURES[:2]}


async def test_a_list_whose_content_is_no_index_is_an_error(registry: RegistryDouble) -> None:
    registry.misbehave(Status(200, b"[]", {"Content-Type": OCI_INDEX}), path="/referrers/", times=None)
    async with connect() as client:
        with pytest.raises(errors.NotARegistry):
            await listed(client, registry)


@pytest.mark.parametrize("status", [401, 403, 503])
async def test_a_refused_list_is_not_an_empty_list(registry: RegistryDouble, status: int) -> None:
    registry.misbehave(Status(status), path="/referrers/", times=None)
    async with connect() as client:
        with pytest.raises(errors.RegistryError):
            await listed(client, registry)


async def test_a_later_page_that_is_no_index_is_an_error(registry: RegistryDouble) -> None:
    """Half a list would silently leave out signatures."""
    registry.rules.referrers_per_page = 2
    for each in SIGNATURES:
        plant(registry, "app", None, each)
    registry.misbehave(Html(), path="/referrers/", after=1, times=None)
    async with connect() as client:
        with pytest.raises(errors.NotARegistry):
            await listed(client, registry)


async def test_a_referrers_tag_that_holds_the_subject_lists_nothing(registry: RegistryDouble) -> None:
    """GitLab's registry takes the tag for the digest."""
    index = make_index([IMAGE, make_image(architecture="arm64", media="oci")])
    registry.rules.referrers_api = False
    subject = parse_digest(index.digest)
    plant(registry, "app", referrers_tag(subject), index)
    async with connect() as client:
        assert await client.list_referrers(repository_at(registry, "app"), subject, INSECURE) == ()


async def test_a_referrers_tag_with_other_content_lists_nothing(registry: RegistryDouble) -> None:
    registry.rules.referrers_api = False
    plant(registry, "app", TAG, IMAGE)
    async with connect() as client:
        assert await listed(client, registry) == set()


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("exists", [False, True])
async def test_a_denied_referrers_tag_counts_as_empty_where_it_does_not_exist(
    registry: RegistryDouble, status: int, exists: bool
) -> None:
    registry.rules.referrers_api = False
    if exists:
        plant(registry, "app", TAG, make_index([SIGNATURES[0]], media="oci"))
    registry.misbehave(OtherStatus(status), path=f"/manifests/{TAG}", times=None)
    async with connect() as client:
        if exists:
            with pytest.raises(errors.RegistryDenied):
                await listed(client, registry)
        else:
            assert await listed(client, registry) == set()


async def test_a_link_that_leads_to_no_next_page_is_no_page(registry: RegistryDouble) -> None:
    plant(registry, "app", None, SIGNATURES[0])
    link = '</v2/app/referrers/x>; rel="first", <https://else.test/>; title="next"'
    registry.misbehave(WithHeaders({"Link": link}), path="/referrers/", times=None)
    async with connect() as client:
        assert await listed(client, registry) == {SIGNATURES[0].digest}
