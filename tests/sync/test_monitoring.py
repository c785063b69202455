"""Each run tells its result to those who watch; nobody who does not listen keeps a call from going."""

import io
import os
import re
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rehearsal.did_optimizer import DidOptimizer, answer
from rehearsal.ports import Listener
from rehearsal.site import Site
from tests.conftest import Pings, finish_calls, run_here
from tests.state.test_last_run import LAST_RUN
from vicisync.errors import Stopped
from vicisync.report import Report
from vicisync.settings.settings import Settings, load_settings
from vicisync.state.checkpoint import render
from vicisync.state.last_run import LastRun, last_run_file, read_last_run
from vicisync.state.load import read_checkpoint
from vicisync.sync import monitoring
from vicisync.sync.monitoring import ping, write_metrics

LONG = f"60.{os.getpid()}"  # seconds of a sleep that nobody else on this machine has


def result_of(site: Site) -> LastRun:
    last_run = read_last_run(last_run_file(site.checkpoint_file))
    assert last_run
    return last_run


def settings_of(site: Site) -> Settings:
    return load_settings(site.astguiclient_conf, site.dids_conf, {})


# The result of the last run


def test_a_run_leaves_its_result_for_status_and_for_prometheus_and_pings(
    site: Site, tmp_path: Path, pings: Pings
) -> None:
    file = tmp_path / "vicisync.prom"
    site.configure(metrics_file=str(file), ping_url=pings.url)
    finish_calls(site, 3, 120)
    before = time.time()
    assert 0 == site.vicisync("run").returncode
    last = result_of(site)
    assert (0, None, 3, 0, 0, 0) == (
        last.exit_code, last.error, last.delivered, last.duplicates, last.failed, last.rejected
    )  # fmt: skip
    assert before - 1 <= last.ended <= time.time()
    assert last.ended == last.last_success
    assert 0 < last.poll_seconds < last.seconds < 60
    assert 0 == last.lag
    write_metrics(tmp_path / "expected", last)
    assert file.read_text() == (tmp_path / "expected").read_text()
    assert ["/s3cret-id/start", "/s3cret-id"] == pings.paths


def test_the_totals_add_up_over_the_runs(site: Site, api: DidOptimizer) -> None:
    api.knows_repeats = True
    finish_calls(site, 3, 120)
    site.vicisync("run")
    site.vicisync("reset-checkpoint", "--yes", "--to", "2h")
    site.vicisync("run")
    last = result_of(site)
    assert (3, 3, 6, 3) == (last.delivered, last.duplicates, last.delivered_total, last.duplicates_total)
    assert 6 == len(api.posts)


NO_SUCH = answer(422, body=b"{}")


def reject_all_but_the_first(api: DidOptimizer) -> None:
    api.fault_for = lambda _: NO_SUCH if api.posts else None


def no_database(site: Site) -> None:
    site.mariadb.execute(f"RENAME TABLE {site.database}.vicidial_log TO {site.database}.elsewhere")


@pytest.mark.parametrize(
    ("break_it", "exit_code", "why"),
    [
        pytest.param(lambda site, _: no_database(site), 3, "vicidial_log", id="no database"),
        pytest.param(lambda _, api: api.down(), 4, "connection refused", id="no API"),
        pytest.param(
            lambda _, api: setattr(api, "fault_for", lambda _: NO_SUCH if api.posts else None),
            6,
            None,
            id="calls rejected",
        ),
    ],
)
def test_a_run_that_ends_badly_tells_its_exit_code_and_the_time_of_the_last_success(
    break_it: Callable[[Site, DidOptimizer], None], exit_code: int, why: str | None, site: Site, api: DidOptimizer,
    pings: Pings,
) -> None:  # fmt: skip
    site.vicisync("run")
    well = result_of(site)
    finish_calls(site, 3, 120)
    break_it(site, api)
    site.configure(ping_url=pings.url, max_retries="0")
    assert exit_code == site.vicisync("run").returncode
    last = result_of(site)
    assert (exit_code, well.last_success) == (last.exit_code, last.last_success)
    assert (why is None and last.error is None) or (why and why in (last.error or ""))
    assert ["/s3cret-id/start", f"/s3cret-id/{exit_code}"] == pings.paths
    assert "s3cret-id" not in last_run_file(site.checkpoint_file).read_text()


def test_calls_that_could_not_go_are_late_from_their_start(site: Site, api: DidOptimizer) -> None:
    site.configure(max_retries="0")
    finish_calls(site, 3, 120)
    api.down()
    site.vicisync("run")
    assert 120 <= result_of(site).lag < 600


