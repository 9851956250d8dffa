"""Webhooks reach only permitted addresses, and receivers learn and cause nothing else (T33)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app import errors
from app.outbound.failures import RequestContext
from app.services.webhooks.sender import Post, Receipt, budget_name
from tests.hostile.test_names import FORBIDDEN_NAMES
from tests.support.hostile_servers import ELSEWHERE, FORBIDDEN, HOME, HostileServers, Reply, reply, servers

BODY = b'{"type":"list.pushed"}'
SIGNED = {"webhook-id": "1", "webhook-signature": "v1,c2lnbmF0dXJl"}


async def deliver(made: HostileServers, text: str, tenant: str = "a") -> Receipt:
    url = made.sender.parse_receiver(text)
    return await made.sender.post(Post(url, budget_name(url.origin, tenant), BODY, lambda: SIGNED))


def addresses(scheme: str) -> Sequence[str]:
    return [f"{scheme}://{name}/hook" for name in FORBIDDEN_NAMES]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_forbidden_addresses_are_never_connected_to(tmp_path: Path, scheme: str) -> None:
    async with servers(tmp_path) as made:
        for template in addresses(scheme):
            text = template.replace("{port}", str(made.registry.port))
            with pytest.raises((errors.InvalidReceiver, errors.ReceiverForbidden, errors.DeliveryFailed)):
                await deliver(made, text)
        made.check()
        assert made.journal == []


async def test_the_connection_goes_to_the_address_that_was_checked(tmp_path: Path) -> None:
    async with servers(tmp_path) as made:
        # Whoever asked twice would be led astray.
        made.answers["registry.test"] = [[HOME], [FORBIDDEN]]
        receipt = await deliver(made, f"http://registry.test:{made.registry.port}/hook")
        assert receipt.is_success
        assert made.attacker.connections == 0


async def test_a_name_that_changes_its_address_is_checked_again(tmp_path: Path) -> None:
    async with servers(tmp_path) as made:
        made.answers["registry.test"] = [[FORBIDDEN], [HOME]]
        with pytest.raises(errors.DeliveryFailed) as caught:
            await deliver(made, f"http://registry.test:{made.registry.port}/hook")
        assert made.attacker.connections == 0
        # It may have been a moment's: the next attempt looks again.
        assert caught.value.retryable
        assert (await deliver(made, f"http://registry.test:{made.registry.port}/hook")).is_success


async def test_every_address_of_a_name_must_be_allowed(tmp_path: Path) -> None:
    async with servers(tmp_path) as made:
        made.answers["registry.test"] = [[HOME, FORBIDDEN]]
        with pytest.raises(errors.DeliveryFailed):
            await deliver(made, f"http://registry.test:{made.registry.port}/hook")
        assert made.journal == []
        assert made.attacker.connections == 0


async def test_the_error_does_not_reveal_why_an_address_is_forbidden(tmp_path: Path) -> None:
    async with servers(tmp_path) as made:
        said = set()
        for host in ("10.0.0.1", "169.254.169.254", "127.0.0.2", "[::1]", "evil.test"):
            with pytest.raises((errors.ReceiverForbidden, errors.DeliveryFailed)) as caught:
                await deliver(made, f"https://{host}/hook")
            said.add(caught.value.detail.replace(host, "HOST"))
        assert len(said) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("host", [FORBIDDEN, ELSEWHERE, "evil.test"])
async def test_a_redirect_is_not_followed(tmp_path: Path, status: int, host: str) -> None:
    async with servers(tmp_path) as made:
        made.registry.on("/hook", reply(status, Location=f"http://{host}:{made.storage.port}/"))
        receipt = await deliver(made, f"{made.registry.url}/hook")
        assert (receipt.status, receipt.is_success) == (status, False)
        assert [seen.target for seen in made.journal] == ["/hook"]
        made.check()


async def test_the_exact_bytes_are_sent_once_without_credentials(tmp_path: Path) -> None:
    async with servers(tmp_path) as made:
        made.registry.on("/hook", reply(503))
        receipt = await deliver(made, f"{made.registry.url}/hook/%2e%2E/;a?b=%20&c=d")
        (seen,) = made.journal
        assert receipt.status == 503
        assert (seen.method, seen.target, seen.body) == ("POST", "/hook/%2e%2E/;a?b=%20&c=d", BODY)
        names = {name.lower() for name, _ in seen.headers}
        assert names == {"host", "user-agent", "accept", "accept-encoding", "content-length", *SIGNED}


async def test_a_receiver_gets_no_credentials_of_a_registry_on_its_host(tmp_path: Path) -> None:
    async with servers(tmp_path) as made:
        await made.client.fetch_manifest(made.reference(), made.access)
        made.registry.on("/hook", reply(401, WWW_Authenticate='Basic realm="x"'))
        assert (await deliver(made, f"{made.registry.url}/hook")).status == 401
        assert made.journal[-1].header("Authorization") is None


@pytest.mark.parametrize(
    "answer",
    [
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 100_000),
        Reply(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5_000),
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!"),
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
    ],
    ids=["endless", "crumbs", "compressed", "missing"],
)
async def test_the_answer_of_a_receiver_is_ignored_after_its_status(tmp_path: Path, answer: Reply) -> None:
    async with servers(tmp_path) as made:
        made.registry.on("/hook", answer)
        assert (await deliver(made, f"{made.registry.url}/hook")).is_success


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SMTP ready\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 40_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
    ],
    ids=["nothing", "another protocol", "many headers", "a long header", "interim answers"],
)
async def test_an_answer_that_is_not_http_is_a_failed_delivery(tmp_path: Path, raw: bytes) -> None:
    async with servers(tmp_path) as made:
        made.registry.on("/hook", Reply(raw=raw))
        with pytest.raises(errors.DeliveryFailed) as caught:
            await deliver(made, f"{made.registry.url}/hook")
        assert "SMTP" not in caught.value.detail


async def test_a_receiver_that_drips_its_answer_times_out(tmp_path: Path) -> None:
    async with servers(tmp_path, seconds=0.3) as made:
        made.registry.on("/hook", Reply(drip=0.05))
        with pytest.raises(errors.DeliveryFailed, match="in time"):
            await deliver(made, f"{made.registry.url}/hook")


async def test_a_receiver_with_an_untrusted_certificate_gets_nothing(tmp_path: Path) -> None:
    async with servers(tmp_path, tls=True) as made:
        # Believed for its names, of which this is none.
        made.answers["stranger.test"] = [[HOME]]
        with pytest.raises(errors.DeliveryFailed, match="TLS"):
            await deliver(made, f"https://stranger.test:{made.registry.port}/hook")
        assert made.journal == []
        assert (await deliver(made, f"{made.registry.url}/hook")).is_success


async def test_a_receiver_that_rejects_one_tenant_still_gets_the_requests_of_others(tmp_path: Path) -> None:
    async with servers(tmp_path) as made:
        made.registry.on("/noisy", reply(429, Retry_After="100"))
        await deliver(made, f"{made.registry.url}/noisy")
        assert (await deliver(made, f"{made.registry.url}/hook", "b")).is_success
        with pytest.raises(errors.RateLimited) as caught:
            await deliver(made, f"{made.registry.url}/hook")
        assert set(caught.value.members) == {"retry_after"}
        assert "#" not in caught.value.detail


async def test_a_busy_receiver_is_awaited_no_longer_than_its_answer(tmp_path: Path) -> None:
    async with servers(tmp_path, seconds=0.1) as made:
        budget = budget_name(made.registry.url, "a")
        budgets = made.client.budgets
        async with AsyncExitStack() as stack:
            for _ in range(budgets.of(budget).concurrency):
                await stack.enter_async_context(budgets.at(budget).slot(RequestContext(budget)))
            with pytest.raises(errors.RateLimited, match="accepts no more requests"):
                await deliver(made, f"{made.registry.url}/hook")
        assert made.journal == []


async def test_a_receivers_refusal_does_not_close_a_registry_on_its_host(tmp_path: Path) -> None:
    async with servers(tmp_path) as made:
        made.registry.on("/hook", reply(429, Retry_After="100"))
        receipt = await deliver(made, f"{made.registry.url}/hook")
        assert (receipt.status, receipt.retry_after) == (429, 100.0)
        with pytest.raises(errors.RateLimited):
            await deliver(made, f"{made.registry.url}/hook")
        await made.client.fetch_manifest(made.reference(), made.access)
        assert [seen.target for seen in made.journal].count("/hook") == 1
