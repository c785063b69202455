"""`vicisync status`: people, monitoring systems and programs learn how things stand, and nothing changes."""

import fcntl
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rehearsal.dialer import Dialer
from rehearsal.did_optimizer import LOST_ANSWER, NOT_ACCEPTED, DidOptimizer
from rehearsal.lives import never_ends, new_call
from rehearsal.site import Site
from tests.commands.command import files, finish
from tests.conftest import command_here, make_settings
from tests.state.test_last_run import LAST_RUN
from vicisync.commands.status import status_of
from vicisync.state.last_run import last_run_file, read_last_run, write_last_run
from vicisync.state.lock import lock_holder


def lines(site: Site, *options: str) -> list[str]:
    done = site.vicisync("status", *options)
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.splitlines()


def as_json(site: Site, *options: str, exit_code: int = 0) -> dict[str, Any]:
    done = site.vicisync("status", "--json", *options)
    assert (exit_code, "") == (done.returncode, done.stderr)
    return dict(json.loads(done.stdout))


def test_when_all_is_well_it_says_so_a_fact_a_line(site: Site) -> None:
    finish(site, 3)
    dialer = Dialer(lambda: site.mariadb.connect(site.database))
    dialer.begin(never_ends(new_call(time.time() - 90)))
    dialer.play(time.time())
    dialer.close()
    site.vicisync("run")
    told = [re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [A-Z]+", "TIME", line) for line in lines(site)]
    assert [
        "📅 Checkpoint: TIME, the newest end delivered; looked until TIME",
        "✅ Lag: 0 s",
        "📞 Backlog: 0 calls",
        "⏳ Waiting: 1 not ended yet",
        "✅ Rejected: none",
    ] == told[:-1]
    assert re.fullmatch(r"✅ Last run: TIME, \d+ s ago: exit code 0, 3 processed, 0 failed in \d+\.\d\ds", told[-1])


def test_before_the_first_run_it_says_that_there_was_none(site: Site) -> None:
    assert [
        f"⚠ No checkpoint yet in {site.checkpoint_file}: the first run makes it",
        "✅ Rejected: none",
        "⚠ Last run: none is known",
    ] == lines(site)
    found = as_json(site)
    assert [None] * 3 == [found[key] for key in ("checkpoint", "lag_seconds", "last_run")]
    assert {"calls": 0, "rows_behind": None} == found["backlog"]


def test_nothing_is_changed_by_looking(site: Site, api: DidOptimizer) -> None:
    finish(site, 3)
    for posts in (0, 3):
        before = files(site)
        lines(site)
        as_json(site)
        assert (before, posts) == (files(site), len(api.posts))
        site.vicisync("run")


def test_an_outage_is_told_with_the_sentence_that_ended_the_run_and_whether_calls_are_later_than_allowed(
    site: Site, api: DidOptimizer
) -> None:
    site.vicisync("run")
    finish(site, 3, ago=300)
    site.configure(max_retries="0")
    time.sleep(1)  # the last success lies in another second
    api.down()
    assert 4 == site.vicisync("run").returncode
    told = "\n".join(lines(site))
    for words in ("📞 Backlog: 3 calls", "⏳ Waiting: 3 did not get through", "exit code 4, 0 processed, 3 failed"):
        assert words in told
    assert f"❌ No call got through to DID Optimizer at {api.url}: connection refused" in told
    assert "⚠ Last success: " in told
    allows(site, "120", 1, r"❌ Lag: 3\d\d s, 120 s allowed")
    allows(site, "3600", 0, r"✅ Lag: 3\d\d s, 3600 s allowed")


def allows(site: Site, max_lag: str, code: int, line: str) -> None:
    """The exit code, the line and its sign say whether calls are later than a monitoring system allows."""
    done = site.vicisync("status", "--max-lag", max_lag)
    assert (code, "") == (done.returncode, done.stderr)
    assert re.search(f"^{line}$", done.stdout, re.MULTILINE)
    assert (code == 1) is as_json(site, "--max-lag", max_lag, exit_code=code)["behind"]


def test_no_run_ever_is_later_than_allowed_and_a_run_of_just_now_is_not(site: Site) -> None:
    allows(site, "120", 1, "⚠ No checkpoint yet in .*: the first run makes it")
    finish(site, 3)
    site.vicisync("run")
    allows(site, "120", 0, "✅ Lag: 0 s, 120 s allowed")


@pytest.mark.parametrize(
    ("hours", "options", "line"),
    [
        (3, (), r"⚠ Lag: 3 h \(10\d\d\d s\)"),
        (3, ("--max-lag", "4h"), r"✅ Lag: 3 h \(10\d\d\d s\), 14400 s allowed"),
        (0, (), "✅ Lag: 0 s"),
    ],
)
def test_a_lag_of_hours_is_told_in_hours_behind_an_honest_sign(
    hours: int, options: tuple[str, ...], line: str, site: Site
) -> None:
    site.vicisync("reset-checkpoint", "5h", "--yes")
    finish(site, 1, ago=hours * 3600 + 5)
    if not hours:
        site.vicisync("run")
    told = lines(site, *options)
    assert [line for line in told if "Lag" in line] == [each for each in told if re.fullmatch(line, each)], told


def test_what_has_delivered_nothing_yet_names_no_newest_end(site: Site) -> None:
    site.vicisync("reset-checkpoint", "2024-10-24 12:00:00", "--yes", TZ="Asia/Kolkata")
    done = site.vicisync("status", TZ="Asia/Kolkata").stdout
    assert "📅 Checkpoint: nothing delivered yet of what ended after 2024-10-24 12:00:00 IST\n" in done
    site.vicisync("reset-checkpoint", "--yes")
    site.vicisync("run")
    told = (
        r"📅 Checkpoint: nothing delivered yet of what ended after [\d :-]{19} [A-Z]+; looked until [\d :-]{19} [A-Z]+"
    )
    assert re.fullmatch(told, lines(site)[0])


@pytest.mark.parametrize(
    ("since", "told"), [(3700, "ago"), (-3700, "ahead of this machine's clock")], ids=["past", "set back"]
)
def test_a_run_of_long_ago_or_of_a_clock_that_was_ahead_has_an_honest_sign(site: Site, since: int, told: str) -> None:
    site.vicisync("run")
    path = last_run_file(site.checkpoint_file)
    last = read_last_run(path)
    assert last is not None
    write_last_run(path, replace(last, ended=last.ended - since, last_success=last.ended - since))
    assert re.search(f"^⚠ Last run: .*, 6[01] min {told}: exit code 0", "\n".join(lines(site)), re.MULTILINE)
    assert (2, "VICISYNC CRITICAL - no run has ended well for 61 min") == plugin(site)


@pytest.mark.parametrize("since", [301, -301])
def test_where_no_cron_lives_a_run_of_another_time_is_no_sign_that_runs_are_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, since: int
) -> None:
    monkeypatch.setattr("vicisync.commands.status.daemon_lives", lambda: False)
    found = status_of(make_settings(tmp_path))
    for ago, is_started in ((0, True), (since, False)):
        assert is_started == replace(found, last_run=replace(LAST_RUN, ended=found.now - ago)).is_started()


