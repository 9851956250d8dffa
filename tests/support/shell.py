"""Runs the shell commands of documents as a reader would, and parses their output."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from tests.support.document_commands import ROOT


async def run(commands: str, directory: Path, **variables: str) -> list[str]:
    """The standard output of shell commands, which all have to succeed."""
    (directory / "scripts").unlink(missing_ok=True)
    (directory / "scripts").symlink_to(ROOT / "scripts")
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", commands),
        cwd=directory,
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaints = await process.communicate()
    assert process.returncode == 0, output.decode() + complaints.decode()
    return output.decode().splitlines()


def documents(lines: list[str]) -> list[dict[str, object]]:
    """The JSON documents in curl's output, which puts no newline between two."""
    decoder, text, found = json.JSONDecoder(), "".join(lines), []
    text = text[text.index("{") :]
    while text:
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:].lstrip()
    return found
