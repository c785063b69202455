"""The installed command, as an operator and cron run it: on a real MariaDB and a real HTTP server."""

import json
import os
import pty
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rehearsal.did_optimizer import HTML_200, NOT_ACCEPTED, DidOptimizer, Fault
from rehearsal.site import COMMAND, Site
from tests.call_rows import insert, row
from tests.commands.command import INDIA, arrived, files, finish, in_shell, lines, local, on_terminal, rows, vicisync
from tests.commands.conftest import Refused
from tests.conftest import command_here
from tests.limits import as_nobody
from vicisync import __version__
from vicisync.state.rejected import add_rejected

# What a run says


def test_a_run_says_what_it_did_in_the_words_and_order_that_operators_know(site: Site, api: DidOptimizer) -> None:
    calls = finish(site, 500)
    done = vicisync(site, "run", environment=INDIA)
    said = lines(done.stdout)
    ((newest_end,),) = rows(site, "MAX(end_epoch)")
    newest = local(newest_end, 5.5)
    assert "" == done.stderr
    assert {"+0530"} == {line.split()[2] for line in done.stdout.splitlines()}
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(f"📅 First run: delivering what ended after {when} IST, an hour ago", said[0])
    assert ["🚀 Starting call results sync...", "✅ Connected to VICIdial database"] == said[1:3]
    assert re.fullmatch(f"📅 Last check: {when}", said[3])
    assert "📞 Found 500 new call results" == said[4]
    told = [re.fullmatch(r"✓ (\d+\.\d+): \w+/\d{10} → [A-Z]+ \(\d+s\)", line) for line in said[5:-3]]
    assert sorted(calls) == sorted(line[1] for line in told if line)
    assert re.fullmatch(r"📊 Summary: 500 processed, 0 failed in \d+\.\d\ds", said[-3])
    assert [f"💾 Saved checkpoint: {newest}", "✅ Sync completed successfully"] == said[-2:]
    assert sorted(calls) == sorted(arrived(api))
    assert site.checkpoint_file.read_text().startswith(f"end_epoch\t{newest_end}\t{newest}\t")
    assert [f"✅ Nothing new since {newest}"] == lines(vicisync(site, "run", environment=INDIA).stdout)
    assert 500 == len(api.posts)


