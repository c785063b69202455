"""The installed command, as an operator and cron run it: on a real MariaDB and a real HTTP server."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, Callable

import pytest

from rehearsal.dialer import fill
from rehearsal.did_optimizer import HTML_200, SUCCESS_FALSE, Answer, DidOptimizer, Fault
from rehearsal.site import COMMAND, PASSWORD, Site
from vicisync import __version__
from vicisync.commands.cli import main

STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ([+-]\d{4}) ")

INDIA = {"TZ": "Asia/Kolkata"}
"""A zone that is not UTC, to tell local time from it, and has no change of clocks, to mean the same all year."""

CLICK_KNOWS_WHAT_WAS_MEANT = tuple(map(int, version("click").split(".")[:2])) >= (8, 4)
"""Older ones, such as Python 3.9 is left with, only say that there is no such command."""

NOT_ACCEPTED = Fault(
    "rejected", answer=Answer(400, {"Content-Type": "application/json"}, b'{"success": false, "error": "Never this"}')
)


def vicisync(
    site: Site, *arguments: str, code: int = 0, environment: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    """Run the command, which has to exit with ``code``; whatever happens, it shows neither of its secrets."""
    done = site.vicisync(*arguments, **environment)
    check_secrets(site, done.stdout + done.stderr, environment)
    assert code == done.returncode, f"{done.stdout}{done.stderr}"
    return done


def check_secrets(site: Site, output: str, environment: Mapping[str, str]) -> None:
    secrets = {site.api_key, PASSWORD, environment.get("API_KEY"), environment.get("VICIDIAL_DB_PASSWORD")}
    assert [] == [secret for secret in secrets if secret and secret in output]


Refused = Callable[..., tuple[str, list[str]]]


@pytest.fixture
def refused(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Call the command inside this process, which is many times faster, to see how it ends with 2.

    Gives what it wrote to stderr, whole and by lines; it has to have written nothing else, and sent nothing.
    """

    def refused(*arguments: str, environment: Mapping[str, str] = {}) -> tuple[str, list[str]]:
        before = files(site)
        with monkeypatch.context() as patch:
            for name, value in site.environment(**environment).items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["vicisync", *arguments])
            with pytest.raises(SystemExit) as ended:
                main()
        out, err = capsys.readouterr()
        check_secrets(site, out + err, environment)
        assert (2, "") == (ended.value.code, out)
        assert before == files(site)
        return err, err.splitlines()

    return refused


def lines(output: str) -> list[str]:
    """The lines without their time stamps, which they all have."""
    found = output.splitlines()
    assert [] == [line for line in found if not STAMP.match(line)]
    return [STAMP.sub("", line, count=1) for line in found]


def on_terminal(site: Site, *arguments: str, answer: str = "") -> tuple[int, str]:
    """Run the command on a terminal of its own, and type ``answer`` where it asks; return exit code and output."""
    ours, its = pty.openpty()
    # Whoever runs the tests in the background of a shell has them ignore Ctrl-C, and all that they start.
    command = ["env", "--default-signal=INT", "setsid", "--ctty", str(COMMAND), *arguments]
    process = subprocess.Popen(command, env=site.environment(), stdin=its, stdout=its, stderr=its)
    os.close(its)
    shown = b""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if not select.select([ours], [], [], 1)[0]:
            if answer and b"?" in shown:  # a Ctrl-C that comes before readline is ready has no effect: press it again
                os.write(ours, answer.encode())
            continue
        asked = b"?" in shown
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the last one at the other end has gone
            break
        if answer and b"?" in shown and not asked:
            os.write(ours, answer.encode())
    else:
        process.kill()
    os.close(ours)
    output = shown.decode()
    check_secrets(site, output, {})
    return process.wait(60), output.replace("\r\n", "\n")


def finish(site: Site, calls: int, ago: float = 200) -> list[str]:
    """Let calls end, a second apart, the last one ``ago`` seconds ago; return their ids in that order."""
    first_lead = 1 + max((lead for (lead,) in rows(site, "lead_id")), default=1000)
    with site.mariadb.connect(site.database) as connection:
        fill(connection, calls, int(time.time() - ago), per_hour=3600, first_lead=first_lead)
    return [uniqueid for uniqueid, lead in rows(site, "uniqueid, lead_id") if lead >= first_lead]


def rows(site: Site, columns: str) -> list[tuple[Any, ...]]:
    return site.mariadb.execute(f"SELECT {columns} FROM `{site.database}`.vicidial_log ORDER BY end_epoch, lead_id")


def newest_end(site: Site) -> int:
    newest: int = max(end for (end,) in rows(site, "end_epoch"))
    return newest


def local(epoch: float, hours_east: float = 0) -> str:
    return datetime.fromtimestamp(epoch, timezone(timedelta(hours=hours_east))).strftime("%Y-%m-%d %H:%M:%S")


def files(site: Site) -> dict[str, bytes]:
    """Every file of the site, with what is in it."""
    return {str(path): path.read_bytes() for path in site.folder.rglob("*") if path.is_file()}


def arrived(api: DidOptimizer) -> list[str]:
    """The ids that were POSTed, in order of arrival."""
    return [post.payload["uniqueid"] for post in api.posts]


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def unreachable() -> str:
    """An address at which nobody listens."""
    return f"http://127.0.0.1:{unused_port()}"


# What a run says


