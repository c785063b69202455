"""The machine around a run: proxies in the environment, and few file descriptors."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from rehearsal.did_optimizer import DidOptimizer
from rehearsal.site import COMMAND, Site
from tests.commands.command import finish
from tests.conftest import command_here
from vicisync.did_optimizer.answer import Answer
from vicisync.did_optimizer.session import ApiSession
from vicisync.state import lock

PASSWORD = "s3cr"
"""What each of the passwords below begins with."""

PROXIES = {
    "http://user:s3cr#t@proxy.invalid:3128": "is no URL; in its password, write # as %23, / as %2F and @ as %40",
    "http://user:s3cr/t@proxy.invalid:3128": "is no URL; in its password, write # as %23, / as %2F and @ as %40",
    "http://user:s3cr@t@proxy.invalid:3128": "does not let us through; check it, or name the API in no_proxy",
    "http://user:s3cret@proxy.invalid:3128": "does not let us through; check it, or name the API in no_proxy",
    "socks5://user:s3cret@proxy.invalid:3128": "speaks SOCKS, which vicisync does not; name an HTTP proxy",
}


@pytest.mark.parametrize("proxy", PROXIES)
def test_an_api_on_this_machine_is_never_asked_by_a_proxy(proxy: str, site: Site, api: DidOptimizer) -> None:
    calls = finish(site, 3)
    done = site.vicisync("run", http_proxy=proxy, all_proxy=proxy)
    assert (0, "") == (done.returncode, done.stderr)
    assert sorted(calls) == sorted(api.records)
    assert "proxy" not in site.vicisync("check", http_proxy=proxy).stdout


@pytest.mark.parametrize(("proxy", "said"), PROXIES.items())
def test_a_proxy_is_named_without_its_password_and_with_what_fixes_it(proxy: str, said: str, site: Site) -> None:
    calls = finish(site, 3)
    site.api_url = "http://did.invalid"
    site.configure(max_retries="0")
    done = site.vicisync("run", http_proxy=proxy)
    assert 4 == done.returncode
    assert f"the proxy that the environment names {said}" in done.stdout
    checked = site.vicisync("check", http_proxy=proxy)
    assert (
        "⚠ The way to the API is the proxy proxy.invalid:3128, which this shell's environment names" in checked.stdout
    )
    assert PASSWORD not in done.stdout + done.stderr + checked.stdout + checked.stderr
    assert not site.rejected_file.exists()
    for proxies in ({"all_proxy": proxy}, {"http_proxy": f"{proxy}/"}):
        assert " is the proxy proxy.invalid:3128, " in site.vicisync("check", **proxies).stdout
    assert 3 == len(calls) == site.checkpoint_file.read_text().count("watching")


def test_with_few_file_descriptors_a_run_says_what_it_lacks_and_loses_nothing(site: Site, api: DidOptimizer) -> None:
    site.configure(max_retries="0")
    calls = finish(site, 20)
    for descriptors in range(5, 17):
        command: list[str | Path] = ["prlimit", f"--nofile={descriptors}", COMMAND, "run"]
        done = subprocess.run(command, env=site.environment(), capture_output=True, text=True, check=False, timeout=60)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode in (0, 3, 4, 5), done.stderr
        assert done.returncode == 0 or "Too many open files" in done.stderr
    assert 0 == site.vicisync("run").returncode
    assert sorted(calls) == sorted(api.records)
    assert api.lost_answers >= api.repeats == 0


def test_without_memory_a_run_says_so_and_the_next_one_goes_on(
    site: Site, api: DidOptimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = finish(site, 5)

    def post(session: ApiSession, payload: Mapping[str, object]) -> Answer:
        if api.records:
            raise MemoryError
        return posts(session, payload)

    posts = ApiSession.post
    monkeypatch.setattr(ApiSession, "post", post)
    done = command_here(site, "run")
    assert (1, True) == (done.returncode, "❌ There is no memory left (free -m, ulimit -v)" in done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    monkeypatch.undo()
    assert 0 == site.vicisync("run").returncode
    assert sorted(calls) == sorted(api.records)
    assert 0 == api.repeats


def test_where_the_kernel_shows_no_locks_check_and_status_say_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.vicisync("run")
    monkeypatch.setattr(lock, "_LOCKS", site.folder / "none")
    assert "✓ The lock: who holds it is not known here\n" in command_here(site, "check").stdout
    assert "⚠ Lock: who holds it is not known here\n" in command_here(site, "status").stdout
