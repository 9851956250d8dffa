"""The account that Postgres runs as: the broker's own, or for root an existing one without rights."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.store.embedded.failure import EmbeddedPostgresError

UNPRIVILEGED = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """`dropped` says that the broker is root, and has to become this account to run Postgres."""

    uid: int
    gid: int
    name: str
    dropped: bool

    def adopt(self, path: Path) -> None:
        """Give this account a path that the broker has just created."""
        if self.dropped:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def can_enter(self, directory: Path) -> bool:
        """Whether this account may enter the directory and its parents; the broker's own always may."""
        if not self.dropped:
            return True
        resolved = directory.resolve()
        return all(self._may_search(path) for path in (resolved, *resolved.parents))

    def _may_search(self, path: Path) -> bool:
        status = path.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)

    def run(self, command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
        """Run one of Postgres's programs to completion as this account."""
        return subprocess.run(  # noqa: S603 - an absolute path, no shell
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            # Postgres's programs resolve the current directory, which the account may not be allowed to
            # enter.
            cwd="/",
            env=environment(),
            check=False,
            user=self.uid if self.dropped else None,
            group=self.gid if self.dropped else None,
            extra_groups=[self.gid] if self.dropped else None,
        )


def environment() -> dict[str, str]:
    """The variables that Postgres needs; the broker's secrets and PG* variables are left out."""
    names = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {"LC_ALL": "C", **{name: os.environ[name] for name in names if name in os.environ}}


def account_for(data: Path) -> Account:
    """The account for this data directory: its owner, or the broker's own, or for root one without rights."""
    owner = data.stat().st_uid if data.exists() else None
    ours = os.geteuid()
    if ours != 0:
        if owner not in {None, ours}:
            raise EmbeddedPostgresError(
                f"{data} belongs to {_name(owner)}, not to {_name(ours)}. Start the broker as root again, "
                "or choose another data directory."
            )
        return Account(ours, os.getegid(), _name(ours), dropped=False)
    return _owner(owner) if owner else _unprivileged()


def _owner(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(uid, uid, str(uid), dropped=True)
    return Account(uid, entry.pw_gid, entry.pw_name, dropped=True)


def _unprivileged() -> Account:
    for name in UNPRIVILEGED:
        try:
            return _owner(pwd.getpwnam(name).pw_uid)
        except KeyError:
            continue
    raise EmbeddedPostgresError(
        "Postgres does not run as root, and this machine has no account named postgres or nobody. "
        "Start the broker as another user, or set DATABASE_URL."
    )


def _name(uid: int | None) -> str:
    try:
        return pwd.getpwuid(uid).pw_name if uid is not None else ""
    except KeyError:
        return f"user {uid}"