def test_on_a_terminal_a_backlog_is_a_bar_with_its_speed_and_failures_are_lines_without_time_stamps(
    site: Site, api: DidOptimizer
) -> None:
    finish(site, 600)
    api.fault_for = lambda payload: NOT_ACCEPTED if payload["uniqueid"].endswith("7") else None
    code, output = on_terminal(site, "run")
    assert 6 == code
    assert re.search(r"\[#+-*\] +\d+/600 .* \d+ calls/s", output)
    assert "600/600" in output
    assert "✓" not in output
    assert 60 == len(re.findall(r"[\r\n](?:\x1b\[K)?✗ .*: failed: ", output))
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
    ("environment", "phone"),
    [
        ({"LANG": "C", "LC_ALL": ""}, "📞"),
        ({"LC_ALL": "C"}, "📞"),
        ({"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, r"\U0001f4de"),
        ({"PYTHONIOENCODING": "ascii"}, r"\U0001f4de"),
    ],
)
def test_a_log_that_cannot_hold_every_sign_gets_it_escaped(
    environment: dict[str, str], phone: str, site: Site, api: DidOptimizer
) -> None:
    finish(site, 3)
    site.mariadb.execute(f"UPDATE `{site.database}`.vicidial_log SET campaign_id = 'CAFÉ'")
    done = vicisync(site, "run", environment=environment)
    for words in (f"{phone} Found 3 new", "Summary: 3 processed, 0 failed"):
        assert words in done.stdout
    assert ["CAFÉ"] * 3 == [post.payload["campaignId"] for post in api.posts]


CLOSED = [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"]
FULL = ["> /dev/full", "2> /dev/full", "> /dev/full 2>&1"]
READER_GONE = ["| head -1", "2>&1 | head -1", "| true"]
NO_LOG = pytest.mark.parametrize("streams", [*CLOSED, *FULL, *READER_GONE])


SAID = {"> /dev/full": "No space left on device", "| true": "Broken pipe"}
"""Why nobody can read a run's words, where its stderr can still be read."""


@NO_LOG
def test_a_run_whose_words_nobody_can_read_delivers_everything(streams: str, site: Site, api: DidOptimizer) -> None:
    calls = finish(site, 60)
    code, _, stderr = in_shell(site, f"run {streams}")
    assert 0 == code, stderr
    assert "Traceback" not in stderr
    if streams in SAID:
        assert f"❌ Cannot write what the run does: {SAID[streams]}; it goes on in silence\n" == stderr
    assert sorted(calls) == sorted(arrived(api))
    ((newest_end,),) = rows(site, "MAX(end_epoch)")
    assert str(newest_end) == site.checkpoint_file.read_text().split()[1]
    assert "✅ Nothing new since " in vicisync(site, "run").stdout
    assert 60 == len(api.posts)


@NO_LOG
def test_a_run_whose_words_nobody_can_read_keeps_its_exit_code(streams: str, site: Site, api: DidOptimizer) -> None:
    _, *calls = finish(site, 4)
    api.fault_for = lambda payload: NOT_ACCEPTED if payload["uniqueid"] in calls else None
    assert 6 == in_shell(site, f"run {streams}")[0]
    kept = [json.loads(line) for line in site.rejected_file.read_text().splitlines()]
    assert sorted(calls) == sorted(entry["payload"]["uniqueid"] for entry in kept)
    finish(site, 1)
    assert 3 == in_shell(site, f"run {streams}", VICIDIAL_DB_NAME="elsewhere")[0]
    assert 4 == len({post.payload["uniqueid"] for post in api.posts})


COMMANDS = {"status --max-lag 300": 1, "status --json": 0, "reset-checkpoint --yes": 0, "run --max-runtime=x": 2}


@NO_LOG
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_whose_words_nobody_can_read_keeps_its_exit_code(command: str, streams: str, site: Site) -> None:
    assert COMMANDS[command] == in_shell(site, f"{command} {streams}")[0]


@pytest.mark.parametrize("command", ["--help", "run --help", "--version"])
def test_where_help_cannot_be_written_a_sentence_says_so(command: str, site: Site) -> None:
    code, _, stderr = in_shell(site, f"{command} > /dev/full")
    assert (1, ["❌ Cannot write what was asked for: No space left on device"]) == (code, lines(stderr))
    assert 1 == in_shell(site, f"{command} > /dev/full 2>&1")[0]


def test_a_quiet_run_says_only_the_summary_and_what_failed(site: Site, api: DidOptimizer) -> None:
    calls = finish(site, 3)
    api.fault_for = lambda payload: NOT_ACCEPTED if payload["uniqueid"] == calls[1] else None
    said = lines(vicisync(site, "run", "-q", code=6).stdout)
    assert f"✗ {calls[1]}: failed: 400 Bad Request: Call result not accepted; rejected" == said[0]
    assert ["📊 Summary: 2 processed, 1 failed"] == [line.partition(" in ")[0] for line in said[1:]]
    assert "" == vicisync(site, "run", "--quiet").stdout


def test_a_verbose_run_also_says_which_calls_wait_and_why(site: Site) -> None:
    call = finish(site, 1)[0]
    site.mariadb.execute(f"UPDATE `{site.database}`.vicidial_log SET status = 'DISPO'")
    assert f"… {call}: waiting: no disposition yet" in vicisync(site, "run", "-v").stdout
    assert "…" not in vicisync(site, "run").stdout


# What arrives

COLUMNS: dict[str, tuple[str, object]] = {
    "leadId": ("lead_id", "4294967295"), "listId": ("list_id", "99800123456789"),
    "campaignId": ("campaign_id", "CAMPAIGN"), "phoneNumber": ("phone_number", "0015550100"),
    "phoneCode": ("phone_code", "044"), "disposition": ("status", "CALLBK"), "duration": ("length_in_sec", 45),
    "agentId": ("user", "agent001"), "userGroup": ("user_group", "AGENTS"), "termReason": ("term_reason", "CALLER"),
    "comments": ("comments", "müde \t"), "altDial": ("alt_dial", "MAIN"), "calledCount": ("called_count", 3),
}  # fmt: skip
"""What arrives in a field, and the column in which it is written."""


def test_every_documented_field_arrives_with_its_type_and_the_result_that_dids_conf_has_for_its_status(
    site: Site, api: DidOptimizer
) -> None:
    start = int(time.time()) - 900
    end = start + 45
    insert(site.mariadb, site.database, row(f"{start}.1", start, end_epoch=end, **dict(COLUMNS.values())))
    with site.dids_conf.open("a") as file:
        file.write("[dispositions]\nCALLBK = dropped\n")
    ((call_date,),) = rows(site, "CAST(call_date AS CHAR)")
    vicisync(site, "run")
    (post,) = api.posts
    times = {"callDate": call_date, "startEpoch": start, "endEpoch": end, "timestamp": end}
    written = {field: value for field, (_, value) in COLUMNS.items()}
    derived = {"result": "dropped", "customerPhone": "0015550100", "talkTime": 45}
    assert {"uniqueid": f"{start}.1", **written, **times, **derived} == post.payload
    assert (site.api_key, "application/json") == (post.headers["x-api-key"], post.headers["Content-Type"])


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


def test_limited_runs_send_at_most_so_many_calls_and_skip_none(site: Site, api: DidOptimizer) -> None:
    calls = finish(site, 10, ago=1200)  # further back than the overlap, which would make up for a skipped one
    shown = lines(vicisync(site, "run", "--dry-run", "--limit", "4").stdout)
    assert 4 == len([line for line in shown if line.startswith("→ would send ")])
    assert "🔍 Dry run: 4 calls would be sent; nothing was sent, nothing was saved" == shown[-1]
    more, end = "⏳ There is more to look at; the next run goes on", "✅ Sync completed successfully"
    for sent, last_words in ((4, more), (8, more), (10, end), (10, "✅ Nothing new since ")):
        assert lines(vicisync(site, "run", "--limit", "4").stdout)[-1].startswith(last_words)
        assert sent == len(api.posts)
    assert sorted(calls) == sorted(arrived(api))


def test_a_batch_is_what_is_read_from_the_database_at_once(site: Site, api: DidOptimizer) -> None:
    def selects() -> int:
        return int(site.mariadb.execute("SHOW GLOBAL STATUS LIKE 'Com_select'")[0][1])

    def statements(batch_size: str) -> int:
        finish(site, 6)
        before = selects()
        vicisync(site, "run", "--batch-size", batch_size)
        return selects() - before

    assert 5 == statements("1") - statements("6")
    assert 12 == len(api.records)


USAGE_ERRORS = {
    "rum": ("There is no command 'rum'", "run"),
    "RUN": ("There is no command 'RUN'", "run"),
    "reset": ("There is no command 'reset'", "reset-checkpoint"),
    "retry": ("There is no command 'retry'", "retry-rejected"),
    "uninstall": ("There is no command 'uninstall'", "install --uninstall"),
    "xyzzy": ("There is no command 'xyzzy'", "--help"),
    "--dry-run run": ("--dry-run belongs behind the command", "run --dry-run"),
    "--limit 3 -v run": ("--limit belongs behind the command", "run --limit 3 -v"),
    "--json": ("--json belongs behind the command", "status --json"),
    "--yes run": ("No such option", "--help"),
    "run now": ("now", "run --help"),
    "run --dids-conf ''": ("'.' cannot be read: Is a directory; name a", ""),
    "run --astguiclient-conf=": ("'.' cannot be read: Is a directory; name a", ""),
    "reset-checkpoint --dids-conf=": ("'.' cannot be read: Is a directory; name a", ""),
    "run -q -v": ("-q and -v exclude each other", "run --help"),
    "run --limit 0": ("'--limit': must be a whole number from 1 to 999999999, digits only, not '0'", "run --help"),
    "run --limit abc": ("'--limit': must be a whole number from 1 to 999999999, digits only, not 'abc'", "run --help"),
    "run --batch-size 0": ("--batch-size", ""),
    "run --batch-size 1k": ("1 to 10000", ""),
    "run --max-runtime soon": ("must be a time from 0 to 86400 seconds, such as 90, 90s, 5m", ""),
    "run --max-runtime -1": ("0 to 86400", ""),
    "status --max-lag x": ("'--max-lag': must be a time from 0 to 1000000000 seconds, such as 90", "status --help"),
}


@pytest.mark.parametrize("typed", USAGE_ERRORS)
def test_a_usage_error_says_what_is_wrong_then_what_to_type_and_does_nothing(typed: str, refused: Refused) -> None:
    wrong, cure = USAGE_ERRORS[typed]
    error, *below = lines(refused(*shlex.split(typed))[0])
    assert error.startswith("❌ ")
    assert wrong in error
    assert ([f"   → vicisync {cure}"] if cure else []) == below


def test_without_a_command_it_lists_them_as_help_does(site: Site) -> None:
    listed = vicisync(site, "help").stdout
    assert re.search("^  reset-checkpoint  Move the checkpoint", listed, re.MULTILINE)
    assert listed == vicisync(site, "--help").stdout == vicisync(site, code=2).stderr
    assert vicisync(site, "help", "run").stdout == vicisync(site, "run", "-h").stdout


@pytest.mark.parametrize("typed", ["version", "-V", "--version"])
def test_the_version_is_asked_for_in_any_way(typed: str, site: Site) -> None:
    assert f"vicisync {__version__}\n" == vicisync(site, typed).stdout


@pytest.mark.parametrize("options", [("--max-runtime", "50s"), ("--max-runtime", "1m30s"), ("--max-runtime", "0")])
def test_a_length_of_time_may_have_units(options: tuple[str, ...], site: Site) -> None:
    vicisync(site, "run", *options)
    vicisync(site, "status", "--max-lag", options[1])


@pytest.mark.parametrize("key", ["", "api_key=your_api_key_here"])
@pytest.mark.parametrize("command", ["status", "reset-checkpoint --yes"])
def test_what_sends_nothing_needs_no_key(command: str, key: str, site: Site) -> None:
    site.dids_conf.write_text(site.dids_conf.read_text().replace(f"api_key={site.api_key}", key))
    vicisync(site, *command.split())
    vicisync(site, "run", code=2)


def test_command_and_module_are_the_same(site: Site) -> None:
    module = [sys.executable, "-m", "vicisync", "--version"]
    done = subprocess.run(module, capture_output=True, text=True, check=True)
    assert f"vicisync {__version__}\n" == done.stdout == vicisync(site, "--version").stdout


# Failures and their exit codes


@pytest.mark.parametrize("command", ["run", "reset-checkpoint"])
def test_each_mistake_in_dids_conf_is_a_line_that_names_its_place(command: str, site: Site, refused: Refused) -> None:
    text = site.dids_conf.read_text()
    site.dids_conf.write_text(f"{text}batchsize=3\noverlap=1\njust words\n[dispositions]\nSALE=sold\n")
    number = len(text.splitlines())
    where = [re.sub(r"^❌ (.* line \d+: \S+).*", r"\1", line) for line in lines(refused(command)[0])]
    assert [
        f"{site.dids_conf} line {number + 3}: a",
        f"{site.dids_conf} line {number + 1}: 'batchsize'",
        f"{site.dids_conf} line {number + 5}: the",
        f"{site.dids_conf} line {number + 2}: overlap",
    ] == where


@pytest.mark.parametrize("name", ["dids-conf", "astguiclient-conf"])
def test_a_configuration_file_that_is_named_has_to_be_there_and_an_option_wins_over_the_environment(
    name: str, site: Site, refused: Refused
) -> None:
    option, variable = f"--{name}", f"VICISYNC_{name.upper().replace('-', '_')}"
    missing = str(site.folder / "missing.conf")
    for _, (error,) in (refused("run", option, missing), refused("run", environment={variable: missing})):
        assert f"❌ {missing} does not exist: " in error
    vicisync(site, "run", option, site.environment()[variable], environment={variable: missing})


def test_an_empty_variable_names_no_file_and_without_a_key_nothing_runs(
    site: Site, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    standard = site.folder / "standard.conf"
    monkeypatch.setattr("vicisync.settings.settings.DIDS_CONF", standard)
    (error,) = refused("run", environment={"VICISYNC_DIDS_CONF": ""})[1]
    assert error.endswith(f"❌ api_key is missing: write api_key=YOUR_KEY under [general] of {standard}.")


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("PORT", "1", "Cannot reach the database at 127.0.0.1:1"),
        ("PASSWORD", "0ther-s3cret", "refuses user cron"),
        ("NAME", "elsewhere", "elsewhere.vicidial_log"),
    ],
)
def test_a_database_that_cannot_be_read_ends_the_run_with_3(
    variable: str, text: str, words: str, site: Site, api: DidOptimizer
) -> None:
    calls = finish(site, 2)
    error, *cures = lines(vicisync(site, "run", code=3, environment={f"VICIDIAL_DB_{variable}": text}).stderr)
    assert error.startswith("❌ ")
    assert cures == [cure for cure in cures if cure.startswith("   → ")] != []
    assert words in error
    assert not site.checkpoint_file.exists()
    vicisync(site, "run")
    assert sorted(calls) == sorted(arrived(api))


@pytest.mark.parametrize(
    ("environment", "fault", "words"),
    [
        ({"DID_OPTIMIZER_API_URL": "http://127.0.0.1:1"}, None, "connection refused"),
        ({"API_KEY": "0ther-k3y"}, None, "check api_key"),
        ({}, HTML_200, "check api_base_url"),
    ],
    ids=["down", "key", "a page of HTML"],
)
def test_an_api_that_takes_nothing_ends_the_run_with_4_and_loses_nothing(
    environment: dict[str, str], fault: Fault | None, words: str, site: Site, api: DidOptimizer
) -> None:
    calls = finish(site, 8)
    site.configure(max_retries="0")
    api.fault_for = lambda _: fault
    done = vicisync(site, "run", code=4, environment=environment)
    error, *cure = lines(done.stderr)
    address = environment.get("DID_OPTIMIZER_API_URL", api.url)
    assert re.match(f"❌ (No call got through to )?DID Optimizer at {re.escape(address)}[: ]", error)
    assert words in "".join([error, *cure])
    assert "✅ Sync completed successfully" not in done.stdout
    assert done.stdout.count(": failed: ") in (1, 5)
    assert not site.rejected_file.exists()
    api.fault_for = None
    before = len(api.posts)
    vicisync(site, "run")
    assert sorted(calls) == sorted(arrived(api)[before:])


def test_a_damaged_checkpoint_ends_the_run_with_5_and_the_command_that_mends_it(site: Site, api: DidOptimizer) -> None:
    calls = finish(site, 3)
    damage = "end_epoch\t1729771200\t2024-10-24 12:00:00\nended_af"
    site.checkpoint_file.parent.mkdir()
    site.checkpoint_file.write_text(damage)
    for arguments in (("run",), ("run", "--dry-run")):
        error, mends = lines(vicisync(site, *arguments, code=5).stderr)
        assert f"The checkpoint {site.checkpoint_file} is damaged: " in error
        assert damage == site.checkpoint_file.read_text()
    assert [] == api.posts

    (cure,) = re.findall("vicisync (reset-checkpoint.*)", mends)
    assert vicisync(site, *shlex.split(cure), "--yes").stdout.startswith("Old checkpoint: damaged: ")
    vicisync(site, "run")
    assert sorted(calls) == sorted(arrived(api))


def test_rejected_calls_end_the_run_with_6_and_hold_up_nobody(site: Site, api: DidOptimizer) -> None:
    calls = finish(site, 20)
    bad = set(calls[3:5])
    api.fault_for = lambda payload: NOT_ACCEPTED if payload["uniqueid"] in bad else None
    output = vicisync(site, "run", code=6).stdout
    why = "400 Bad Request: Call result not accepted"
    assert 2 == output.count(f": failed: {why}; rejected\n")
    assert "Summary: 18 processed, 2 failed" in output
    kept = [json.loads(line) for line in site.rejected_file.read_text().splitlines()]
    assert {(uniqueid, why) for uniqueid in bad} == {(entry["payload"]["uniqueid"], entry["why"]) for entry in kept}
    assert set(calls) - bad == set(api.records)
    assert f"⚠ 2 calls rejected: see {site.rejected_file}" == lines(output)[-1]
    sent = len(api.posts)
    vicisync(site, "run")
    assert sent == len(api.posts)


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
    assert done.stderr.endswith(" ❌ This is a bug in vicisync; please report the lines above\n")
    assert "✅ Sync completed successfully" not in done.stdout
    vicisync(site, "run")
    assert sorted(calls) == sorted(arrived(api))


def test_while_a_run_is_at_work_another_command_ends_with_75_and_touches_nothing(site: Site, api: DidOptimizer) -> None:
    add_rejected(site.rejected_file, "400 Bad Request", {"uniqueid": "1.1"})
    finish(site, 1)
    others: list[subprocess.CompletedProcess[str]] = []
    seen: list[dict[str, bytes]] = []

    def meanwhile(_: object) -> None:
        if not seen:
            seen.append(files(site))
            for command in (["run"], ["reset-checkpoint", "--yes"], ["retry-rejected"]):
                others.append(site.vicisync(*command))
                seen.append(files(site))

    api.fault_for = meanwhile
    with site.start("run") as process:
        process.communicate(timeout=60)
    assert [0, 75, 75, 75] == [process.returncode, *(done.returncode for done in others)]
    at_work = rf"❌ Another run is at work \(process {process.pid} since .+\); this one touched nothing\n$"
    assert [] == [done for done in others if done.stdout or not re.search(at_work, done.stderr)]
    assert [seen[0]] * 4 == seen
    assert 1 == len(api.posts)


# The first run


@pytest.mark.parametrize("writes", ["time", "uniqueid"])
def test_the_first_run_goes_on_where_the_old_script_stopped_and_says_so(
    writes: str, site: Site, api: DidOptimizer
) -> None:
    """The later script writes the id of the last call that it sent, which is not sent again."""
    finish(site, 3, ago=9000)
    last = finish(site, 1, ago=7000)[0]
    missed = finish(site, 3, ago=5400) + ([last] if writes == "time" else [])
    stopped = local(int(time.time()) - 7200 if writes == "time" else int(last.split(".")[0]), 5.5)
    old = site.folder / "did-optimizer-last-check.txt"
    old.write_text(f"{stopped}\n" if writes == "time" else last)
    note = lines(vicisync(site, "run", environment=INDIA).stdout)[0]
    assert note.startswith("📅 First run: going on where the old script stopped, ")
    assert [] == [word for word in (stopped, str(old), "where its cron line is still there") if word not in note]
    assert sorted(missed) == sorted(arrived(api))
    finish(site, 1, ago=5000)
    assert "First run" not in vicisync(site, "run").stdout


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda old: old.write_text(""), "is empty"),
        (lambda old: os.utime(old, (0, time.time() - 260_000)), "is 3 days old, too old to go on from"),
        (lambda old: os.chown(old, 65534, -1), "does not count: it belongs to another account; look into it, then .*"),
        (lambda old: old.write_text("a while ago"), "holds neither a time nor the id of a call"),
    ],
    ids=["empty", "old", "another's", "words"],
)
def test_the_first_run_says_why_it_does_not_go_on_where_the_old_script_stopped(
    change: Callable[[Path], object], why: str, site: Site
) -> None:
    old = site.folder / "did-optimizer-last-check.txt"
    old.write_text(local(time.time() - 7200))
    change(old)
    note = lines(vicisync(site, "run").stdout)[0]
    assert re.fullmatch(f"📅 First run: delivering what ended after .*, an hour ago; {re.escape(str(old))} {why}", note)


@pytest.mark.parametrize(
    "command",
    ['date -d "-2 hours" +"%F %T" > {checkpoint}', 'printf %s "$(date -d "2 hours ago" +%s)" > {checkpoint}'],
    ids=["as the old script's operators do", "an epoch without a newline"],
)
def test_a_checkpoint_written_by_hand_is_gone_on_from(command: str, site: Site, api: DidOptimizer) -> None:
    finish(site, 3, ago=9000)
    expected = finish(site, 3, ago=5400)
    site.checkpoint_file.parent.mkdir()
    command = command.format(checkpoint=site.checkpoint_file)
    subprocess.run(["sh", "-c", command], env={**os.environ, **INDIA}, check=True)
    assert "First run" not in vicisync(site, "run", environment=INDIA).stdout
    assert sorted(expected) == sorted(arrived(api))


def test_a_file_that_only_root_may_read_is_read_as_root(site: Site) -> None:
    with as_nobody():
        done = command_here(site, "status")
    assert 2 == done.returncode
    assert f"{site.dids_conf} cannot be read: permission denied; run vicisync as root, as cron does.\n" in done.stderr
    assert "--help" not in done.stderr
