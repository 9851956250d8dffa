"""A certificate authority of a test's own, for servers at any names and for clients."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key, as files in PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """Issues below its directory; `certificate` is what its believers load."""

    directory: Path
    name: str = "test authority"
    _key: Key = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False)

    @property
    def certificate(self) -> Path:
        path = self.directory / f"{self.name}.crt"
        if not path.exists():
            made = _builder(self.name, self.name, self._key)
            made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            path.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))
        return path

    def issue(self, name: str, *hosts: str, password: bytes | None = None) -> Issued:
        """For a server that has these names and addresses, or without any for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, self.name, key)
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        issued = Issued(self.directory / f"{name}.cert", self.directory / f"{name}.key")
        issued.certificate.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))
        issued.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption(),
            )
        )
        return issued

    def server(self, *hosts: str, clients: CertificateAuthority | None = None) -> ssl.SSLContext:
        """How a server at these hosts speaks; with `clients` it asks for a certificate of that authority."""
        issued = self.issue(f"server-{len(list(self.directory.iterdir()))}", *hosts)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(clients.certificate)
        return context

    def believed(self) -> ssl.SSLContext:
        """What a client needs in order to trust it."""
        return ssl.create_default_context(cafile=str(self.certificate))


def _builder(name: str, issuer: str, key: Key) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