def test_while_the_database_is_away_the_lag_counts_from_the_last_poll(site: Site) -> None:
    site.vicisync("run")
    checkpoint = read_checkpoint(site.checkpoint_file, 28800)
    assert checkpoint
    checkpoint.polled -= 1000
    site.checkpoint_file.write_text(render(checkpoint))
    no_database(site)
    assert 3 == site.vicisync("run").returncode
    assert 1000 <= result_of(site).lag < 1100


def test_a_dry_run_leaves_no_result_and_pings_nobody(site: Site, pings: Pings) -> None:
    site.configure(ping_url=pings.url)
    site.vicisync("run", "--dry-run")
    assert not last_run_file(site.checkpoint_file).exists()
    assert [] == pings.paths


def test_what_cannot_be_told_is_a_warning_and_the_calls_go(site: Site, api: DidOptimizer) -> None:
    site.configure(metrics_file="/nowhere/vicisync.prom", ping_url="http://127.0.0.1:9/s3cret-id")
    finish_calls(site, 3, 120)
    path = last_run_file(site.checkpoint_file)
    path.mkdir(parents=True)
    path.parent.chmod(0o700)
    done = site.vicisync("run")
    assert 0 == done.returncode
    assert f"⚠ Cannot write the result of this run to {path}: Is a directory" in done.stdout
    assert "⚠ Cannot write metrics_file /nowhere/vicisync.prom: No such file or directory" in done.stdout
    assert 2 == done.stdout.count("⚠ The service behind ping_url cannot be reached; it was not told of this run")
    assert "s3cret-id" not in done.stdout + done.stderr
    assert 3 == len(api.records)


@pytest.mark.parametrize("is_well", [True, False], ids=["well", "failing"])
def test_the_service_behind_ping_url_gets_the_error_of_a_run_without_numbers(
    is_well: bool, site: Site, api: DidOptimizer, pings: Pings
) -> None:
    site.configure(ping_url=pings.url)
    finish_calls(site, 1, 120)
    if not is_well:
        api.fault_for = lambda sent: answer(401, body=f'{{"error": "{sent["phoneNumber"]}?"}}'.encode())
    site.vicisync("run")
    assert ([] if is_well else [True]) == [": 401 Unauthorized: …?" in body for body in pings.bodies], pings.bodies


# Alerts


@pytest.fixture
def alerts(site: Site, tmp_path: Path) -> Callable[[], list[str]]:
    """What an alert_command was told since it was last asked: state, by environment and on stdin."""
    told = tmp_path / "told"
    site.configure(max_retries="0", alert_command=f'echo "$VICISYNC_ALERT: $VICISYNC_REASON / $(cat)" >> {told}')

    def since() -> list[str]:
        lines = told.read_text().splitlines() if told.exists() else []
        told.unlink(missing_ok=True)
        return lines

    return since


def test_three_failed_runs_in_a_row_are_told_once_and_once_that_they_are_well_again(
    site: Site, api: DidOptimizer, alerts: Callable[[], list[str]]
) -> None:
    finish_calls(site, 1, 120)
    api.down()
    seen = []
    for _ in range(5):
        assert 4 == site.vicisync("run").returncode
        seen.append(alerts())
    assert [[], [], 1, [], []] == [len(lines) or lines for lines in seen]
    reason = f"3 runs in a row have failed; the last: No call got through to DID Optimizer at {api.url}: "
    assert re.fullmatch(rf"failing: {reason}.* / {reason}.*", seen[2][0])
    api.up()
    said = []
    for _ in range(2):
        assert 0 == site.vicisync("run").returncode
        said += alerts()
    assert ["well: Runs end well again, and no call is late / Runs end well again, and no call is late"] == said


def test_a_database_that_is_away_and_a_damaged_checkpoint_are_told_too(
    site: Site, alerts: Callable[[], list[str]]
) -> None:
    site.vicisync("run")
    no_database(site)
    for _ in range(2):
        site.vicisync("run")
    site.checkpoint_file.write_text("nonsense\n")
    assert 5 == site.vicisync("run").returncode
    said = "\n".join(alerts())
    assert said.startswith("failing: 3 runs in a row have failed; the last: The checkpoint ")
    assert "→ vicisync reset-checkpoint" in said