def test_a_run_says_what_it_did_in_the_words_and_order_that_operators_know(site: Site, api: DidOptimizer) -> None:
    calls = finish(site, 500)
    done = vicisync(site, "run", environment=INDIA)
    said = lines(done.stdout)
    newest = local(newest_end(site), 5.5)
    assert "" == done.stderr
    assert {"+0530"} == {stamp[1] for stamp in map(STAMP.match, done.stdout.splitlines()) if stamp}
    assert re.match(r"📅 First run: delivering what ended after \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, an hour ago$", said[0])
    assert ["🚀 Starting call results sync...", "✅ Connected to VICIdial database"] == said[1:3]
    assert re.match(r"📅 Last check: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", said[3])
    assert "📞 Found 500 new call results" == said[4]
    told = [re.fullmatch(r"✓ (\d+\.\d+): \w+/\d{10} → [A-Z]+ \(\d+s\)", line) for line in said[5:-3]]
    assert sorted(calls) == sorted(line[1] for line in told if line)
    assert re.match(r"📊 Summary: 500 processed, 0 failed in \d+\.\d\ds$", said[-3])
    assert [f"💾 Saved checkpoint: {newest}", "✅ Sync completed successfully"] == said[-2:]
    assert sorted(calls) == sorted(arrived(api))

    first_line = site.checkpoint_file.read_text().splitlines()[0]
    assert f"end_epoch\t{newest_end(site)}\t{newest}" == first_line
    assert [f"✅ Nothing new since {newest}"] == lines(vicisync(site, "run", environment=INDIA).stdout)
    assert 500 == len(api.posts)


def test_on_a_terminal_the_lines_have_no_time_stamps(site: Site) -> None:
    finish(site, 2)
    code, output = on_terminal(site, "run")
    assert 0 == code
    assert [] == [line for line in output.splitlines() if STAMP.match(line)]
    assert "✅ Sync completed successfully" == output.splitlines()[-1]


def test_on_a_terminal_a_backlog_is_a_bar_with_its_speed_and_not_a_line_a_call(site: Site, api: DidOptimizer) -> None:
    finish(site, 600)
    api.fault_for = lambda payload: SUCCESS_FALSE if payload["uniqueid"].endswith("7") else None
    code, output = on_terminal(site, "run")
    assert 6 == code
    assert re.search(r"\[#+-*\] +\d+/600 .* \d+ calls/s", output)
    assert "600/600" in output
    told = [line for line in re.split(r"[\r\n]+", output) if "✓" in line or "✗" in line]
    assert [] == [line for line in told if "✓" in line]
    assert 60 == len([line for line in told if re.match(r"(\x1b\[K)?✗ .*: failed: ", line)])
    assert 540 == len(api.records)


def test_a_run_whose_terminal_has_gone_delivers_its_backlog(site: Site, api: DidOptimizer) -> None:
    finish(site, 600)
    api.latency = 0.02
    ours, its = pty.openpty()
    with subprocess.Popen([COMMAND, "run"], env=site.environment(), stdout=its, stderr=its, stdin=its) as process:
        os.close(its)
        while len(api.records) < 20:
            os.read(ours, 4096)
        os.close(ours)
        assert 0 == process.wait(60)
    assert 600 == len(api.records)


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        pytest.param({"LANG": "C", "LC_ALL": ""}, "📞 Found 3 new", id="LANG=C"),
        pytest.param({"LC_ALL": "C"}, "📞 Found 3 new", id="LC_ALL=C"),
        pytest.param(
            {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            r"\U0001f4de Found 3 new",
            id="POSIX and no way out",
        ),
        pytest.param({"PYTHONIOENCODING": "ascii"}, r"\U0001f4de Found 3 new", id="ASCII only"),
    ],
)
def test_a_log_that_cannot_hold_every_sign_gets_it_escaped(
    environment: dict[str, str], found: str, site: Site, api: DidOptimizer
) -> None:
    finish(site, 3)
    site.mariadb.execute(f"UPDATE `{site.database}`.vicidial_log SET campaign_id = 'CAFÉ'")
    done = vicisync(site, "run", environment=environment)
    assert [] == [line for line in (found, "Summary: 3 processed, 0 failed") if line not in done.stdout]
    assert ["CAFÉ"] * 3 == [post.payload["campaignId"] for post in api.posts]


def test_cron_s_bare_environment_suffices(site: Site, api: DidOptimizer) -> None:
    calls = finish(site, 3)
    configuration = ["--astguiclient-conf", str(site.astguiclient_conf), "--dids-conf", str(site.dids_conf)]
    done = subprocess.run(
        [COMMAND, "run", *configuration],
        env={"PATH": "/usr/bin:/bin"}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
        check=False,
    )  # fmt: skip
    assert (0, "") == (done.returncode, done.stderr)
    assert "✅ Sync completed successfully" in done.stdout
    assert sorted(calls) == sorted(arrived(api))


NO_LOG = pytest.mark.parametrize(
    "streams",
    [
        pytest.param(">&-", id="stdout closed"),
        pytest.param("2>&-", id="stderr closed"),
        pytest.param(">&- 2>&-", id="both closed"),
        pytest.param("<&- >&- 2>&-", id="all closed"),
        pytest.param("> /dev/full", id="stdout full"),
        pytest.param("2> /dev/full", id="stderr full"),
        pytest.param("> /dev/full 2>&1", id="both full"),
        pytest.param("| head -1", id="reader gone"),
        pytest.param("2>&1 | head -1", id="reader of both gone"),
        pytest.param("| true", id="reader never there"),
    ],
)