def test_rejected_calls_are_counted_with_what_to_do(site: Site, api: DidOptimizer) -> None:
    finish(site, 3)
    api.fault_for = lambda _: NOT_ACCEPTED if api.posts else None
    site.vicisync("run")
    assert f"⚠ Rejected: 2 calls; fix what {site.rejected_file} says, then: vicisync retry-rejected" in lines(site)


def test_without_the_database_it_tells_what_the_files_say(site: Site) -> None:
    site.vicisync("run")
    site.mariadb.execute(f"RENAME TABLE {site.database}.vicidial_log TO {site.database}.elsewhere")
    error = f"There is no {site.database}.vicidial_log such as VICIdial makes"
    told = lines(site)
    assert told[0].startswith(f"⚠ {error}")
    assert told[0].endswith("; what follows is from files alone")
    assert told[1].startswith("   → correct VARDB_database (")
    assert re.fullmatch(r"⚠ Lag: \d+ s at most", told[3])
    assert "📞 Backlog: unknown; of those watched, 0 calls" == told[4]
    found = as_json(site)
    assert found["lag_is_estimated"] is True
    assert {"calls": None, "rows_behind": None} == found["backlog"]
    assert found["database_error"].startswith(error)


def test_what_ends_a_run_is_told_as_a_run_would(site: Site) -> None:
    site.checkpoint_file.parent.mkdir(mode=0o700)
    site.checkpoint_file.write_text("nonsense\n")
    done = site.vicisync("status")
    assert (5, True) == (done.returncode, "is damaged: line 1 is not a checkpoint's" in done.stderr)
    site.configure(concurency="8")
    done = site.vicisync("status")
    assert (2, True) == (done.returncode, "Did you mean concurrency?" in done.stderr)