def test_a_table_that_is_locked_is_told_when_calls_are_late(site: Site, alerts: Callable[[], list[str]]) -> None:
    """As by VICIdial's OPTIMIZE each night, which takes minutes."""
    assert run_here(site).error is None
    site.configure(db_timeout="1")
    with site.mariadb.connect(site.database) as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLES vicidial_log WRITE")
        for _ in range(4):
            assert "held up by OPTIMIZE" in str(run_here(site).error)
        assert [] == alerts()
        site.mariadb.set_clock(int(time.time()) + 1000)
        run_here(site)
    assert ["failing: Calls are 16 min late / Calls are 16 min late"] == alerts()


def test_calls_that_are_a_quarter_of_an_hour_late_are_told_at_once_and_a_stop_is_no_failure(
    site: Site, api: DidOptimizer, alerts: Callable[[], list[str]]
) -> None:
    finish_calls(site, 1, 1000)
    api.down()
    assert 4 == site.vicisync("run").returncode
    assert ["failing: Calls are 16 min late / Calls are 16 min late"] == alerts()
    before = result_of(site)
    with pytest.raises(Stopped), monitoring.Monitoring(settings_of(site), Report(io.StringIO())):
        raise Stopped(signal.SIGTERM)
    assert (before.failed_in_a_row, True, []) == (result_of(site).failed_in_a_row, result_of(site).alerted, alerts())