def in_shell(site: Site, line: str, **environment: str) -> tuple[int, str, str]:
    """Run the command with its streams where the shell's line puts them; return its own exit code, stdout, stderr."""
    code = site.folder / "exit-code"
    command = f"{{ {shlex.quote(str(COMMAND))} {line.partition('|')[0]}; echo $? > {shlex.quote(str(code))}; }}"
    pipe = "".join(line.partition("|")[1:])
    done = subprocess.run(
        ["sh", "-c", f"{command} {pipe}"], env=site.environment(**environment), stdin=subprocess.DEVNULL,
        capture_output=True, encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip
    check_secrets(site, done.stdout + done.stderr, environment)
    exit_code = int(code.read_text())
    code.unlink()
    return exit_code, done.stdout, done.stderr


@NO_LOG
def test_a_run_whose_words_nobody_can_read_delivers_everything(streams: str, site: Site, api: DidOptimizer) -> None:
    calls = finish(site, 60)
    code, _, stderr = in_shell(site, f"run {streams}")
    assert 0 == code, stderr
    assert "Traceback" not in stderr
    assert sorted(calls) == sorted(arrived(api))
    newest = site.checkpoint_file.read_text().splitlines()[0].split()[1]
    assert str(newest_end(site)) == newest
    assert "✅ Nothing new since " in vicisync(site, "run").stdout
    assert 60 == len(api.posts)


@pytest.mark.parametrize(
    ("streams", "why"),
    [
        pytest.param("> /dev/full", "No space left on device", id="full"),
        pytest.param("| true", "Broken pipe", id="reader gone"),
    ],
)
def test_a_run_that_falls_silent_says_so_once_where_it_can(streams: str, why: str, site: Site) -> None:
    finish(site, 60)
    code, stdout, stderr = in_shell(site, f"run {streams}")
    assert (0, "") == (code, stdout)
    assert f"❌ Cannot write what the run does: {why}; it goes on in silence\n" == stderr


@NO_LOG
def test_a_run_whose_words_nobody_can_read_keeps_its_exit_code(streams: str, site: Site, api: DidOptimizer) -> None:
    calls = finish(site, 3)
    api.fault_for = lambda _: NOT_ACCEPTED
    assert 6 == in_shell(site, f"run {streams}")[0]
    kept = [json.loads(line) for line in site.rejected_file.read_text().splitlines()]
    assert sorted(calls) == sorted(entry["payload"]["uniqueid"] for entry in kept)
    assert 2 == in_shell(site, f"run --max-runtime=x {streams}")[0]
    finish(site, 1)
    assert 3 == in_shell(site, f"run {streams}", VICIDIAL_DB_NAME="elsewhere")[0]
    assert 3 == len(api.posts)


@NO_LOG
@pytest.mark.parametrize(
    ("code", "command"),
    [
        pytest.param(0, "status", id="status"),
        pytest.param(1, "status --max-lag 300", id="status, late"),
        pytest.param(0, "status --json", id="status for programs"),
        pytest.param(0, "reset-checkpoint --yes", id="reset"),
        pytest.param(2, "reset-checkpoint --to never", id="a mistake in a reset"),
        pytest.param(2, "status --max-lag soon", id="a mistake in an option"),
    ],
)
def test_a_command_whose_words_nobody_can_read_keeps_its_exit_code(
    code: int, command: str, streams: str, site: Site
) -> None:
    assert code == in_shell(site, f"{command} {streams}")[0]


def test_a_quiet_run_says_only_the_summary_and_what_failed(site: Site, api: DidOptimizer) -> None:
    calls = finish(site, 3)
    api.fault_for = lambda payload: NOT_ACCEPTED if payload["uniqueid"] == calls[1] else None
    said = lines(vicisync(site, "run", "-q", code=6).stdout)
    assert f"✗ {calls[1]}: failed: 400 Bad Request: Never this; rejected" == said[0]
    assert ["📊 Summary: 2 processed, 1 failed"] == [line.partition(" in ")[0] for line in said[1:]]
    assert "" == vicisync(site, "run", "--quiet").stdout


def test_a_verbose_run_also_says_which_calls_wait_and_why(site: Site) -> None:
    calls = finish(site, 2)
    where = f"`{site.database}`.vicidial_log SET status = 'DISPO'"
    site.mariadb.execute(f"UPDATE {where} WHERE uniqueid = %s", (calls[1],))
    said = lines(vicisync(site, "run", "-v").stdout)
    assert [line for line in said if line.startswith(f"… {calls[1]}: waiting")]
    assert not [line for line in lines(vicisync(site, "run").stdout) if line.startswith("…")]


# What arrives

DOCUMENTED = {
    "uniqueid": "1.1",
    "leadId": "4294967295",
    "listId": "99800123456789",
    "campaignId": "CAMPAIGN",
    "phoneNumber": "0015550100",
    "phoneCode": "044",
    "disposition": "SALE",
    "duration": 45,
    "agentId": "agent001",
    "userGroup": "AGENTS",
    "termReason": "CALLER",
    "comments": "müde \t",
    "altDial": "MAIN",
    "calledCount": 3,
    "callDate": "2024-10-24 12:00:00",
    "startEpoch": 1,
    "endEpoch": 46,
    "timestamp": 46,
    "result": "answered",
}


def test_every_documented_field_arrives_with_its_type(site: Site, api: DidOptimizer) -> None:
    start = int(time.time()) - 900
    uniqueid, call_date = f"{start}.1", "2024-10-24 12:00:00"
    expected = {
        **DOCUMENTED,
        "uniqueid": uniqueid,
        "startEpoch": start,
        "endEpoch": start + 45,
        "timestamp": start + 45,
    }
    names = "uniqueid, lead_id, list_id, campaign_id, phone_number, phone_code, status, length_in_sec, user, user_group"
    names += ", term_reason, comments, alt_dial, called_count"
    given = [expected[name] for name in tuple(DOCUMENTED)[:14]]
    site.mariadb.execute(
        f"INSERT INTO `{site.database}`.vicidial_log ({names}, call_date, start_epoch, end_epoch)"
        f" VALUES ({', '.join(['%s'] * 14)}, FROM_UNIXTIME(%s), %s, %s)",
        [*given, start, start, start + 45],
    )
    ((call_date,),) = rows(site, "CAST(call_date AS CHAR)")
    vicisync(site, "run")
    (post,) = api.posts
    assert {**expected, "callDate": call_date} == post.payload
    assert (site.api_key, "application/json") == (post.headers["x-api-key"], post.headers["Content-Type"])


def test_what_vicidial_left_empty_arrives_as_null(site: Site, api: DidOptimizer) -> None:
    start = int(time.time()) - 1800
    site.mariadb.execute(
        f"INSERT INTO `{site.database}`.vicidial_log"
        " (uniqueid, lead_id, campaign_id, phone_number, call_date, start_epoch, end_epoch, term_reason, alt_dial,"
        " called_count) VALUES ('1.1', 7, 'C', '5550100', FROM_UNIXTIME(%s), %s, %s, NULL, NULL, NULL)",
        (start, start, start + 45),
    )
    vicisync(site, "run")
    empty = {"listId", "phoneCode", "disposition", "duration", "agentId", "userGroup", "termReason", "comments"}
    assert {*empty, "altDial", "calledCount"} == {name for name, value in api.posts[0].payload.items() if value is None}


def test_dispositions_of_dids_conf_override_single_results(site: Site, api: DidOptimizer) -> None:
    calls = finish(site, 3)
    for uniqueid, status in zip(calls, ("CALLBK", "A", "NA")):
        where = f"`{site.database}`.vicidial_log SET status = %s WHERE uniqueid = %s"
        site.mariadb.execute(f"UPDATE {where}", (status, uniqueid))
    with site.dids_conf.open("a") as file:
        file.write("[dispositions]\nCALLBK = answered\nA = dropped\n")
    vicisync(site, "run")
    results = {payload["disposition"]: payload["result"] for payload in api.records.values()}
    assert {"CALLBK": "answered", "A": "dropped", "NA": "no_answer"} == results


# Options


@pytest.mark.parametrize("first_run_has_been", [False, True], ids=["first run", "later run"])
def test_a_dry_run_shows_what_would_be_sent_in_order_and_changes_nothing(
    first_run_has_been: bool, site: Site, api: DidOptimizer
) -> None:
    if first_run_has_been:
        finish(site, 3, ago=1200)
        vicisync(site, "run")
    before, sent = files(site), len(api.posts)
    calls = finish(site, 30)
    said = lines(vicisync(site, "run", "--dry-run").stdout)
    shown = [line.split()[3].rstrip(":") for line in said if line.startswith("→ would send ")]
    by_start = [uniqueid for uniqueid, _ in sorted(rows(site, "uniqueid, call_date"), key=lambda row: str(row[1]))]
    assert [uniqueid for uniqueid in by_start if uniqueid in calls] == shown
    assert "🔍 Dry run: 30 calls would be sent; nothing was sent, nothing was saved" == said[-1]
    assert [] == [line for line in said if "processed" in line or "💾" in line]
    assert before == files(site)
    assert sent == len(api.posts)
    vicisync(site, "run")
    assert sorted(calls) == sorted(arrived(api)[sent:])


def test_a_dry_run_shows_no_more_than_the_limit(site: Site, api: DidOptimizer) -> None:
    finish(site, 30)
    said = lines(vicisync(site, "run", "--dry-run", "--limit", "4").stdout)
    assert 4 == len([line for line in said if line.startswith("→ would send ")])
    assert "🔍 Dry run: 4 calls would be sent; nothing was sent, nothing was saved" == said[-1]
    assert [] == api.posts


def test_limited_runs_send_at_most_so_many_calls_and_skip_none(site: Site, api: DidOptimizer) -> None:
    calls = finish(site, 10, ago=1200)  # further back than the overlap, which would make up for a skipped one
    sent, last_words = [], []
    for _ in range(4):
        last_words += lines(vicisync(site, "run", "--limit", "4").stdout)[-1:]
        sent.append(len(api.posts))
    assert [4, 8, 10, 10] == sent
    assert ["⏳ There is more to look at; the next run goes on"] * 2 == last_words[:2]
    assert "✅ Sync completed successfully" == last_words[2]
    assert last_words[3].startswith("✅ Nothing new since ")
    assert sorted(calls) == sorted(arrived(api))


def test_a_batch_is_what_is_read_from_the_database_at_once(site: Site, api: DidOptimizer) -> None:
    def statements(batch_size: str) -> int:
        finish(site, 6)
        ((_, before),) = site.mariadb.execute("SHOW GLOBAL STATUS LIKE 'Com_select'")
        vicisync(site, "run", "--batch-size", batch_size)
        ((_, after),) = site.mariadb.execute("SHOW GLOBAL STATUS LIKE 'Com_select'")
        return int(after) - int(before)

    assert 5 == statements("1") - statements("6")
    assert 12 == len(api.records)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(("--bogus",), "--bogus", id="unknown option"),
        pytest.param(("run", "now"), "now", id="an argument too many"),
        pytest.param(("run", "--dids-conf"), "--dids-conf", id="path forgotten"),
        pytest.param(("run", "--dids-conf", ""), "'--dids-conf': needs a path", id="empty path"),
        pytest.param(("run", "--astguiclient-conf="), "'--astguiclient-conf': needs a path", id="another empty path"),
        pytest.param(("reset-checkpoint", "--dids-conf="), "'--dids-conf': needs a path", id="empty path of a reset"),
        pytest.param(("run", "-q", "-v"), "-q and -v exclude each other", id="quiet and verbose"),
        pytest.param(("run", "--limit", "0"), "--limit", id="limit of none"),
        pytest.param(("run", "--limit", "ten"), "--limit", id="limit in words"),
        pytest.param(("run", "--batch-size", "0"), "--batch-size", id="batch of none"),
        pytest.param(("run", "--batch-size", "1k"), "1 to 10000", id="batch in words"),
        pytest.param(("run", "--max-runtime", "1m"), "whole number of seconds", id="runtime in minutes"),
        pytest.param(("run", "--max-runtime", "-1"), "0 to 86400", id="negative runtime"),
        pytest.param(("reset-checkpoint", "--to"), "--to", id="time forgotten"),
    ],
)
def test_a_usage_error_names_what_is_wrong_and_does_nothing(
    arguments: Sequence[str], words: str, refused: Refused
) -> None:
    error = refused(*arguments)[1][-1]
    assert STAMP.sub("", error).startswith("❌ ")
    assert words in error


