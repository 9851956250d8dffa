"""The real registry: `docker-registry serve` in a directory of its own, on a loopback port of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shutil
import socket
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from tests.support.registry_double.tls import SelfSigned, make_certificate

BINARY = "/usr/bin/docker-registry"
ATTEMPTS = 5
PATIENCE = 120.0
GRACE = 10.0

HTPASSWD_USER = "user"
HTPASSWD_PASSWORD = "correct horse"
# The registry takes bcrypt only, which Python can't make: this is the password above, at the lowest cost.
HTPASSWD_HASH = "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"


def find_docker_registry() -> Path | None:
    """Where the binary is, None where it is not installed."""
    found = shutil.which(BINARY) or shutil.which("docker-registry")
    return Path(found) if found else None


class DidNotStart(Exception):
    """The registry went away, or never answered; its own last words are in the message."""


class DockerRegistry:
    """A running registry with deletes enabled, gone with all it holds at the end of the block.

    Its directory is made in `parent`, by default where temporary files go.
    """

    def __init__(
        self, binary: Path, *, tls: bool = False, htpasswd: bool = False, parent: Path | None = None
    ) -> None:
        self.binary = binary
        self._parent = parent
        self.port = 0
        self.certificate: SelfSigned | None = None
        self.storage = Path()
        self._tls = tls
        self._htpasswd = htpasswd
        self._process: asyncio.subprocess.Process | None = None
        self._cleanup = contextlib.AsyncExitStack()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process's id, while it runs."""
        if self._process is None:
            raise DidNotStart("it is not running")
        return self._process.pid

    def tag_file(self, repository: str, tag: str) -> Path:
        """What comes to be, whole, in the moment in which the tag can be read."""
        tags = self.storage / "docker/registry/v2/repositories" / repository / "_manifests/tags"
        return tags / tag / "current/link"

    @property
    def base_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}"

    @property
    def verify(self) -> ssl.SSLContext | bool:
        """What a client needs in order to trust it."""
        return self.certificate.client_context() if self.certificate else True

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            directory = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="registry-", dir=self._parent))
            )
            self.certificate = make_certificate(directory) if self._tls else None
            self.storage = directory / "storage"
            stack.push_async_callback(self._stop)
            await self._start(directory)
            self._cleanup = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._cleanup.aclose()

    async def _start(self, directory: Path) -> None:
        """Between choosing a port and the registry's bind another process can take it: then choose again."""
        for attempt in range(ATTEMPTS):
            try:
                await self._launch(directory)
            except DidNotStart as reason:
                await self._stop()
                if attempt + 1 == ATTEMPTS or "address already in use" not in str(reason):
                    raise
            else:
                return

    async def _launch(self, directory: Path) -> None:
        self.port = free_port()
        config, log = directory / "config.yml", directory / "registry.log"
        config.write_text(json.dumps(self._config(directory)))
        with log.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                self.binary, "serve", config, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            async with asyncio.timeout(PATIENCE):
                await self._answering(self._process)
        except (TimeoutError, DidNotStart) as reason:
            raise DidNotStart(log.read_text()[-2000:]) from reason

    async def _answering(self, process: asyncio.subprocess.Process) -> None:
        async with httpx2.AsyncClient(verify=self.verify) as client:
            while process.returncode is None:
                with contextlib.suppress(httpx2.TransportError):
                    reply = await client.get(f"{self.base_url}/v2/")
                    # Another program that happens to sit on the port would not say this.
                    if reply.headers.get("Docker-Distribution-Api-Version") == "registry/2.0":
                        return
                await asyncio.sleep(0.02)
        raise DidNotStart(f"exit status {process.returncode}")

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(GRACE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def _config(self, directory: Path) -> Mapping[str, Any]:
        """JSON is YAML. Foreign layers pass with any URL, as on a registry that allows them at all."""
        http: dict[str, Any] = {"addr": self.host, "secret": secrets.token_hex(16)}
        if self.certificate:
            http["tls"] = {"certificate": str(self.certificate.certificate), "key": str(self.certificate.key)}
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.storage)},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": http,
            "validation": {"manifests": {"urls": {"allow": ["^https://"]}}},
        }
        if self._htpasswd:
            (directory / "htpasswd").write_text(f"{HTPASSWD_USER}:{HTPASSWD_HASH}\n")
            config["auth"] = {"htpasswd": {"realm": "registry", "path": str(directory / "htpasswd")}}
        return config


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
