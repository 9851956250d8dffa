"""What registries warn of."""

from __future__ import annotations

import pytest

from app.outbound.failures import RequestContext
from app.registry.warnings import WarningLog, parse_warnings
from tests.support.images import plant
from tests.support.pushes import STAGED
from tests.support.registry import RegistryDouble, WithHeaders
from tests.support.registry_clients import INSECURE, child_at, connect, push_one, target_at


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ('299 - "This image is old."', ("This image is old.",)),
        ('  299 - "Say \\"hello\\"." ', ('Say "hello".',)),
        ('299 - ""', ()),
        ('199 - "another code"', ()),
        ('299 proxy.test "of a proxy"', ()),
        ('299 - "dated" "Sun, 06 Nov 1994 08:49:37 GMT"', ()),
        ("299 - unquoted", ()),
        ('299 - "' + "x" * 5000 + '"', ()),
    ],
)
def test_only_warnings_in_the_form_of_the_spec_are_read(value: str, texts: tuple[str, ...]) -> None:
    assert parse_warnings([value]) == texts


def test_each_warning_is_kept_once_and_not_too_many() -> None:
    log = WarningLog()
    for _ in range(2):
        log.record((f'299 - "{number}"' for number in range(100)), RequestContext("reg.test"))
    assert log.texts == tuple(str(number) for number in range(16))


async def test_a_push_says_what_the_registry_warns_of(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", STAGED)
    warning = WithHeaders({"Warning": '299 - "The tag 1 is reserved."'})
    registry.misbehave(warning, method="PUT", path="/app/manifests/", times=None)
    async with connect() as client:
        target, children = target_at(registry, "app", [STAGED]), [child_at(registry, "src", STAGED)]
        result = await push_one(client, target, children, INSECURE)
    assert result.warnings == ("The tag 1 is reserved.",)
