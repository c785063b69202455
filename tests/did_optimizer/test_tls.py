"""TLS on both ways: what is not to be trusted gets nothing."""

from __future__ import annotations

import datetime
import ipaddress
import json
import re
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rehearsal.dialer import fill
from rehearsal.did_optimizer import DidOptimizer
from rehearsal.mariadb import MariaDB
from rehearsal.site import Site
from tests.conftest import command_here

LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)

CALLS = 3


class Offered(NamedTuple):
    """What a server shows, and what its client was told to trust; PEM."""

    chain: bytes
    key: bytes
    ca_file: Path


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


Offer = Callable[[trustme.CA, Path], Offered]


def _offered(certificate: trustme.LeafCert, ca: trustme.CA, folder: Path) -> Offered:
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    return Offered(chain, certificate.private_key_pem.bytes(), folder / "ca.pem")


def valid(ca: trustme.CA, folder: Path) -> Offered:
    return _offered(ca.issue_cert("127.0.0.1"), ca, folder)


def expired(ca: trustme.CA, folder: Path) -> Offered:
    return _offered(ca.issue_cert("127.0.0.1", not_after=LONG_AGO), ca, folder)


def wrong_host(ca: trustme.CA, folder: Path) -> Offered:
    return _offered(ca.issue_cert("other.example"), ca, folder)


def unknown_ca(ca: trustme.CA, folder: Path) -> Offered:
    return _offered(ca.issue_cert("127.0.0.1"), trustme.CA(), folder)


def self_signed(ca: trustme.CA, folder: Path) -> Offered:
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
    return valid(ca, folder)._replace(chain=certificate.public_bytes(pem), key=private)


# A server may send the unknown CA along, and OpenSSL 1.1 writes "self signed".
UNTRUSTED = [
    pytest.param(expired, "certificate has expired", id="expired"),
    pytest.param(wrong_host, "is not valid for '127.0.0.1'", id="wrong host"),
    pytest.param(unknown_ca, "unable to get local issuer certificate|self.signed certificate in", id="unknown CA"),
    pytest.param(self_signed, r"self.signed certificate(?! in)", id="self-signed"),
]


def finish(site: Site) -> None:
    """Let calls end that can go at once."""
    leads = site.mariadb.execute(f"SELECT COALESCE(MAX(lead_id), 0) FROM `{site.database}`.vicidial_log")
    with site.mariadb.connect(site.database) as connection:
        fill(connection, CALLS, int(time.time()) - 200, per_hour=3600, first_lead=int(leads[0][0]) + 1000)


# The API


@pytest.fixture
def serve(site: Site, tmp_path: Path) -> Iterator[Callable[[Offered], DidOptimizer]]:
    """Serve the API with a certificate; the site is told its address."""
    servers: list[DidOptimizer] = []

    def serve(offered: Offered) -> DidOptimizer:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (tmp_path / "served.pem").write_bytes(offered.key + offered.chain)
        context.load_cert_chain(tmp_path / "served.pem")
        servers.append(DidOptimizer(api_key=site.api_key, ssl_context=context).__enter__())
        site.api_url = servers[-1].url
        return servers[-1]

    yield serve
    for server in servers:
        server.__exit__(None, None, None)


def test_an_api_of_the_named_ca_gets_the_calls_without_a_warning(
    site: Site, ca: trustme.CA, tmp_path: Path, serve: Callable[[Offered], DidOptimizer]
) -> None:
    offered = valid(ca, tmp_path)
    api = serve(offered)
    finish(site)
    site.configure(verify_ssl=str(offered.ca_file))
    done = site.vicisync("run")
    assert (0, "") == (done.returncode, done.stderr)
    assert CALLS == len(api.records)
    assert "⚠" not in done.stdout


@pytest.mark.parametrize(("offer", "said"), UNTRUSTED)
def test_an_api_that_is_not_to_be_trusted_gets_nothing(
    offer: Offer, said: str, site: Site, ca: trustme.CA, tmp_path: Path, serve: Callable[[Offered], DidOptimizer]
) -> None:
    offered = offer(ca, tmp_path)
    api = serve(offered)
    finish(site)
    site.configure(verify_ssl=str(offered.ca_file))
    done = command_here(site, "run")
    assert 4 == done.returncode
    assert "its certificate is not to be trusted" in done.stderr
    assert re.search(said, done.stderr), done.stderr
    assert not api.posts
    site.configure(verify_ssl="1")
    assert 4 == command_here(site, "run").returncode
    assert not api.posts


@pytest.mark.parametrize("offer", [valid, expired, wrong_host, unknown_ca, self_signed])
def test_without_verification_any_certificate_will_do_and_each_run_that_sends_warns_of_it(
    offer: Offer, site: Site, ca: trustme.CA, tmp_path: Path, serve: Callable[[Offered], DidOptimizer]
) -> None:
    api = serve(offer(ca, tmp_path))
    site.configure(verify_ssl="0")
    warning = (
        "⚠ verify_ssl=0: whoever answers in the place of 127.0.0.1 gets the API key and the calls;"
        " write verify_ssl=1, or the file of its CA\n"
    )
    for number, arguments in enumerate([["run"], ["run", "-q"], ["run", "-v"]], start=1):
        finish(site)
        done = command_here(site, *arguments)
        assert 0 == done.returncode
        assert 1 == done.stdout.count("⚠")
        assert warning in done.stdout
        assert number * CALLS == len(api.records)
    quiet = command_here(site, "run").stdout
    assert "⚠" not in quiet
    assert 1 == len(quiet.splitlines())


