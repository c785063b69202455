"""The installed command, ended early: by signals, by its own time limit, and by an API or a table that hangs."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rehearsal.did_optimizer import DidOptimizer, Fault, slow, unavailable_503
from rehearsal.site import Site
from tests.conftest import finish_calls

CALLS = 30
CONCURRENCY = 4
FIRST_WAVES = 1 + CONCURRENCY
"""Calls that are begun before the second answer: one alone, then one by each worker."""

PATIENCE = 60
"""Seconds that a process may take that ends within three on a calm machine."""


@pytest.fixture
def calls(site: Site) -> list[str]:
    """Finished calls that the first run will find."""
    site.configure(concurrency=str(CONCURRENCY))
    finish_calls(site, CALLS, 600)
    return [uniqueid for (uniqueid,) in site.mariadb.execute(f"SELECT uniqueid FROM `{site.database}`.vicidial_log")]


def signalled(site: Site, api: DidOptimizer, number: int, signals: int = 1) -> tuple[int, str, str]:
    """Run, and send the signals when every worker has a call in flight; return exit code, stdout and stderr."""
    api.latency = 1

    def at_the_last_one_in_flight(_: dict[str, Any]) -> None:
        if len(api.posts) == FIRST_WAVES - 1:
            for already_sent in range(signals):
                if already_sent:
                    time.sleep(0.05)  # two that come at once are one
                os.kill(process.pid, number)

    api.fault_for = at_the_last_one_in_flight
    with site.start("run") as process:
        stdout, stderr = process.communicate(timeout=PATIENCE)
    api.latency, api.fault_for = 0, None
    return process.returncode, stdout, stderr


def assert_the_next_run_sends_the_rest(site: Site, api: DidOptimizer, calls: list[str]) -> None:
    assert 0 == site.vicisync("run", "--max-runtime", "0").returncode
    assert sorted(calls) == sorted(api.records)


@pytest.mark.parametrize(
    ("number", "signals", "exit_code"),
    [
        pytest.param(signal.SIGTERM, 1, 143, id="SIGTERM"),
        pytest.param(signal.SIGINT, 1, 130, id="SIGINT"),
        pytest.param(signal.SIGINT, 3, 130, id="SIGINT by the impatient"),
        pytest.param(signal.SIGHUP, 1, 143, id="SIGHUP, as SIGTERM"),
    ],
)
def test_a_signal_lets_what_is_in_flight_come_home_and_sends_nothing_more(
    number: signal.Signals, signals: int, exit_code: int, site: Site, api: DidOptimizer, calls: list[str]
) -> None:
    code, stdout, stderr = signalled(site, api, number, signals)
    assert exit_code == code
    assert f"❌ Stopped by {number.name}" in stderr
    assert f"📊 Summary: {FIRST_WAVES} processed, 0 failed" in stdout
    assert "✅ Sync completed successfully" not in stdout
    assert [200] * FIRST_WAVES == [post.http_status for post in api.posts]
    first, *further = site.checkpoint_file.read_text().splitlines()
    _, end_epoch, shown, _ = first.split("\t")
    assert len(api.posts) == len([line for line in further if line.startswith("delivered")])
    assert max(str(post.payload["endEpoch"]) for post in api.posts) == end_epoch
    assert f"💾 Saved checkpoint: {shown}\n" in stdout

    assert_the_next_run_sends_the_rest(site, api, calls)
    assert 0 == api.repeats


def test_a_killed_run_repeats_no_more_than_was_in_flight(site: Site, api: DidOptimizer, calls: list[str]) -> None:
    code, _, _ = signalled(site, api, signal.SIGKILL)
    assert -signal.SIGKILL == code
    assert FIRST_WAVES == len(api.posts)
    assert_the_next_run_sends_the_rest(site, api, calls)
    assert 0 < api.repeats <= CONCURRENCY


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("fault", "settings"),
    [
        pytest.param(unavailable_503(retry_after=40), {}, id="asked to wait for most of the run"),
        pytest.param(slow(90), {"api_timeout": "1"}, id="a call that hangs: after the API's time-out"),
    ],
)
def test_a_signal_ends_a_run_that_the_api_holds_up(
    fault: Fault, settings: dict[str, str], site: Site, api: DidOptimizer, calls: list[str]
) -> None:
    site.configure(**settings)
    api.fault_for = lambda _: fault
    began = time.monotonic()
    with site.start("run") as process:
        wait_until(lambda: bool(api.posts))
        process.terminate()
        process.communicate(timeout=PATIENCE)
    assert 143 == process.returncode
    assert time.monotonic() - began < 30
    assert 1 == len(api.posts)
    api.fault_for = None
    assert_the_next_run_sends_the_rest(site, api, calls)


@contextmanager
def run_that_waits_for_the_table(site: Site, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a run and wait until it waits for the table, which it gets at the end."""
    with site.mariadb.connect(site.database) as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLES vicidial_log WRITE")
        process = site.start("run", *arguments)
        wait_until(lambda: site.mariadb.execute(
            "SELECT 1 FROM information_schema.processlist WHERE user = 'cron' AND state LIKE 'Waiting for table%%'"
        ))  # fmt: skip
        yield process
        cursor.execute("UNLOCK TABLES")