def test_a_run_that_is_at_work_is_named_and_not_disturbed(site: Site) -> None:
    site.vicisync("run")
    lock = site.checkpoint_file.with_name("checkpoint.lock")
    assert lock_holder(site.checkpoint_file) is None
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("process 4711 since 2026-11-23 03:00:00\n" + " " * 20)
        held.flush()
        assert lock_holder(site.checkpoint_file) == "process 4711 since 2026-11-23 03:00:00"
        assert any(line.startswith("🚀 A run is at work: process 4711 since") for line in lines(site))
    assert lock_holder(site.checkpoint_file) is None


def test_where_no_run_was_lately_and_no_cron_is_at_work_it_says_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vicisync.commands.status.daemon_lives", lambda: False)
    site.vicisync("run")
    assert "Cron" not in command_here(site, "status").stdout
    path = last_run_file(site.checkpoint_file)
    last = read_last_run(path)
    assert last
    write_last_run(path, replace(last, ended=last.ended - 400))
    wrong = "❌ Cron: no daemon is at work, so nothing starts vicisync\n   → systemctl enable --now cron"
    assert wrong in command_here(site, "status").stdout


# For monitoring systems


def plugin(site: Site, *options: str) -> tuple[int, str]:
    """The exit code and the line of a plugin, without its numbers, which have to be in the plugins' form."""
    done = site.vicisync("status", "--plugin", *options)
    assert ("", 1) == (done.stderr, done.stdout.count("\n"))
    told, _, numbers = done.stdout.rstrip().partition(" | ")
    if done.returncode != 3:
        names = " ".join(rf"{name}=(\d+|U){unit};\d*;\d*;0" for name, unit in FIGURES.items())
        assert re.fullmatch(names, numbers)
    return done.returncode, told


FIGURES = {"lag": "s", "last_success": "s", "backlog": "", "waiting": "", "rejected": ""}


def test_as_a_plugin_it_is_one_line_with_its_numbers_and_an_exit_code(site: Site, api: DidOptimizer) -> None:
    assert (2, "VICISYNC CRITICAL - no run has ended well yet") == plugin(site)
    finish(site, 2)
    site.vicisync("run")
    code, told = plugin(site)
    assert (0, True) == (code, re.fullmatch(r"VICISYNC OK - lag 0 s, last run \d+ s ago", told) is not None)
    finish(site, 1, ago=400)
    site.configure(max_retries="0")
    api.down()
    site.vicisync("run")
    for options, code, state in [((), 1, "WARNING"), (("--critical", "6m"), 2, "CRITICAL")]:
        late = rf"VICISYNC {state} - calls are 6 min late; the last run ended with exit code 4: No call got through.*"
        found = plugin(site, *options)
        assert (code, True) == (found[0], re.fullmatch(late, found[1]) is not None), found
    found = plugin(site, "--warning", "10m")
    assert (1, "VICISYNC WARNING - the last run ended with exit code 4: No c") == (found[0], found[1][:60])


def test_as_a_plugin_it_warns_of_rejected_calls_of_the_database_and_of_runs_that_are_no_more(
    site: Site, api: DidOptimizer
) -> None:
    finish(site, 3)
    api.fault_for = lambda _: NOT_ACCEPTED if api.posts else None
    site.vicisync("run")
    site.vicisync("run")
    assert (1, "VICISYNC WARNING - 2 calls rejected") == plugin(site)
    site.rejected_file.unlink()
    path = last_run_file(site.checkpoint_file)
    last = read_last_run(path)
    assert last
    for ago, code, state in ((400, 1, "WARNING"), (1000, 2, "CRITICAL")):
        write_last_run(path, replace(last, last_success=int(time.time()) - ago))
        assert (code, f"VICISYNC {state} - no run has ended well for {ago // 60} min") == plugin(site)
    write_last_run(path, last)
    site.mariadb.execute(f"RENAME TABLE {site.database}.vicidial_log TO {site.database}.elsewhere")
    assert (1, "VICISYNC WARNING - the database cannot be asked") == plugin(site)