def test_a_misspelt_command_is_named_and_where_click_can_the_one_that_was_meant(refused: Refused) -> None:
    error = refused("rum")[1][-1]
    assert "❌ No such command 'rum'." == STAMP.sub("", error).partition(" Did you mean ")[0]
    assert not CLICK_KNOWS_WHAT_WAS_MEANT or error.endswith(". Did you mean 'run'?")


def test_the_command_explains_itself(site: Site) -> None:
    text = vicisync(site, "--help").stdout
    assert [] == [name for name in ("run", "reset-checkpoint", "retry-rejected") if f"\n  {name} " not in text]
    assert "Try 'vicisync --help' for help." in vicisync(site, code=2).stderr
    options = ["--dry-run", "--limit", "--batch-size", "--max-runtime", "--quiet", "--verbose"]
    text = vicisync(site, "run", "-h").stdout
    assert [] == [name for name in [*options, "--dids-conf", "--astguiclient-conf"] if f" {name} " not in text]


def test_command_and_module_are_the_same(site: Site) -> None:
    module = [sys.executable, "-m", "vicisync", "--version"]
    done = subprocess.run(module, capture_output=True, text=True, check=True)
    assert f"vicisync {__version__}\n" == done.stdout == vicisync(site, "--version").stdout


# Failures and their exit codes


