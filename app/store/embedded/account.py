"""The account that Postgres runs as: our own, or an existing one without rights when we are root."""

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
    """`dropped` says that we are root and have to become this account before Postgres may run."""

    uid: int
    gid: int
    name: str
    dropped: bool

    def adopt(self, path: Path) -> None:
        """Hand over something that we have just made ourselves."""
        if self.dropped:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def can_enter(self, directory: Path) -> bool:
        """Whether every directory on the way lets this account through; always so when it is our own."""
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
        """Run one of Postgres's programs to its end as this account."""
        return subprocess.run(  # noqa: S603 - an absolute path of ours, no shell
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            # Postgres's programs resolve the current directory, which the account might not be let into.
            cwd="/",
            env=environment(),
            check=False,
            user=self.uid if self.dropped else None,
            group=self.gid if self.dropped else None,
            extra_groups=[self.gid] if self.dropped else None,
        )


def environment() -> dict[str, str]:
    """What Postgres needs to find itself; our secrets and PG* variables stay out."""
    names = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {"LC_ALL": "C", **{name: os.environ[name] for name in names if name in os.environ}}


def account_for(data: Path) -> Account:
    """Who runs Postgres on this data directory: whoever owns it, else us, else an account without rights."""
    owner = data.stat().st_uid if data.exists() else None
    ours = os.geteuid()
    if ours != 0:
        if owner not in {None, ours}:
            raise EmbeddedPostgresError(
                f"{data} belongs to {_name(owner)}, not to {_name(ours)}: start the broker as root again, "
                "or choose another data directory"
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
        "Postgres does not run as root, and there is no account named postgres or nobody to run it as: "
        "start the broker as another user, or set DATABASE_URL"
    )


def _name(uid: int | None) -> str:
    try:
        return pwd.getpwuid(uid).pw_name if uid is not None else ""
    except KeyError:
        return f"user {uid}"