@pytest.mark.parametrize(
    ("command", "why"),
    [
        pytest.param("exit 3", "ended with exit code 3", id="fails"),
        pytest.param("/no/such", "ended with exit code 127", id="is not there"),
        pytest.param(f"sleep {LONG} & sleep {LONG}", "did not end within 0.5 s", id="hangs"),
    ],
)
def test_an_alert_that_cannot_be_told_is_a_warning_and_told_again_by_the_next_run(
    command: str, why: str, site: Site, api: DidOptimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 10.0 == monitoring.ALERT_TIMEOUT
    monkeypatch.setattr(monitoring, "ALERT_TIMEOUT", 0.5)
    site.configure(max_retries="0", alert_command=command)
    finish_calls(site, 1, 1000)
    api.down()
    for _ in range(2):
        done = run_here(site)
        assert [f"⚠ alert_command {why}; that runs are failing is told again by the next one"] == [
            line for line in done.lines if "alert_command" in line
        ]
    assert not subprocess.run(["pgrep", "-f", f"^sleep {LONG}$"], capture_output=True, check=False).stdout


def test_an_alert_s_command_gets_no_secret_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("API_KEY", "VICIDIAL_DB_PASSWORD"):
        monkeypatch.setenv(name, "s3cret")
    assert monitoring.alert(f"env > {tmp_path}/env", "well", "2125550100 is a number") is None
    text = (tmp_path / "env").read_text()
    assert "VICISYNC_REASON=… is a number\n" in text
    assert "s3cret" not in text


@pytest.mark.parametrize("owner", [None, 65534], ids=["others can write to it", "another account's"])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_command_counts_only_in_a_file_that_nobody_else_can_write_to(owner: int | None, site: Site) -> None:
    site.configure(alert_command=f"touch {site.folder}/ran")
    if owner:
        os.chown(site.dids_conf, owner, owner)
    else:
        site.dids_conf.chmod(0o666)
    done = site.vicisync("run")
    cure = f"chown root {site.dids_conf}" if owner else f"chmod go-w {site.dids_conf}"
    assert 2 == done.returncode
    assert f"alert_command counts only in a file that nobody else can write to, as root runs it: {cure}" in done.stderr
    assert subprocess.run(cure, shell=True, check=True)  # noqa: S602
    assert 0 == site.vicisync("run").returncode


# Metrics


def values(path: Path) -> dict[str, float]:
    """Every sample of a file, by its name, as Prometheus itself reads it."""
    families = text_string_to_metric_families(path.read_text())
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_prometheus_reads_each_figure_of_the_last_run_what_it_is_and_the_totals_as_counters(tmp_path: Path) -> None:
    file = tmp_path / "vicisync.prom"
    write_metrics(file, LAST_RUN)
    gauges = {
        "vicisync_last_success_timestamp_seconds": 1795402861, "vicisync_last_run_timestamp_seconds": 1795402861,
        "vicisync_last_run_exit_code": 0, "vicisync_lag_seconds": 3, "vicisync_watched": 8,
        "vicisync_run_seconds": 1.25, "vicisync_poll_seconds": 0.004,
    }  # fmt: skip
    counters = {
        "vicisync_delivered_total": 200, "vicisync_duplicates_total": 2, "vicisync_failed_total": 11,
        "vicisync_rejected_total": 1,
        "vicisync_perhaps_twice_total": 4,
    }  # fmt: skip
    assert {**gauges, **counters} == values(file)
    families = list(text_string_to_metric_families(file.read_text()))
    assert [] == [family.name for family in families if not family.documentation]
    assert counters.keys() == {one.name for each in families if each.type == "counter" for one in each.samples}
    assert gauges.keys() == {each.name for each in families if each.type == "gauge"}
    write_metrics(file, replace(LAST_RUN, last_success=None))
    assert 0 == values(file)["vicisync_last_success_timestamp_seconds"], "as before the first success"


def test_node_exporter_may_read_the_file_and_finds_nothing_half_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "vicisync.prom"
    file.write_text("from before")
    write_metrics(file, LAST_RUN)
    assert 0o644 == stat.S_IMODE(file.stat().st_mode)
    assert [file] == list(tmp_path.iterdir())


# Pings


@pytest.mark.parametrize(
    ("query", "suffix", "asked"),
    [("", "start", "/s3cret-id/start"), ("", "", "/s3cret-id"), ("", "4", "/s3cret-id/4"),
     ("/?create=1", "start", "/s3cret-id/start?create=1")],
    ids=["start", "success", "failure", "with a query"],
)  # fmt: skip
def test_the_service_is_told_by_the_path(query: str, suffix: str, asked: str, pings: Pings) -> None:
    assert ping(pings.url + query, suffix) is None
    assert [asked] == pings.paths


@pytest.mark.parametrize("http_status", [302, 404, 500])
def test_a_service_that_does_not_take_it_fails_the_ping(http_status: int, pings: Pings) -> None:
    pings.answer = http_status
    assert f"answered {http_status}" == ping(pings.url)
    assert 1 == len(pings.paths)


@pytest.mark.parametrize("sent", [b"", b"H"], ids=["keeps silent", "trickles"])
def test_a_service_that_does_not_come_to_an_end_is_left(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 5.0 == monitoring.PING_TIMEOUT
    monkeypatch.setattr(monitoring, "PING_TIMEOUT", 0.5)

    def trickle(connection: socket.socket) -> None:
        for _ in range(60):
            connection.sendall(sent)
            time.sleep(0.1)

    with Listener(trickle) as server:
        began = time.monotonic()
        assert "did not answer within 0.5 s" == ping(f"{server.url}/s3cret-id")
        assert time.monotonic() - began < 4


def test_a_service_without_start_is_told_of_success_alone_and_that_is_said_once(
    site: Site, api: DidOptimizer, pings: Pings
) -> None:
    """Such as Uptime Kuma, where the beat counts, and its absence is the alarm."""
    pings.knows_start = False
    site.configure(ping_url=pings.url, max_retries="0")
    said = [site.vicisync("run").stdout.count("⚠ The service behind ping_url answered 404 to /start") for _ in range(3)]
    assert ([1, 0, 0], ["/s3cret-id/start", "/s3cret-id"] * 3) == (said, pings.paths)
    finish_calls(site, 1, 120)
    api.down()
    assert "⚠" not in site.vicisync("run").stdout
    assert ["/s3cret-id/start", "/s3cret-id/4"] == pings.paths[6:]
    pings.knows_start = True
    site.vicisync("run")
    pings.knows_start = False
    assert "⚠ The service behind ping_url answered 404 to /start" in site.vicisync("run").stdout


def test_a_run_that_a_signal_ends_pings_that(site: Site, api: DidOptimizer, pings: Pings) -> None:
    site.configure(ping_url=pings.url, concurrency="1")
    finish_calls(site, 200, 120, per_hour=30_000)
    api.latency = 0.2
    with site.start("run") as process:
        while not api.posts:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert ["/s3cret-id/start", "/s3cret-id/143"] == pings.paths
    assert "Stopped by SIGTERM" == result_of(site).error


def test_a_run_that_cannot_ask_the_database_leaves_what_the_checkpoint_knows(site: Site, api: DidOptimizer) -> None:
    site.configure(max_retries="0")
    finish_calls(site, 3, 120)
    api.down()
    site.vicisync("run")
    assert 3 == site.vicisync("run", VICIDIAL_DB_PORT="1").returncode
    assert (3, True) == (result_of(site).watched, result_of(site).lag >= 120)
    no_database(site)
    assert 3 == site.vicisync("run").returncode
    assert result_of(site).lag >= 120