def append(site: Site, text: str) -> None:
    with site.dids_conf.open("a") as file:
        file.write(text)


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        pytest.param("batchsize=3\n", ["'batchsize' is no setting of [vicisync]. Did you mean batch_size?"], id="key"),
        pytest.param("concurrency=0\n", ["concurrency must be a whole number from 1 to 64"], id="value"),
        pytest.param("api_key=x\n", ["api_key belongs under [general]"], id="section"),
        pytest.param("just words\n", ["a line of [vicisync] must be key=value"], id="line"),
        pytest.param("[dispositions]\nSALE=sold\n", ["the result of 'SALE' must be one of"], id="result"),
        pytest.param("[general]\napi_base_url=localhost:5000\n", ["api_base_url must be http://"], id="address"),
        pytest.param("[general]\nverify_ssl=/no/ca.pem\n", ["verify_ssl must be the path of a readable"], id="CA"),
        pytest.param(
            "batchsize=3\noverlap=1\n", ["'batchsize' is no setting", "overlap must be"], id="two mistakes at once"
        ),
    ],
)
def test_each_mistake_in_dids_conf_is_a_line_that_names_its_place(
    text: str, mistakes: list[str], site: Site, refused: Refused
) -> None:
    append(site, text)
    for command in ("run", "reset-checkpoint"):
        shown = lines(refused(command)[0])
        told = [re.match(rf"❌ {re.escape(str(site.dids_conf))} line \d+: (.*)", line) for line in shown]
        assert len(mistakes) == len(told)
        assert [] == [mistake for mistake, line in zip(mistakes, told) if not (line and mistake in line[1])]


def test_without_a_key_nothing_runs(site: Site, api: DidOptimizer) -> None:
    finish(site, 1)
    site.api_key = ""
    site.configure()
    before = files(site)
    done = vicisync(site, "run", code=2)
    assert "" == done.stdout
    assert [f"❌ api_key is missing: write api_key=YOUR_KEY under [general] of {site.dids_conf}."] == lines(done.stderr)
    assert before == files(site)
    assert [] == api.posts


