"""TLS settings by host: the authorities for its certificate, and the client certificate for it."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from app import errors
from app.oci.reference import canonical_host

__all__ = ["TlsTrust", "read_certs_dir", "unverified_tls", "verified_tls"]


@dataclass(frozen=True, slots=True)
class TlsTrust:
    """The operator's TLS settings for one host and port.

    `authorities` are trusted in addition to the system CAs, as with Docker. `certificate` and `key` are for
    requests to that host on its own behalf: no redirect and no request for another host uses them.
    """

    authorities: tuple[Path, ...] = ()
    certificate: Path | None = None
    key: Path | None = None

    def check(self) -> None:
        """Raise InvalidInput, which names the file, for an unusable file: better at the start than later."""
        self.apply(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), with_identity=True)

    def apply(self, context: ssl.SSLContext, *, with_identity: bool) -> None:
        """Load the files into a context."""
        for path in self.authorities:
            try:
                context.load_verify_locations(cafile=path)
            except (OSError, ssl.SSLError) as error:
                raise _unusable(path, "certificate authorities", error) from None
        if self.certificate is not None and with_identity:
            try:
                # A key that asks for its password would wait at a terminal for it.
                context.load_cert_chain(self.certificate, self.key, password="")
            except (OSError, ssl.SSLError, ValueError) as error:
                raise _unusable(self.certificate, "a certificate with its unencrypted key", error) from None


def verified_tls(trust: TlsTrust | None = None, *, with_identity: bool = False) -> ssl.SSLContext:
    """A context with the system CAs and the operator's; HTTP/1.1 only."""
    return _with(trust, ssl.create_default_context(), with_identity=with_identity)


def unverified_tls(trust: TlsTrust | None = None, *, with_identity: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _with(trust, context, with_identity=with_identity)


def read_certs_dir(directory: Path) -> dict[str, TlsTrust]:
    """Read Docker's layout: `HOST[:PORT]/*.crt` are authorities, `NAME.cert` and `NAME.key` the identity."""
    try:
        hosts = sorted(path for path in directory.iterdir() if path.is_dir())
        return {canonical_host(path.name): _read_host(path) for path in hosts}
    except OSError as error:
        raise errors.InvalidInput(f"{directory} can't be read: {error.strerror}.") from None


def _read_host(directory: Path) -> TlsTrust:
    certificates = _ending(directory.iterdir(), ".cert")
    if len(certificates) > 1:
        raise errors.InvalidInput(f"{directory} has several client certificates. Leave one.")
    certificate = certificates[0] if certificates else None
    return TlsTrust(
        authorities=_ending(directory.iterdir(), ".crt"),
        certificate=certificate,
        key=certificate.with_suffix(".key") if certificate else None,
    )


def _ending(paths: Iterable[Path], suffix: str) -> tuple[Path, ...]:
    return tuple(sorted(path for path in paths if path.suffix == suffix))


def _with(trust: TlsTrust | None, context: ssl.SSLContext, *, with_identity: bool) -> ssl.SSLContext:
    context.set_alpn_protocols(["http/1.1"])
    if trust is not None:
        trust.apply(context, with_identity=with_identity)
    return context


def _unusable(path: Path, what: str, error: Exception) -> errors.InvalidInput:
    reason = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else None
    return errors.InvalidInput(f"{path} can't be used as {what}: {reason or type(error).__name__}.")