@pytest.mark.parametrize(
    ("spoil", "options", "says"),
    [
        pytest.param({"concurency": "8"}, (), "no setting", id="a wrong setting"),
        pytest.param({}, ("--warning", "1h"), "--warning 1h must not be above --critical 15m", id="they cross"),
        pytest.param({}, ("--warning", "soon"), "'soon' is no length of time", id="a wrong threshold"),
        pytest.param({}, ("--dids-conf", "/no|such"), "/no/such does not exist", id="no file"),
    ],
)
def test_as_a_plugin_it_says_what_keeps_it_from_knowing(
    spoil: dict[str, str], options: tuple[str, ...], says: str, site: Site
) -> None:
    site.configure(**spoil)
    code, told = plugin(site, *options)
    assert (3, "VICISYNC UNKNOWN - ", True) == (code, told[:19], says in told)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param(("--json",), "--plugin excludes --json and --max-lag → vicisync status --help", id="json"),
        pytest.param(("--max-lag", "5m"), "--plugin excludes --json and --max-lag → ", id="another lag"),
        pytest.param(("--max-lag", "x|y"), "'--max-lag': must be a time ", id="a wrong time"),
        pytest.param(("--warn=5m", "now"), "No such option", id="a wrong option"),
    ],
)
def test_as_a_plugin_it_says_which_option_is_wrong_in_its_one_line(
    options: tuple[str, ...], says: str, site: Site
) -> None:
    code, told = plugin(site, *options)
    assert (3, "VICISYNC UNKNOWN - ", True) == (code, told[:19], says in told), told
    assert "|" not in told


def test_a_lag_that_is_allowed_says_nothing_of_a_run_that_failed_and_the_plugin_does(site: Site) -> None:
    finish(site, 1)
    site.vicisync("run")
    path = last_run_file(site.checkpoint_file)
    last = read_last_run(path)
    assert last
    write_last_run(path, replace(last, exit_code=3, error="No database"))
    assert 0 == site.vicisync("status", "--max-lag", "5m").returncode
    assert (1, "VICISYNC WARNING - the last run ended with exit code 3: No database") == plugin(site)


def test_thresholds_without_the_plugin_are_refused(site: Site) -> None:
    assert 2 == site.vicisync("status", "--warning", "5m").returncode


# For programs


def test_json_has_the_documented_shape(site: Site) -> None:
    finish(site, 3)
    site.vicisync("run")
    found = as_json(site)
    assert abs(found.pop("now") - time.time()) < 60
    last_run = found.pop("last_run")
    assert {"end_epoch", "ended_after", "looked_until"} == found.pop("checkpoint").keys()
    assert {
        "behind": None, "lag_seconds": 0, "lag_is_estimated": False, "backlog": {"calls": 0, "rows_behind": 0},
        "waiting": {
            "not_ended": 0, "no_disposition": 0, "message_playing": 0, "held": 0, "released": 0, "to_send": 0,
            "failed": 0,
        },
        "rejected": 0, "running": None, "database_error": None,
    } == found  # fmt: skip
    assert (0, 3, 3) == (last_run["exit_code"], last_run["delivered"], last_run["delivered_total"])


def test_calls_that_may_have_been_stored_twice_are_told_of_the_last_run(site: Site, api: DidOptimizer) -> None:
    calls = finish(site, 5)
    site.configure(max_retries="0")
    api.fault_for = lambda payload: LOST_ANSWER if payload["uniqueid"] in calls[1:3] else None
    site.vicisync("run")
    assert {"failed": 2, "to_send": 0} == {key: as_json(site)["waiting"][key] for key in ("failed", "to_send")}
    api.fault_for = None
    site.vicisync("run")
    assert ", 2 may have been stored twice (their answers were lost)" in lines(site)[-1]
    last = as_json(site)["last_run"]
    assert (2, True) == (last["perhaps_twice"], last["perhaps_twice_total"] >= 2)