@pytest.mark.parametrize("option", ["--dids-conf", "--astguiclient-conf"])
def test_a_configuration_file_that_is_named_has_to_be_there(option: str, site: Site, refused: Refused) -> None:
    missing = str(site.folder / "missing.conf")
    variable = f"VICISYNC{option[1:].replace('-', '_').upper()}"
    for _, shown in (refused("run", option, missing), refused("run", environment={variable: missing})):
        (error,) = shown
        assert f"❌ {missing} does not exist: " in error


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        pytest.param({"VICIDIAL_DB_PORT": "unused"}, "Cannot reach the database at 127.0.0.1:", id="down"),
        pytest.param({"VICIDIAL_DB_PASSWORD": "0ther-s3cret"}, "refuses user cron", id="wrong password"),
        pytest.param({"VICIDIAL_DB_NAME": "elsewhere"}, "elsewhere.vicidial_log", id="wrong database"),
    ],
)
def test_a_database_that_cannot_be_read_ends_the_run_with_3(
    environment: dict[str, str], words: str, site: Site, api: DidOptimizer
) -> None:
    calls = finish(site, 2)
    if "VICIDIAL_DB_PORT" in environment:
        environment = {"VICIDIAL_DB_PORT": str(unused_port())}
    done = vicisync(site, "run", code=3, environment=environment)
    (error,) = lines(done.stderr)
    assert error.startswith("❌ ")
    assert words in error
    assert not site.checkpoint_file.exists()
    vicisync(site, "run")
    assert sorted(calls) == sorted(arrived(api))


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        pytest.param("down", "connection refused", id="down"),
        pytest.param("key", "check api_key", id="401"),
        pytest.param("page", "check api_base_url", id="a page of HTML"),
    ],
)
def test_an_api_that_takes_nothing_ends_the_run_with_4_and_loses_nothing(
    trouble: str, words: str, site: Site, api: DidOptimizer, unreachable: str
) -> None:
    calls = finish(site, 8)
    site.configure(max_retries="0")
    environment = {"down": {"DID_OPTIMIZER_API_URL": unreachable}, "key": {"API_KEY": "0ther-k3y"}}.get(trouble, {})
    api.fault_for = lambda _: HTML_200 if trouble == "page" else None
    done = vicisync(site, "run", code=4, environment=environment)
    (error,) = lines(done.stderr)
    address = unreachable if trouble == "down" else api.url
    assert re.match(f"❌ (No call got through to )?DID Optimizer at {re.escape(address)}[: ]", error)
    assert words in error
    assert "✅ Sync completed successfully" not in lines(done.stdout)
    assert len([line for line in lines(done.stdout) if ": failed: " in line]) in (1, 5)
    assert not site.rejected_file.exists()
    api.fault_for = None
    before = len(api.posts)
    vicisync(site, "run")
    assert sorted(calls) == sorted(arrived(api)[before:])


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0" * 300, id="NUL bytes"),
        pytest.param(b"<html>\xff", id="not a checkpoint"),
        pytest.param(b"end_epoch\t1729771200\t2024-10-24 12:00:00\nended_af", id="half of one"),
    ],
)
def test_a_damaged_checkpoint_ends_the_run_with_5_and_the_command_that_mends_it(
    damage: bytes, site: Site, api: DidOptimizer
) -> None:
    calls = finish(site, 3)
    site.checkpoint_file.parent.mkdir()
    site.checkpoint_file.write_bytes(damage)
    for arguments in (("run",), ("run", "--dry-run")):
        (error,) = lines(vicisync(site, *arguments, code=5).stderr)
        assert f"The checkpoint {site.checkpoint_file} is damaged: " in error
        assert damage == site.checkpoint_file.read_bytes()
    assert [] == api.posts

    cure = re.search("vicisync (reset-checkpoint .*)", error)
    assert cure
    reset = vicisync(site, *shlex.split(cure[1])).stdout
    assert reset.startswith("Old checkpoint: damaged: ")
    vicisync(site, "run")
    assert sorted(calls) == sorted(arrived(api))


def test_a_folder_in_the_checkpoint_s_place_stops_a_reset_at_the_reading(site: Site) -> None:
    site.checkpoint_file.mkdir(parents=True)
    done = vicisync(site, "reset-checkpoint", "--yes", code=5)
    (error,) = lines(done.stderr)
    assert error.startswith(f"❌ Cannot read the checkpoint {site.checkpoint_file}: ")
    assert "" == done.stdout
    assert [] == list(site.checkpoint_file.iterdir())


def test_rejected_calls_end_the_run_with_6_and_hold_up_nobody(site: Site, api: DidOptimizer) -> None:
    calls = finish(site, 20)
    bad = set(calls[3:5])
    api.fault_for = lambda payload: NOT_ACCEPTED if payload["uniqueid"] in bad else None
    said = lines(vicisync(site, "run", code=6).stdout)
    assert 2 == len([line for line in said if line.endswith(": failed: 400 Bad Request: Never this; rejected")])
    assert [True] == ["18 processed, 2 failed" in line for line in said if "Summary:" in line]
    kept = [json.loads(line) for line in site.rejected_file.read_text().splitlines()]
    assert bad == {entry["payload"]["uniqueid"] for entry in kept}
    assert {"400 Bad Request: Never this"} == {entry["why"] for entry in kept}
    assert set(calls) - bad == set(api.records)
    assert f"⚠ 2 calls rejected: see {site.rejected_file}" == said[-1]
    vicisync(site, "run")
    assert 20 == len(api.posts)


def test_a_bug_ends_the_run_with_1_and_a_traceback(site: Site, tmp_path: Path, api: DidOptimizer) -> None:
    """The bug comes in through Python's own door for such things, sitecustomize."""
    calls = finish(site, 3)
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys; sys.path.append({str(COMMAND)!r})\n"  # a vicisync.pyz is the place where its modules are
        "import vicisync.vicidial.call_log\n"
        "def whole(self, uniqueids):\n"
        "    raise KeyError('not foreseen')\n"
        "vicisync.vicidial.call_log.CallLog.whole = whole\n"
    )
    done = vicisync(site, "run", code=1, environment={"PYTHONPATH": str(tmp_path)})
    assert "Traceback (most recent call last):" in done.stderr
    assert "KeyError: 'not foreseen'" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "❌ This is a bug in vicisync; please report the lines above" == STAMP.sub("", last)
    assert "✅ Sync completed successfully" not in done.stdout
    vicisync(site, "run")
    assert sorted(calls) == sorted(arrived(api))


