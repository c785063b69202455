"""Each run leaves word of itself; nobody who does not listen keeps a call from going."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rehearsal.dialer import fill
from rehearsal.did_optimizer import DidOptimizer, answer
from rehearsal.site import COMMAND, Site
from tests.conftest import Pings
from tests.sync.test_metrics import values
from vicisync.state.last_run import LastRun, last_run_file, read_last_run


def with_calls(site: Site, calls: int = 3) -> None:
    with site.mariadb.connect(site.database) as connection:
        fill(connection, calls, int(time.time()) - 120)


def word_of(site: Site) -> LastRun:
    last_run = read_last_run(last_run_file(site.checkpoint_file))
    assert last_run
    return last_run


def test_a_run_leaves_word_of_what_it_did(site: Site) -> None:
    with_calls(site)
    before = time.time()
    assert 0 == site.vicisync("run").returncode
    last = word_of(site)
    assert (0, None, 3, 0, 0, 0) == (
        last.exit_code, last.error, last.delivered, last.duplicates, last.failed, last.rejected
    )  # fmt: skip
    assert before - 1 <= last.ended <= time.time()
    assert last.ended == last.last_success
    assert 0 < last.poll_seconds < last.seconds < 60
    assert 0 == last.lag


def test_the_totals_add_up_over_the_runs(site: Site, api: DidOptimizer) -> None:
    with_calls(site)
    site.vicisync("run")
    site.vicisync("reset-checkpoint", "--yes", "--to", "2h")
    site.vicisync("run")
    last = word_of(site)
    assert (3, 3, 6, 3) == (last.delivered, last.duplicates, last.delivered_total, last.duplicates_total)
    assert 6 == len(api.posts)


def no_database(site: Site, api: DidOptimizer) -> None:  # noqa: ARG001
    site.mariadb.execute(f"RENAME TABLE {site.database}.vicidial_log TO {site.database}.elsewhere")


def no_api(site: Site, api: DidOptimizer) -> None:  # noqa: ARG001
    api.down()


def no_such_call(site: Site, api: DidOptimizer) -> None:  # noqa: ARG001
    api.fault_for = lambda _: answer(422, body=b"{}")


ENDS = [
    pytest.param(no_database, 3, "vicidial_log", id="no database"),
    pytest.param(no_api, 4, "connection refused", id="no API"),
    pytest.param(no_such_call, 6, None, id="calls rejected"),
]


@pytest.mark.parametrize(("break_it", "exit_code", "why"), ENDS)
def test_a_run_that_ends_badly_leaves_word_and_the_time_of_the_last_success(
    break_it: Callable[[Site, DidOptimizer], None], exit_code: int, why: str | None, site: Site, api: DidOptimizer
) -> None:
    site.vicisync("run")
    well = word_of(site)
    with_calls(site)
    break_it(site, api)
    assert exit_code == site.vicisync("run").returncode
    last = word_of(site)
    assert (exit_code, well.last_success) == (last.exit_code, last.last_success)
    assert (why is None and last.error is None) or (why and why in (last.error or ""))


def test_calls_that_could_not_go_are_late_from_their_start(site: Site, api: DidOptimizer) -> None:
    with_calls(site)
    api.down()
    site.vicisync("run")
    assert 120 <= word_of(site).lag < 600


def test_while_the_database_is_away_the_lag_counts_from_the_last_look(site: Site, api: DidOptimizer) -> None:
    site.vicisync("run")
    text = site.checkpoint_file.read_text()
    looked_until = int(text.split("looked_until\t")[1].split()[0])
    site.checkpoint_file.write_text(text.replace(str(looked_until), str(looked_until - 1000)))
    no_database(site, api)
    assert 3 == site.vicisync("run").returncode
    assert 1000 <= word_of(site).lag < 1100


def test_a_dry_run_and_one_that_finds_another_at_work_leave_no_word(site: Site, pings: Pings) -> None:
    site.configure(ping_url=pings.url)
    site.vicisync("run", "--dry-run")
    assert not last_run_file(site.checkpoint_file).exists()
    assert [] == pings.paths


def test_word_that_cannot_be_left_is_a_warning_and_the_calls_go(site: Site, api: DidOptimizer) -> None:
    with_calls(site)
    path = last_run_file(site.checkpoint_file)
    path.mkdir(parents=True)
    path.parent.chmod(0o700)
    done = site.vicisync("run")
    assert 0 == done.returncode
    assert f"⚠ Cannot leave word of this run in {path}: Is a directory" in done.stdout
    assert 3 == len(api.records)


# Metrics


def test_the_metrics_are_those_of_the_last_run(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "vicisync.prom"
    site.configure(metrics_file=str(file))
    with_calls(site)
    site.vicisync("run")
    last = word_of(site)
    found = values(file)
    assert (3, last.ended, last.seconds, last.lag) == (
        found["vicisync_delivered_total"],
        found["vicisync_last_success_timestamp_seconds"],
        found["vicisync_run_seconds"],
        found["vicisync_lag_seconds"],
    )


def test_metrics_that_cannot_be_written_are_a_warning_and_the_calls_go(site: Site, api: DidOptimizer) -> None:
    site.configure(metrics_file="/nowhere/vicisync.prom")
    with_calls(site)
    done = site.vicisync("run")
    assert 0 == done.returncode
    assert "⚠ Cannot write metrics_file /nowhere/vicisync.prom: No such file or directory" in done.stdout
    assert 3 == len(api.records)


def test_without_the_extra_the_warning_says_how_to_get_it(site: Site, api: DidOptimizer, tmp_path: Path) -> None:
    (tmp_path / "prometheus_client.py").write_text("raise ModuleNotFoundError(name='prometheus_client')")
    site.configure(metrics_file=str(tmp_path / "vicisync.prom"))
    with_calls(site)
    done = site.vicisync("run", PYTHONPATH=str(tmp_path))
    assert 0 == done.returncode
    python = str(COMMAND.with_name("python"))  # beside the command, whatever more its name says
    assert f"⚠ metrics_file needs prometheus_client: {python}" in done.stdout
    assert " -m pip install 'vicisync[metrics]'\n" in done.stdout
    assert 3 == len(api.records)


# Pings


def test_a_run_that_succeeds_pings_at_its_start_and_its_end(site: Site, pings: Pings) -> None:
    site.configure(ping_url=pings.url)
    site.vicisync("run")
    assert ["/s3cret-id/start", "/s3cret-id"] == pings.paths


@pytest.mark.parametrize(("break_it", "exit_code", "why"), ENDS)
def test_a_run_that_ends_badly_pings_its_exit_code(
    break_it: Callable[[Site, DidOptimizer], None],
    exit_code: int,
    why: str | None,  # noqa: ARG001
    site: Site,
    api: DidOptimizer,
    pings: Pings,
) -> None:
    site.configure(ping_url=pings.url)
    with_calls(site)
    break_it(site, api)
    site.vicisync("run")
    assert ["/s3cret-id/start", f"/s3cret-id/{exit_code}"] == pings.paths


def test_a_run_that_a_signal_ends_pings_that(site: Site, api: DidOptimizer, pings: Pings) -> None:
    site.configure(ping_url=pings.url, concurrency="1")
    with_calls(site, 200)
    api.latency = 0.2
    with site.start("run") as process:
        while not api.posts:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert ["/s3cret-id/start", "/s3cret-id/143"] == pings.paths
    assert "Stopped by SIGTERM" == word_of(site).error


def test_a_service_that_is_not_there_is_a_warning_without_its_url_and_the_calls_go(
    site: Site, api: DidOptimizer
) -> None:
    site.configure(ping_url="http://127.0.0.1:9/s3cret-id")
    with_calls(site)
    done = site.vicisync("run")
    assert 0 == done.returncode
    assert 2 == done.stdout.count("⚠ The service behind ping_url cannot be reached; it was not told of this run")
    assert "s3cret-id" not in done.stdout + done.stderr
    assert "s3cret-id" not in json.dumps(word_of(site).__dict__)
    assert 3 == len(api.records)
