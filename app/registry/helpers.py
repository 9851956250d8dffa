"""Asks Docker's credential helpers: programs `docker-credential-NAME` that speak JSON on their pipes."""

from __future__ import annotations

import asyncio
import json
import shutil

from app import errors

__all__ = ["ask_helper"]

_NOT_FOUND = b"credentials not found"


async def ask_helper(name: str, server: str, *, seconds: float) -> tuple[str, str] | None:
    """User name and secret for a server, or None where the helper has none."""
    program = shutil.which(f"docker-credential-{name}")
    if program is None:
        raise errors.RegistryDenied(
            f"the credential helper docker-credential-{name} is not on the PATH", registry=server
        )
    process = await asyncio.create_subprocess_exec(
        program,
        "get",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(seconds):
            out, _ = await process.communicate(server.encode())
    except TimeoutError as error:
        raise errors.RegistryTimeout(
            f"the credential helper docker-credential-{name} took more than {seconds:g} s", registry=server
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0 and _NOT_FOUND in out.lower():
        return None
    return _parse_answer(out, process.returncode, name, server)


def _parse_answer(out: bytes, code: int | None, name: str, server: str) -> tuple[str, str]:
    try:
        document = json.loads(out) if code == 0 else {}
    except ValueError:
        document = {}
    pair = (document.get("Username"), document.get("Secret")) if isinstance(document, dict) else ("", "")
    if not all(isinstance(part, str) and part for part in pair):
        raise errors.RegistryDenied(
            f"the credential helper docker-credential-{name} gave no credential (exit code {code})",
            registry=server,
        )
    return str(pair[0]), str(pair[1])