@pytest.fixture
def run_at_work(site: Site, api: DidOptimizer) -> Iterator[subprocess.Popen[str]]:
    """A run that is stopped in the middle of its work, and goes on when the test ends."""
    finish(site, 20)
    api.latency = 0.3
    process = site.start("run")
    until = time.monotonic() + 60
    while not api.posts and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    yield process
    api.latency = 0
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=60)
    assert 0 == process.returncode


@pytest.mark.parametrize("arguments", [("run",), ("reset-checkpoint", "--yes")], ids=["run", "reset-checkpoint"])
def test_while_a_run_is_at_work_another_command_ends_with_75_and_touches_nothing(
    arguments: Sequence[str], site: Site, run_at_work: subprocess.Popen[str]
) -> None:
    before = files(site)
    with DidOptimizer(api_key=site.api_key) as another:
        done = vicisync(site, *arguments, code=75, environment={"DID_OPTIMIZER_API_URL": another.url})
        assert [] == another.posts
    assert before == files(site)
    assert "" == done.stdout
    assert re.search(
        rf"Another run is at work \(process {run_at_work.pid} since .+\); this one touched nothing", done.stderr
    )


# reset-checkpoint


@pytest.mark.parametrize(
    ("to", "back"),
    [
        pytest.param(None, 3600, id="an hour where nothing is said"),
        pytest.param("1h", 3600, id="1h"),
        pytest.param("90m", 5400, id="90m"),
        pytest.param("2d", 172800, id="2d"),
        pytest.param("1 hour ago", 3600, id="1 hour ago"),
    ],
)
def test_a_checkpoint_is_reset_to_so_long_ago(to: str | None, back: int, site: Site) -> None:
    began = int(time.time())
    done = vicisync(site, "reset-checkpoint", *(("--to", to) if to else ()), environment=INDIA)
    epoch = int(site.checkpoint_file.read_text().split()[1])
    assert began - back <= epoch <= time.time() - back
    assert [
        "Old checkpoint: none yet",
        f"New checkpoint: {local(epoch, 5.5)}; what ended after that will be sent, or sent again",
        f"💾 Saved checkpoint: {local(epoch, 5.5)}",
    ] == done.stdout.splitlines()


@pytest.mark.parametrize(
    ("to", "epoch"),
    [
        pytest.param("2024-10-24 12:00:00", 1729751400, id="local time"),
        pytest.param("2024-10-24 12:00", 1729751400, id="to the minute"),
        pytest.param("2024-10-24", 1729708200, id="a day, from its midnight on"),
        pytest.param("1729771200", 1729771200, id="epoch"),
    ],
)
def test_a_checkpoint_is_reset_to_a_point_in_time(to: str, epoch: int, site: Site) -> None:
    vicisync(site, "reset-checkpoint", "--to", to, environment=INDIA)
    assert f"end_epoch\t{epoch}\t{local(epoch, 5.5)}\nended_after\t{epoch}\n" in site.checkpoint_file.read_text()


@pytest.mark.parametrize(
    "to", ["tomorrow", "12:00", "2024-10-24T12:00:00", "2024-13-01 00:00:00", "-1h", "1.5h", "9999999999", "2024", ""]
)
def test_a_time_that_cannot_be_read_is_refused_with_the_forms_that_can(to: str, refused: Refused) -> None:
    (error,) = lines(refused("reset-checkpoint", f"--to={to}")[0])
    assert f"❌ --to: cannot read {to!r} as a time: " in error
    assert [] == [form for form in ("2024-10-24 12:00:00", "1729771200", "90m", "1h", "2d") if form not in error]


@pytest.mark.parametrize("form", ["local", "epoch"])
def test_a_time_that_lies_ahead_is_refused(form: str, site: Site) -> None:
    ahead = int(time.time()) + 3600
    to = local(ahead, 5.5) if form == "local" else str(ahead)
    (error,) = lines(vicisync(site, "reset-checkpoint", "--to", to, code=2, environment=INDIA).stderr)
    assert error.startswith(f"❌ --to: {local(ahead, 5.5)} lies ahead")
    assert not site.checkpoint_file.exists()


def test_after_a_reset_the_next_run_delivers_again_what_ended_after_it(site: Site, api: DidOptimizer) -> None:
    """The watched calls are forgotten with the rest, and found again."""
    older, newer = finish(site, 3, ago=2000), finish(site, 4, ago=600)
    site.mariadb.execute(
        f"UPDATE `{site.database}`.vicidial_log SET status = 'DISPO' WHERE uniqueid = %s", (newer[-1],)
    )
    vicisync(site, "run")
    assert sorted(older + newer[:-1]) == sorted(arrived(api))
    shown = vicisync(site, "reset-checkpoint", "--to", str(int(time.time() - 1000))).stdout
    newest = re.search(r"Old checkpoint: (.*), 1 call watched", shown)
    assert newest
    vicisync(site, "run")
    assert sorted(newer[:-1]) == sorted(arrived(api)[6:])
    site.mariadb.execute(f"UPDATE `{site.database}`.vicidial_log SET status = 'SALE' WHERE status = 'DISPO'")
    vicisync(site, "run")
    assert [newer[-1]] == arrived(api)[9:]


