"""HTTP clients of tests for the servers of this machine."""

from __future__ import annotations

import ssl
from typing import Any

import httpx2

# To load the certificates of the system takes 25 ms, more than most tests of a double.
_TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def plain_client(**options: Any) -> httpx2.AsyncClient:
    """A client for addresses without TLS."""
    return httpx2.AsyncClient(verify=_TRUSTS_NOBODY, **options)