# http://


@pytest.mark.parametrize("arguments", [("run",), ("run", "-q"), ("run", "--dry-run")], ids=" ".join)
def test_a_run_that_sends_in_clear_text_says_so_once_and_a_quiet_minute_does_not(
    arguments: tuple[str, ...], site: Site, api: DidOptimizer
) -> None:
    """127.1 is a spelling of loopback that nobody uses, and stands for a name of the network here."""
    site.api_url = api.url.replace("127.0.0.1", "127.1")
    site.configure()
    finish(site)
    warning = (
        "⚠ The API key and phone numbers go to 127.1 unencrypted, for anyone on the way to read;"
        " write https:// in api_base_url\n"
    )
    done = command_here(site, *arguments)
    assert (0, 1) == (done.returncode, done.stdout.count("⚠"))
    assert warning in done.stdout
    command_here(site, "run")
    assert CALLS == len(api.records)
    assert "⚠" not in command_here(site, "run").stdout


def test_rejected_calls_that_are_sent_in_clear_text_are_warned_of(site: Site, api: DidOptimizer) -> None:
    site.api_url = api.url.replace("127.0.0.1", "127.1")
    site.configure()
    assert "⚠" not in command_here(site, "retry-rejected").stdout
    site.rejected_file.parent.mkdir(exist_ok=True)
    fields = ("campaignId", "disposition", "phoneCode", "agentId", "userGroup", "termReason", "comments", "altDial")
    payload = {**dict.fromkeys(fields), "uniqueid": "1.1", "leadId": "1", "listId": None, "phoneNumber": "2125550100"}
    payload |= dict.fromkeys(("duration", "calledCount", "callDate", "startEpoch", "endEpoch", "timestamp"))
    payload["campaignId"] = "C"
    site.rejected_file.write_text(f'{{"why": "", "payload": {json.dumps(payload)}}}\n')
    assert 1 == command_here(site, "retry-rejected").stdout.count(
        "⚠ The API key and phone numbers go to 127.1 unencrypted"
    )
    assert ["1.1"] == list(api.records)


# The database


class Database(NamedTuple):
    """A MariaDB with TLS whose certificate can be exchanged while it runs."""

    mariadb: MariaDB
    folder: Path

    def show(self, offered: Offered) -> None:
        """Have it on connections to come."""
        (self.folder / "cert.pem").write_bytes(offered.chain)
        (self.folder / "key.pem").write_bytes(offered.key)
        self.mariadb.execute("FLUSH SSL")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, ca: trustme.CA) -> Iterator[Database]:
    folder = tmp_path_factory.mktemp("tls")
    offered = valid(ca, folder)
    (folder / "cert.pem").write_bytes(offered.chain)
    (folder / "key.pem").write_bytes(offered.key)
    tls = [f"--ssl-{what}={folder / what}.pem" for what in ("ca", "cert", "key")]
    with MariaDB(folder / "mariadb", options=tls) as server:
        server.create_table("asterisk")
        yield Database(server, folder)


@pytest.fixture
def far_site(tmp_path: Path, secured: Database, api: DidOptimizer) -> Iterator[Site]:
    """A site whose database is reached by TLS alone."""
    site = Site.of(tmp_path / "server", secured.mariadb, "asterisk", api)
    secured.mariadb.execute("SET GLOBAL require_secure_transport = ON")
    finish(site)
    yield site
    secured.mariadb.execute("SET GLOBAL require_secure_transport = OFF")
    secured.mariadb.execute("TRUNCATE asterisk.vicidial_log")


def test_a_database_of_the_named_ca_is_read_by_tls(
    far_site: Site, secured: Database, ca: trustme.CA, tmp_path: Path, api: DidOptimizer
) -> None:
    offered = valid(ca, tmp_path)
    secured.show(offered)
    far_site.configure(db_ssl_ca=str(offered.ca_file))
    done = far_site.vicisync("run")
    assert (0, "") == (done.returncode, done.stderr)
    assert CALLS == len(api.records)


@pytest.mark.parametrize(("offer", "said"), UNTRUSTED)
def test_a_database_that_is_not_to_be_trusted_is_not_read(
    offer: Offer, said: str, far_site: Site, secured: Database, ca: trustme.CA, tmp_path: Path, api: DidOptimizer
) -> None:
    offered = offer(ca, tmp_path)
    secured.show(offered)
    far_site.configure(db_ssl_ca=str(offered.ca_file))
    done = command_here(far_site, "run")
    assert 3 == done.returncode
    assert "No TLS with the database at 127.0.0.1:" in done.stderr
    assert "check db_ssl_ca and its certificate" in done.stderr
    assert re.search(said, done.stderr), done.stderr
    assert not api.posts
