"""The addresses that webhooks may be sent to."""

from __future__ import annotations

import pytest

from app import errors
from app.outbound.client import OutboundClient
from app.outbound.limits import OutboundLimits
from app.outbound.policy import AccessPolicy
from app.services.webhooks.sender import WebhookSender


def only(*ports: int) -> AccessPolicy:
    return AccessPolicy.parse(allow_loopback=True, ports=[(port, port) for port in ports])


@pytest.mark.parametrize(
    ("url", "policy"),
    [
        ("https://hooks.example.com:25/", AccessPolicy()),
        ("https://hooks.example.com/", only(8443)),
        ("https://hooks.example.com:8444/", only(8443)),
        ("http://localhost/", only(443)),
    ],
)
def test_the_refusal_of_a_forbidden_port_does_not_state_the_reason(url: str, policy: AccessPolicy) -> None:
    with pytest.raises(errors.ReceiverForbidden) as caught:
        WebhookSender(OutboundClient(policy, OutboundLimits())).parse_receiver(url)
    assert "port" not in caught.value.detail.replace(url, "")
