"""TLS with the API: what is not to be trusted gets nothing."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rehearsal.did_optimizer import DidOptimizer
from rehearsal.site import Site
from tests.certificates import UNTRUSTED, Offered, expired, self_signed, unknown_ca, valid, wrong_host
from tests.conftest import command_here, finish_calls
from vicisync.calls.call import Call, payload
from vicisync.state.rejected import add_rejected

CALLS = 3

Serve = Callable[[Offered], DidOptimizer]


def finish(site: Site) -> None:
    """Let calls end that can go at once."""
    leads = site.mariadb.execute(f"SELECT COALESCE(MAX(lead_id), 0) FROM `{site.database}`.vicidial_log")
    finish_calls(site, CALLS, first_lead=int(leads[0][0]) + 1000)


@pytest.fixture
def serve(site: Site, tmp_path: Path) -> Iterator[Serve]:
    """Serve the API with a certificate; the site is told its address, and to trust that of the certificate's CA."""
    with ExitStack() as stack:

        def serve(offered: Offered) -> DidOptimizer:
            api = stack.enter_context(DidOptimizer(api_key=site.api_key, ssl_context=offered.context(tmp_path)))
            site.api_url = api.url
            site.configure(verify_ssl=str(tmp_path / "ca.pem"))
            finish(site)
            return api

        yield serve


def test_an_api_of_the_named_ca_gets_the_calls_without_a_warning(site: Site, serve: Serve) -> None:
    api = serve(valid())
    done = site.vicisync("run")
    assert (0, "") == (done.returncode, done.stderr)
    assert CALLS == len(api.records)
    assert "⚠" not in done.stdout


def test_a_key_log_that_cannot_be_written_is_named_and_nothing_is_lost(site: Site, serve: Serve) -> None:
    api = serve(valid())
    done = site.vicisync("run", SSLKEYLOGFILE="/nowhere/keys")
    assert (4, {}) == (done.returncode, api.records)
    assert "SSLKEYLOGFILE of the environment, /nowhere/keys, cannot be written; unset it" in done.stdout
    assert 0 == site.vicisync("run").returncode
    assert CALLS == len(api.records)


CURES = {
    expired: "have it renewed, or set this machine's clock",
    wrong_host: "write the name it is for in api_base_url",
    unknown_ca: "where it has a CA of its own, name that CA's file in verify_ssl",
    self_signed: "where it has a CA of its own, name that CA's file in verify_ssl",
}


@pytest.mark.parametrize(("offer", "said"), UNTRUSTED)
def test_an_untrustworthy_api_gets_nothing(offer: Callable[[], Offered], said: str, site: Site, serve: Serve) -> None:
    api = serve(offer())
    done = command_here(site, "run")
    assert 4 == done.returncode
    assert "its certificate is not to be trusted" in done.stderr
    assert re.search(said, done.stderr), done.stderr
    assert CURES[offer] in done.stderr
    site.configure(verify_ssl="1")
    assert 4 == command_here(site, "run").returncode
    assert not api.posts


@pytest.mark.parametrize("offer", [valid, expired, wrong_host, unknown_ca, self_signed])
def test_without_verification_any_certificate_will_do_and_each_run_that_sends_warns_of_it(
    offer: Callable[[], Offered], site: Site, serve: Serve
) -> None:
    api = serve(offer())
    site.configure(verify_ssl="0")
    warning = (
        "⚠ verify_ssl=0: whoever answers in the place of 127.0.0.1 gets the API key and the calls;"
        " write verify_ssl=1, or the file of its CA\n"
    )
    for number, arguments in enumerate([["run"], ["run", "-q"], ["run", "-v"]], start=1):
        done = command_here(site, *arguments)
        assert 0 == done.returncode
        assert 1 == done.stdout.count("⚠")
        assert warning in done.stdout
        assert number * CALLS == len(api.records)
        finish(site)
    command_here(site, "run")
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
    call = Call._make(["1.1", 1, None, "C", *[None] * 6, "2125550100", *[None] * 6])
    add_rejected(site.rejected_file, "400 Bad Request", payload(call, {}))
    said = command_here(site, "retry-rejected").stdout
    assert 1 == said.count("⚠ The API key and phone numbers go to 127.1 unencrypted")
    assert ["1.1"] == list(api.records)