@pytest.mark.parametrize(
    ("arguments", "answer", "resets"),
    [
        pytest.param((), "y\n", True, id="yes"),
        pytest.param((), "n\n", False, id="no"),
        pytest.param((), "\n", False, id="return, which means no"),
        pytest.param((), "\x03", False, id="Ctrl-C"),
        pytest.param((), "\x04", False, id="Ctrl-D"),
        pytest.param(("--yes",), "", True, id="not asked"),
    ],
)
def test_on_a_terminal_a_reset_asks_first(arguments: Sequence[str], answer: str, resets: bool, site: Site) -> None:
    vicisync(site, "run")
    before = site.checkpoint_file.read_bytes()
    code, output = on_terminal(site, "reset-checkpoint", "--to", "1729771200", *arguments, answer=answer)
    assert (not arguments) == ("Reset?" in output)
    assert "Old checkpoint: " in output
    assert "New checkpoint: " in output
    assert resets == ("💾 Saved checkpoint: " in output)
    assert resets == site.checkpoint_file.read_bytes().startswith(b"end_epoch\t1729771200\t")
    assert resets == (before != site.checkpoint_file.read_bytes())
    assert (0 if resets else 130) == code
    assert resets != ("Aborted; nothing was changed" in output)


def test_a_reset_that_would_leave_calls_out_says_so_and_needs_a_yes(site: Site, api: DidOptimizer) -> None:
    """Those that wait since an outage, longer ago than the hour of the default."""
    finish(site, 3, ago=10_000)
    vicisync(site, "reset-checkpoint", "--to", "4h")
    api.down()
    vicisync(site, "run", code=4)
    api.up()
    before = site.checkpoint_file.read_bytes()
    error = vicisync(site, "reset-checkpoint", "--to", "1h", code=2).stderr
    assert "never be sent" in error
    assert before == site.checkpoint_file.read_bytes()
    cure = re.search(r"to send them: vicisync (reset-checkpoint --to '[^']*'); or", error)
    assert cure
    vicisync(site, *shlex.split(cure[1]))
    vicisync(site, "run")
    assert 3 == len(arrived(api))
    finish(site, 1, ago=8000)
    assert "⚠ Calls that ended before " in vicisync(site, "reset-checkpoint", "--to", "1h", "--yes").stdout
    vicisync(site, "run")
    assert 3 == len(arrived(api))


def test_a_reset_without_a_time_goes_back_to_the_begin_of_a_long_outage(site: Site, api: DidOptimizer) -> None:
    finish(site, 1, ago=10_000)
    vicisync(site, "reset-checkpoint", "--to", "4h")
    vicisync(site, "run")
    finish(site, 2, ago=8000)
    vicisync(site, "reset-checkpoint")
    vicisync(site, "run")
    assert 3 == len(arrived(api))


def test_a_reset_needs_no_standard_input(site: Site) -> None:
    assert 0 == in_shell(site, "reset-checkpoint --to 1h <&-")[0]


# The first run


@pytest.mark.parametrize("written", ["2024-10-24 12:00:00", "1729771200"], ids=["local time", "epoch"])
def test_the_first_run_goes_on_where_the_old_script_stopped_and_says_so(
    written: str, site: Site, api: DidOptimizer
) -> None:
    finish(site, 3, ago=9000)
    missed = finish(site, 3, ago=5400)
    two_hours_ago = int(time.time()) - 7200
    old = site.folder / "did-optimizer-last-check.txt"
    old.write_text(f"{local(two_hours_ago, 5.5) if '-' in written else two_hours_ago}\n")
    note = lines(vicisync(site, "run", environment=INDIA).stdout)[0]
    assert note.startswith("📅 First run: going on where the old script stopped, ")
    assert [] == [
        word for word in (local(two_hours_ago, 5.5), str(old), "where its cron line is still there") if word not in note
    ]
    assert sorted(missed) == sorted(arrived(api))
    finish(site, 1, ago=5000)
    assert "First run" not in vicisync(site, "run").stdout


@pytest.mark.parametrize("flaw", ["three days old", "a symbolic link", "no time in it", "a time ahead"])
def test_the_first_run_ignores_an_old_checkpoint_that_is_not_sound(flaw: str, site: Site, api: DidOptimizer) -> None:
    finish(site, 3, ago=5400)
    recent = finish(site, 2, ago=1200)
    old = site.folder / "did-optimizer-last-check.txt"
    target = site.folder / "target" if flaw == "a symbolic link" else old
    ahead = 3600 if flaw == "a time ahead" else -7200
    target.write_text("rm -rf /\n" if flaw == "no time in it" else f"{int(time.time()) + ahead}\n")
    if target != old:
        old.symlink_to(target)
    if flaw == "three days old":
        long_ago = time.time() - 3 * 86400
        os.utime(old, (long_ago, long_ago))
    assert lines(vicisync(site, "run").stdout)[0].endswith(", an hour ago")
    assert sorted(recent) == sorted(arrived(api))


@pytest.mark.parametrize(
    "command",
    [
        pytest.param('date -d "2 hours ago" "+%Y-%m-%d %H:%M:%S" > {checkpoint}', id="as the seed says"),
        pytest.param('date -d "-2 hours" +"%F %T" > {checkpoint}', id="%F %T"),
        pytest.param('date -d "2 hours ago" +%s > {checkpoint}', id="epoch"),
        pytest.param('printf %s "$(date -d "2 hours ago" +%s)" > {checkpoint}', id="without a newline"),
    ],
)
def test_a_checkpoint_written_by_hand_is_gone_on_from(command: str, site: Site, api: DidOptimizer) -> None:
    finish(site, 3, ago=9000)
    expected = finish(site, 3, ago=5400)
    site.checkpoint_file.parent.mkdir()
    subprocess.run(
        ["sh", "-c", command.format(checkpoint=site.checkpoint_file)], env={**os.environ, **INDIA}, check=True
    )
    assert "First run" not in vicisync(site, "run", environment=INDIA).stdout
    assert sorted(expected) == sorted(arrived(api))
