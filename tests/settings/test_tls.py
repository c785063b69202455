"""A handshake that fails is told by OpenSSL's reason, with the cure that fits it."""

import datetime
import ipaddress
import re
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.certificates import Offered, expired, self_signed, unknown_ca, valid, wrong_host
from vicisync.settings.tls import tls_failure

Change = Callable[[ssl.SSLContext, ssl.SSLContext], object]


def without_intermediate() -> Offered:
    ca = trustme.CA()
    certificate = ca.create_child_ca().issue_cert("127.0.0.1")
    return Offered(ca.cert_pem.bytes(), certificate.cert_chain_pems[0].bytes(), certificate.private_key_pem.bytes())


def of_a_lax_ca() -> Offered:
    """A CA such as an old openssl makes, whose certificate says nothing of what its key is for."""
    key, ca_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name, now = (
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "CA")]),
        datetime.datetime.now(datetime.timezone.utc),
    )

    def signed(name: x509.Name, public: ec.EllipticCurvePublicKey, extension: x509.ExtensionType) -> bytes:
        builder = x509.CertificateBuilder(ca_name, name, public, x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1)).add_extension(extension, critical=False)
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    ca = signed(ca_name, ca_key.public_key(), x509.BasicConstraints(ca=True, path_length=None))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = signed(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "leaf")]), key.public_key(), address)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Offered(ca, leaf, private)


def old_tls(server: ssl.SSLContext, _: ssl.SSLContext) -> None:
    server.set_ciphers("ALL:@SECLEVEL=0")
    server.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        server.maximum_version = ssl.TLSVersion.TLSv1_1


def no_common_cipher(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    server.set_ciphers("ECDHE+AESGCM")
    client.set_ciphers("ECDHE+CHACHA20")


def unknown_name(server: ssl.SSLContext, _: ssl.SSLContext) -> None:
    server.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME


def strict(_: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """As Python 3.13 is by default."""
    client.verify_flags |= ssl.VERIFY_X509_STRICT


def failure(offered: Offered, change: Change, folder: Path, host: str) -> ssl.SSLError:
    """Shake hands in memory, and return what ended that at the client."""
    server_context = offered.context(folder)
    client_context = ssl.create_default_context(cafile=folder / "ca.pem")
    change(server_context, client_context)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=host)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for side in [client, server] * 5:
        try:
            side.do_handshake()
        except ssl.SSLError as error:  # noqa: PERF203 -- ten steps
            if side is client and not isinstance(error, ssl.SSLWantReadError):
                return error
    raise AssertionError("they trust each other")


OWN_CA = "where it has a CA of its own, name that CA's file in ca_setting"


@pytest.mark.parametrize(
    ("offer", "change", "wrong", "cure"),
    [
        pytest.param(expired, None, r"\(certificate has expired\)", "have it renewed, or set", id="expired"),
        pytest.param(wrong_host, None, "not valid for '127.0.0.1'", "write the name it is for in url", id="another's"),
        pytest.param(self_signed, None, r"\(self.signed certificate\)", OWN_CA, id="self-signed"),
        pytest.param(unknown_ca, None, "unable to get local issuer|signed certificate in", OWN_CA, id="unknown CA"),
        pytest.param(
            without_intermediate, None, r"\(unable to get local issuer certificate\)",
            f"{OWN_CA}; else have it send the certificates in between, too", id="chain without its intermediate",
        ),
        pytest.param(of_a_lax_ca, strict, r"trusted \(.*([Cc]ritical|[Kk]ey)", "have its CA issue it", id="strict"),
        pytest.param(valid, old_tls, "speaks no TLS of today", "switch TLS 1.2 or 1.3 on there", id="TLS 1.0 only"),
        pytest.param(valid, no_common_cipher, "no cipher in common", "switch one of today's on", id="no common cipher"),
        pytest.param(
            lambda: valid("dids.example"), unknown_name, r"not go by that name \(TLSV1_UNRECOGNIZED_NAME\)",
            "write the name that it goes by in url", id="unknown name",
        ),
    ],
)  # fmt: skip
def test_each_reason_has_its_cure(
    offer: Callable[[], Offered], change: Change | None, wrong: str, cure: str, tmp_path: Path
) -> None:
    host = "dids.example" if change is unknown_name else "127.0.0.1"
    error = failure(offer(), change or (lambda *_: None), tmp_path, host)
    said = tls_failure(error, "ca_setting", "url")
    assert re.search(wrong, said[0]), said
    assert cure in said[1]


@pytest.mark.parametrize(
    ("reason", "wrong", "cure"),
    [
        ("WRONG_VERSION_NUMBER", "it does not speak TLS at that port", "check https:// and the port in url"),
        (
            "TLSV13_ALERT_CERTIFICATE_REQUIRED",
            "it wants a certificate of ours",
            "let this server pass without one there",
        ),
        ("NO_CERTIFICATE_OR_CRL_FOUND", "the file of its CA holds no certificate", "check ca_setting"),
        ("A_NEW_ONE", "TLS failed (A_NEW_ONE)", "check the port in url, and what is on the way"),
    ],
)
def test_a_reason_that_takes_more_to_act_out_has_its_cure_too(reason: str, wrong: str, cure: str) -> None:
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason
    assert (True, cure) == (tls_failure(error, "ca_setting", "url")[0].startswith(wrong), cure)
    assert cure == tls_failure(error, "ca_setting", "url")[1]
