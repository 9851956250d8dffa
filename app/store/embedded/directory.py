"""The root directory of an embedded Postgres, and the creation of its data."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import URL, make_url

from app.store.embedded.account import Account
from app.store.embedded.binaries import Binaries
from app.store.embedded.failure import EmbeddedPostgresError

ROLE = "broker"
# The place of the data if root's own directory can't be entered by another account.
SYSTEM_HOME = Path("/var/lib/manifest-broker")
# A path to a socket has about a hundred bytes, so neither the root nor TMPDIR may be a part of it.
SOCKET_PARENT = Path("/tmp")  # noqa: S108 - the directory in it is private and is checked
INIT_PREFIX = "data.init-"
PRIVATE = 0o700


def make_root(root: Path) -> None:
    """Create the root directory; one of root's can be passed through by the account, but not listed."""
    if not root.is_dir():
        root.parent.mkdir(parents=True, exist_ok=True)
        root.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700)


def known_home(root: Path) -> Path:
    """The directory that holds the data: the root, or the target of its link."""
    link = root / "home"
    return link.resolve() if link.is_symlink() else root


def choose_home(root: Path, account: Account, refuge: Path) -> Path:
    home = known_home(root)
    if account.can_enter(home):
        return home
    if home != root or (root / "data").exists():
        raise EmbeddedPostgresError(
            f"The account {account.name}, which Postgres runs as, can't enter {home}. Let it enter."
        )
    return _outside(root, account, refuge)


def _outside(root: Path, account: Account, refuge: Path) -> Path:
    # A random name: the directory of a deleted clone is never mistaken for that of the next one.
    home = refuge / secrets.token_hex(8)
    try:
        refuge.mkdir(mode=0o711, parents=True, exist_ok=True)
        home.mkdir(mode=0o711)
        (root / "home").symlink_to(home)
    except OSError as error:
        raise EmbeddedPostgresError(
            f"The account {account.name}, which Postgres runs as, can't enter {root}, and "
            f"{refuge} can't be written ({error.strerror}). Choose a data directory that it can enter."
        ) from error
    return home


def password_of(root: Path, data: Path) -> str:
    """The password, which is created once before the data, and which only its owner can read."""
    path = root / "password"
    if path.exists():
        return path.read_text().strip()
    if data.exists():
        raise EmbeddedPostgresError(f"{path} is gone, and {data} can't be opened without it. Restore it.")
    password = secrets.token_urlsafe(32)
    _write_private(path, password)
    return password


def _write_private(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def ensure_data(
    data: Path, password: str, account: Account, binaries: Binaries, options: Iterable[str]
) -> None:
    """Create the data directory under another name and rename it, so that it is never incomplete."""
    for leftover in data.parent.glob(f"{INIT_PREFIX}*"):
        # An initdb whose broker was killed may still be writing there; then the next start removes it.
        shutil.rmtree(leftover, ignore_errors=True)
    if data.exists():
        check_version(data, binaries)
        return
    workshop = Path(tempfile.mkdtemp(prefix=INIT_PREFIX, dir=data.parent))
    try:
        _initdb(workshop, password, account, binaries, options)
        (workshop / "data").rename(data)
    finally:
        shutil.rmtree(workshop)


def _initdb(
    workshop: Path, password: str, account: Account, binaries: Binaries, options: Iterable[str]
) -> None:
    secret = workshop / "password"
    _write_private(secret, password)
    account.adopt(secret)
    account.adopt(workshop)
    done = account.run(
        [
            *(binaries.program("initdb"), "-D", workshop / "data", "-U", ROLE, f"--pwfile={secret}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--data-checksums", *options),
        ]
    )
    if done.returncode != 0:
        raise EmbeddedPostgresError(
            f"The data directory {workshop.parent / 'data'} can't be created: {done.stderr.strip()[-1000:]}."
        )


def is_ready(data: Path) -> bool:
    """Whether the server is ready: the eighth line of postmaster.pid says so, as for pg_ctl."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return [line.strip() for line in lines[7:8]] == ["ready"]


def url_of(root: Path) -> str:
    """The URL for SQLAlchemy's async engine, with the password."""
    password = password_of(root, known_home(root) / "data")
    return URL.create(
        "postgresql+asyncpg",
        username=ROLE,
        password=password,
        database="postgres",
        query={"host": str(socket_directory(root, password))},
    ).render_as_string(hide_password=False)


def login_of(url: str, role: str) -> str:
    """The URL for another role. The server role's password can't be derived from the password in it."""
    address = make_url(url)
    password = hmac.new((address.password or "").encode(), role.encode(), "sha256").hexdigest()
    return address.set(username=role, password=password).render_as_string(hide_password=False)


def check_version(data: Path, binaries: Binaries) -> None:
    """Refuse another major version's files, which Postgres can't read."""
    marker = data / "PG_VERSION"
    try:
        found = marker.read_text().strip()
    except OSError as error:
        raise EmbeddedPostgresError(
            f"{data} is not a Postgres data directory: {marker} can't be read."
        ) from error
    if found != str(binaries.major):
        raise EmbeddedPostgresError(
            f"{data} was made by Postgres {found}, but {binaries.directory} holds Postgres "
            f"{binaries.version}. Set BROKER_PG_BIN to the bin directory of a Postgres {found}, "
            "or move the data with pg_dump."
        )


def socket_directory(root: Path, password: str) -> Path:
    """A short path, always the same for one root, which other accounts can't guess."""
    name = hashlib.sha256(f"{root.resolve()}\n{password}".encode()).hexdigest()[:16]
    return SOCKET_PARENT / f"broker-{name}"


def make_socket_directory(root: Path, password: str, account: Account) -> Path:
    path = socket_directory(root, password)
    try:
        path.mkdir(mode=PRIVATE)
        account.adopt(path)
    except FileExistsError:
        _check_private(path, account)
    for leftover in path.iterdir():
        leftover.unlink()
    return path


def _check_private(path: Path, account: Account) -> None:
    status = path.lstat()
    private = stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == PRIVATE
    if not private or status.st_uid not in {account.uid, os.geteuid()}:
        raise EmbeddedPostgresError(f"{path} is not a private directory of {account.name}. Remove it.")
    account.adopt(path)
