"""Certificates that a server may show, each with the CA that its client was told to trust."""

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)


class Offered(NamedTuple):
    """PEM of each."""

    ca: bytes
    cert: bytes
    key: bytes

    def write(self, folder: Path) -> None:
        """Write ca.pem, cert.pem and key.pem."""
        for name, pem in self._asdict().items():
            (folder / f"{name}.pem").write_bytes(pem)

    def context(self, folder: Path) -> ssl.SSLContext:
        """Write them, and return what a server that offers the certificate needs."""
        self.write(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        return context


def valid(host: str = "127.0.0.1", not_after: datetime.datetime | None = None) -> Offered:
    ca = trustme.CA()
    certificate = ca.issue_cert(host, not_after=not_after)
    chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    return Offered(ca.cert_pem.bytes(), chain, certificate.private_key_pem.bytes())


def expired() -> Offered:
    return valid(not_after=LONG_AGO)


def wrong_host() -> Offered:
    return valid("other.example")


def unknown_ca() -> Offered:
    return valid()._replace(ca=trustme.CA().cert_pem.bytes())


def self_signed() -> Offered:
    """Such as an appliance makes at its first start: for the right host, and vouched for by nobody."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return unknown_ca()._replace(cert=certificate.public_bytes(pem), key=private)


# A server may send the unknown CA along, and OpenSSL 1.1 writes "self signed".
UNTRUSTED = [
    pytest.param(expired, "certificate has expired", id="expired"),
    pytest.param(wrong_host, "is not valid for '127.0.0.1'", id="wrong host"),
    pytest.param(unknown_ca, "unable to get local issuer certificate|self.signed certificate in", id="unknown CA"),
    pytest.param(self_signed, r"self.signed certificate(?! in)", id="self-signed"),
]