@pytest.mark.parametrize("waiting", [CALLS, 0], ids=["calls to send", "nothing to send"])
@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_during_a_wait_for_the_database_sends_nothing(
    number: signal.Signals, exit_code: int, waiting: int, site: Site, api: DidOptimizer, calls: list[str]
) -> None:
    """So it is at night, when VICIdial optimizes its table and a person presses Ctrl-C."""
    if not waiting:
        site.mariadb.execute(f"TRUNCATE `{site.database}`.vicidial_log")
        calls.clear()
    with run_that_waits_for_the_table(site) as process:
        process.send_signal(number)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert exit_code == process.returncode
    assert f"❌ Stopped by {number.name}" in stderr
    assert [] == [word for word in ("✅", "⏳", "📊") if word in stdout]
    assert [] == api.posts
    assert_the_next_run_sends_the_rest(site, api, calls)


def test_a_run_s_time_passes_while_it_waits_for_the_table(site: Site, api: DidOptimizer, calls: list[str]) -> None:
    with run_that_waits_for_the_table(site, "--max-runtime", "1") as process:
        time.sleep(1)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (0, "") == (process.returncode, stderr)
    assert "⏳ There is more to look at; the next run goes on" in stdout
    assert "✅" not in stdout
    assert [] == api.posts
    assert_the_next_run_sends_the_rest(site, api, calls)


def test_a_run_ends_when_its_time_is_up_and_the_next_goes_on(site: Site, api: DidOptimizer, calls: list[str]) -> None:
    api.latency = 0.5
    done = site.vicisync("run", "--max-runtime", "1")
    sent = len(api.posts)
    assert (0, "") == (done.returncode, done.stderr)
    assert 0 < sent < CALLS
    assert f"📊 Summary: {sent} processed, 0 failed" in done.stdout
    assert "⏳ There is more to look at; the next run goes on" in done.stdout
    assert "✅ Sync completed successfully" not in done.stdout
    api.latency = 0
    assert_the_next_run_sends_the_rest(site, api, calls)
    assert 0 == api.repeats


@pytest.mark.parametrize(
    ("hangs_from", "settings", "exit_code", "words"),
    [
        pytest.param(0, {"max_runtime": "2"}, 4, "No call got through to DID Optimizer at ", id="from the start"),
        pytest.param(1, {"api_timeout": "2", "max_runtime": "2"}, 0, "", id="when it was well at first"),
        pytest.param(1, {"max_retries": "0"}, 4, " is down: 5 calls in a row failed, ", id="for five calls in a row"),
    ],
)
def test_an_api_that_hangs_holds_up_no_run_for_long(
    hangs_from: int, settings: dict[str, str], exit_code: int, words: str, site: Site, api: DidOptimizer,
    calls: list[str],
) -> None:  # fmt: skip
    """A run lasts max_runtime and api_timeout, or until five calls in a row have failed.

    Nothing is lost, and nothing more than what hung is sent again. Where the API was well at first, the time-out is as
    long as the run: each worker has one call that fails, too few for an outage. Were it shorter, some of them would
    begin a second call, as the chance of the backoff wills.
    """
    site.configure(**{"api_timeout": "1", **settings})
    api.fault_for = lambda _: slow(90) if len(api.posts) >= hangs_from else None
    began = time.monotonic()
    done = site.vicisync("run")
    assert time.monotonic() - began < 30
    assert exit_code == done.returncode, done.stderr
    assert words in done.stderr
    assert bool(words) == bool(done.stderr)
    unanswered = len([post for post in api.posts if post.http_status != 200])
    assert len(api.posts) == hangs_from + unanswered <= 1 + 2 * CONCURRENCY
    api.fault_for = None
    assert_the_next_run_sends_the_rest(site, api, calls)
    assert api.repeats <= unanswered
