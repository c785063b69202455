"""``vicisync check``: of a healthy dialer all is well; each thing that is broken has its line, with what fixes it."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from rehearsal.did_optimizer import answer
from rehearsal.site import COMMAND, PASSWORD
from tests.checked_dialer import JOB, SIGNS, CheckedDialer, joined, lead_everyone_to
from tests.conftest import make_settings
from tests.limits import as_nobody, fill, small_disk
from tests.state.test_last_run import LAST_RUN
from vicisync.calls.readiness import Watched
from vicisync.calls.times import parse_timestamp, zoned
from vicisync.commands.check import configuration, schedule, state
from vicisync.commands.check.database import zone_shift
from vicisync.state.checkpoint import render, starting_at
from vicisync.state.last_run import last_run_file, write_last_run
from vicisync.state.lock import locked


def test_of_a_healthy_dialer_all_is_well_under_each_heading_in_the_order_of_a_run(dialer: CheckedDialer) -> None:
    code, lines = dialer.check()
    assert (0, "✅ All is well") == (code, lines[-1])
    headings = ["Configuration files:", "Settings:", "Checkpoint:", "Database:", "API:", "Cron and logrotate:"]
    assert headings == [line for line in lines[:-1] if line and not line.startswith(SIGNS)]
    assert [] == [line for line in lines[:-1] if line.startswith(SIGNS[1:])]
    assert f"✓ {dialer.cron} line 1 runs {COMMAND}" in lines
    assert f"✓ {dialer.logrotate} rotates the log" in lines
    assert "✓ No run is at work, the lock is free" in lines


def test_every_setting_is_shown_with_its_value_and_where_it_was_found_but_no_secret(dialer: CheckedDialer) -> None:
    dialer.site.configure(overlap="900", ping_url="https://hc.example/s3cret-id", concurrency="4")
    with dialer.site.dids_conf.open("a") as file:
        file.write("[dispositions]\nB=busy\nA=dropped\n")
    _, lines = dialer.check()
    shown = {line.split()[1]: line.split(None, 2)[2] for line in lines if line.count("  ") > 1}
    conf, dids = dialer.site.astguiclient_conf, dialer.site.dids_conf
    assert re.fullmatch(rf"127\.0\.0\.1 +{conf} line 3", shown["db_host"])
    assert re.fullmatch(rf"\(not shown\) +{conf} line 6", shown["db_pass"])
    assert re.fullmatch(rf"\(not shown\) +{dids} line 3", shown["api_key"])
    assert re.fullmatch(rf"900 +{dids} line \d+", shown["overlap"])
    assert re.fullmatch(rf"https://hc\.example/… +{dids} line \d+", shown["ping_url"])
    assert re.fullmatch(r"ALTNUM DISPO DONEM INCALL QUEUE XFER +default", shown["waiting_statuses"])
    assert re.fullmatch(r"yes +default", shown["verify_ssl"])
    assert re.fullmatch(r"\(none\) +default", shown["db_ssl_ca"])
    assert re.fullmatch(r"\(all\) +default", shown["campaigns"])
    assert re.fullmatch(r"\(none\) +default", shown["exclude_campaigns"])
    assert re.fullmatch(r"A=dropped B=busy +dids.conf", shown["[dispositions]"])
    assert 31 == len(shown)


def test_it_changes_nothing_and_nothing_is_recorded_or_left_connected(dialer: CheckedDialer) -> None:
    shutil.rmtree(dialer.site.checkpoint_file.parent)

    execute = dialer.site.mariadb.execute

    def snapshot() -> list[object]:
        found: list[object] = [execute(f"CHECKSUM TABLE `{dialer.database}`.vicidial_log")]
        for path in sorted(dialer.root.parent.rglob("*")):
            status = path.stat()
            found.append((path, status.st_mode, status.st_mtime_ns, path.read_bytes() if path.is_file() else b""))
        return found

    before = snapshot()
    assert 0 == dialer.check()[0]
    assert before == snapshot()
    assert ({}, [{}]) == (dialer.api.records, [post.payload for post in dialer.api.posts])
    deadline = time.monotonic() + 10
    while execute("SELECT id FROM information_schema.processlist WHERE user = 'cron'"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_files_of_a_run_are_read_and_stay_as_they_are(dialer: CheckedDialer) -> None:
    assert 0 == dialer.site.vicisync("run").returncode
    before = {path: path.read_bytes() for path in dialer.site.folder.rglob("*") if path.is_file()}
    assert dialer.site.journal_file in before
    assert (0, []) == dialer.worse()
    assert before == {path: path.read_bytes() for path in dialer.site.folder.rglob("*") if path.is_file()}


# One thing broken: one line


def grants(*privileges: str) -> Callable[[CheckedDialer], None]:
    """Leave the account no more than these, such as ``SELECT ON %s.other``."""

    def breakage(dialer: CheckedDialer) -> None:
        dialer.revoke()
        dialer.sql("CREATE TABLE other (id INT)")
        for privilege in privileges:
            dialer.sql(f"GRANT {privilege.replace('%s', f'`{dialer.database}`')} TO cron@'%'")

    return breakage


def sql(statement: str) -> Callable[[CheckedDialer], None]:
    return lambda dialer: dialer.sql(statement)


def job(old: str, new: str) -> Callable[[CheckedDialer], None]:
    return lambda dialer: dialer.rewrite(dialer.cron, old, new)


def old_script(path: str, user: str = "") -> Callable[[CheckedDialer], None]:
    def breakage(dialer: CheckedDialer) -> None:
        with (dialer.root.parent / path).open("a") as file:
            file.write(f"# DIDs\n*/5 * * * * {user}/opt/did/process-call-results.pl >> /var/log/x.log 2>&1\n")

    return breakage


def crontab(says: str) -> Callable[[CheckedDialer], object]:
    return lambda dialer: (dialer.programs / "crontab").write_text(f"#!/bin/sh\necho '{says}' >&2\nexit 1\n")


no_crontab = crontab("no crontab for root")


def not_executable(dialer: CheckedDialer) -> None:
    (dialer.root / "vicisync").write_text("#!/bin/sh\n")
    dialer.rewrite(dialer.cron, str(COMMAND), f"{dialer.root}/vicisync")


def program(dialer: CheckedDialer, text: str) -> None:
    path = dialer.root / "vicisync"
    path.write_text(text)
    path.chmod(0o755)
    dialer.rewrite(dialer.cron, str(COMMAND), str(path))


def moved_away(dialer: CheckedDialer) -> None:
    folder = dialer.root / "moved"
    folder.mkdir()
    (folder / "vicisync").write_text(f"#!{dialer.root}/opt/vicisync/bin/python\n")
    (folder / "vicisync").chmod(0o755)
    dialer.rewrite(dialer.cron, str(COMMAND), f"{folder}/vicisync")


def agi(line: str) -> Callable[[CheckedDialer], None]:
    def breakage(dialer: CheckedDialer) -> None:
        (dialer.etc / "asterisk").mkdir()
        text = f"[default]\n;exten => h,1,AGI(agi-did-optimizer-report.agi)\n{line}\n"
        (dialer.etc / "asterisk" / "extensions-vicidial.conf").write_text(text)

    return breakage


def last_run(dialer: CheckedDialer, ago: int, exit_code: int = 0) -> None:
    ended = int(time.time()) - ago
    write_last_run(last_run_file(dialer.site.checkpoint_file), replace(LAST_RUN, ended=ended, exit_code=exit_code))


def asleep(dialer: CheckedDialer) -> str:
    """Return the job of half a minute later."""
    return dialer.cron.read_text().replace(" root ", " root sleep 30; ")


def twice_a_minute_in_the_crontab(dialer: CheckedDialer) -> None:
    later = asleep(dialer)
    job_in_roots_crontab(dialer)
    with dialer.crontab.open("a") as file:
        file.write(later.replace(" root ", " "))


def under_a_file(dialer: CheckedDialer) -> None:
    (dialer.root / "file").touch()
    place = dialer.root / "file" / "x"
    dialer.site.configure(checkpoint_file=f"{place}/checkpoint", rejected_file=f"{place}/rejected")


NO_GRANT = (
    r"❌ Account 'cron'@'%' may not read {}{{table}}, or there is none → correct VARDB_database \({{conf}} line 4\),"
    r" or as the database's root: GRANT SELECT ON {{table}} TO 'cron'@'%';"
)
NO_INDEX = (
    r"❌ {{table}} has no index {0} on {1}, and would be locked for seconds"
    r" → when nobody calls: ALTER TABLE {{table}} ADD {2} \({1}\);"
)
MISSING = ", which is not there or cannot be executed → vicisync install"
TWICE = " still runs the old script: each call would be sent twice → vicisync install --replace-old"
FILE = r"⚠ {dids} holds the key, and can be %s by others \(mode %s\)%s → chmod 600 {dids}"
DECIDE = ", who so decide on api_base_url, api_key, checkpoint_file, .*metrics_file"

PROBLEMS: dict[str, tuple[Callable[[CheckedDialer], object], int, str, str]] = {
    # What is broken; the exit code; the line; and how its cure is typed, where that can be tried.
    "key readable by all": (lambda d: d.site.dids_conf.chmod(0o644), 0, FILE % ("read", "0644", ""), "sh"),
    "key writable by all": (lambda d: d.site.dids_conf.chmod(0o666), 0, FILE % ("written to", "0666", DECIDE), "sh"),
    "key writable by a group": (lambda d: d.site.dids_conf.chmod(0o660),
        0, FILE % ("written to", "0660", DECIDE), "sh"),
    "key file another account's": (lambda d: os.chown(d.site.dids_conf, 65534, -1),
        0, (r"⚠ {dids} belongs to account nobody, who so decides what is read and written here: api_base_url, api_key, "
        r"checkpoint_file, .*metrics_file → chown root {dids}"), "sh"),
    "database settings another account's": (lambda d: os.chown(d.site.astguiclient_conf, 4711, -1),
        0, r"⚠ {conf} belongs to account 4711, who so decides [^:]*: the database → chown root {conf}", "sh"),
    "an address that nothing reads": (lambda d: d.rewrite(d.site.dids_conf, "[general]",
                                                          "[general]\nnotification_email=ops@example.com ; of alerts"),
        0, (r"⚠ {dids} line 2: notification_email is read by nobody, neither here nor in DID Optimizer's own scripts"
        r" → write under \[vicisync\]: alert_command=mail -s vicisync ops@example.com"), ""),
    "database settings writable by a group": (lambda d: d.site.astguiclient_conf.chmod(0o664),
        0, r"⚠ {conf} can be written to by others \(.*0664\), who so decide on the database → chmod go-w {conf}", "sh"),
    "http across the network": (lambda d: d.rewrite(d.site.dids_conf, "127.0.0.1", "127.1"),  # another for one's own
        0, r"⚠ The API key and phone numbers go to 127\.1 unencrypted.* → write https:// in api_base_url", ""),
    "no metrics folder": (lambda d: d.site.configure(metrics_file=f"{d.root}/none/x.prom"),
        0, r"⚠ metrics_file lies in {root}/none, which does not exist → mkdir -p {root}/none", "sh"),
    "checkpoint damaged": (lambda d: d.site.checkpoint_file.write_text("nonsense\n"),
        5, "❌ The checkpoint {state}/checkpoint is damaged: line 1 is not.* → vicisync reset-checkpoint",
        "vicisync"),
    "checkpoint a link": (lambda d: d.site.checkpoint_file.symlink_to("/etc/passwd"),
        5, "❌ Cannot read the checkpoint .*symbolic link, [^→]* → remove it, or name .*", ""),
    "state folder a program": (lambda d: d.site.configure(checkpoint_file=f"{COMMAND}/x", rejected_file=f"{COMMAND}/y"),
        5, f"❌ {COMMAND} cannot be written to → as root: chmod 700 .*", ""),
    "state folder below a file": (under_a_file,
        5, "❌ {root}/file/x cannot be used: Not a directory → to look at it: ls -ld {root}/file/x", ""),
    "state folder writable by others": (lambda d: d.site.checkpoint_file.parent.chmod(0o777),
        5, "❌ {state} cannot be used: others can write to its folder [^→]* → chmod go-w {state}", "sh"),
    "lock a folder": (lambda d: d.site.checkpoint_file.with_name("checkpoint.lock").mkdir(),
        5, "❌ {state}/checkpoint.lock is no file that a run can lock → rm -r {state}/checkpoint.lock", "sh"),
    "journal damaged": (lambda d: d.site.journal_file.write_bytes(b"x" * 9000),
        0, "⚠ Cannot use the journal {state}/journal.db: file is not a database → to begin a new one: mv .*.damaged",
        "sh"),
    "journal a folder": (lambda d: d.site.journal_file.mkdir(),
        0, "⚠ Cannot use the journal {state}/journal.db: .*", ""),
    "rejected file torn": (lambda d: d.site.rejected_file.write_text("torn\n" * 7),
        0, "⚠ {rejected} holds no call in lines 1, 2, 3, 4, 5, … → look at it: less -N {rejected}", ""),
    "rejected file a link": (lambda d: d.site.rejected_file.symlink_to("/etc/passwd"),
        5, "❌ Cannot read the rejected file {rejected}: .*", ""),
    "no grant": (CheckedDialer.revoke, 3, NO_GRANT.format(""), "sql"),
    "grant on another table": (grants("SELECT ON %s.other"), 3, NO_GRANT.format(""), "sql"),
    "grant on some columns": (grants("SELECT (uniqueid, call_date, lead_id) ON %s.vicidial_log"),
        3, NO_GRANT.format("column list_id, .*, alt_dial of "), "sql"),
    "a column missing": (sql("ALTER TABLE vicidial_log DROP COLUMN user_group"),
        3, NO_GRANT.format("column user_group of "), ""),
    "no index on call_date": (sql("ALTER TABLE vicidial_log DROP INDEX call_date"),
        3, NO_INDEX.format("call_date", "call_date", "INDEX call_date"), "sql"),
    "no index on lead_id": (sql("ALTER TABLE vicidial_log DROP INDEX lead_id"),
        3, NO_INDEX.format("lead_id", "lead_id", "INDEX lead_id"), "sql"),
    "no primary key": (sql("ALTER TABLE vicidial_log DROP PRIMARY KEY"),
        3, NO_INDEX.format("PRIMARY", "uniqueid", "PRIMARY KEY"), "sql"),
    "A, an answering machine": (sql("UPDATE vicidial_log SET status = 'A' ORDER BY call_date DESC LIMIT 1"),
        0, "⚠ Status A is in use and goes out as answered, while in .* machine → write under .* here: A=dropped", ""),
    "b, a busy line": (sql("UPDATE vicidial_log SET status = 'b ' ORDER BY call_date DESC LIMIT 1"),
        0, "⚠ Status B is in use and goes out as dnc, while in .* a busy line → write under .* here: B=busy", ""),
    "wrong password": (lambda d: d.rewrite(d.site.astguiclient_conf, PASSWORD, "another"),
        3, (r"❌ The database at \S+ refuses user cron \(.*\) → correct VARDB_user or VARDB_pass \({conf} line 6\), or "
        "the hosts that the account is for; where it wants TLS, write db_ssl_ca"), ""),
    "database down": (lambda d: d.rewrite(d.site.astguiclient_conf, f"=> {d.site.mariadb.port}", "=> 1"),
        3, r"❌ Cannot reach the database at 127\.0\.0\.1:1 \(.*\) → start it there: .* \({conf} line 3\)", ""),
    "no job": (lambda d: d.cron.unlink(), 0, "⚠ No cron entry runs vicisync → vicisync install", ""),
    "job commented out": (job("* * *", "#* * *"), 0, "⚠ No cron entry runs vicisync → vicisync install", ""),
    "executable gone": (job(str(COMMAND), "/o/vicisync"), 2, "❌ {cron} line 1 runs /o/vicisync" + MISSING, ""),
    "not executable": (not_executable, 2, "❌ {cron} line 1 runs {root}/vicisync" + MISSING, ""),
    "not on cron's PATH": (job(str(COMMAND), "vicisync"), 2, "❌ {cron} line 1 runs vicisync" + MISSING, ""),
    "escapes for the terminal": (
        lambda d: (d.etc / "cron.d" / "evil").write_text("* * * * * root /opt/\x1b[31mevil/vicisync run\n"),
        2, r"❌ {etc}/cron.d/evil .*/opt/\\x1b\[31mevil/vicisync" + MISSING, ""),
    "job's name with a dot": (lambda d: d.cron.rename(f"{d.cron}.x"),
        0, "⚠ Cron ignores {cron}.x → mv {cron}.x {cron}", "sh"),
    "job writable by a group": (lambda d: d.cron.chmod(0o664),
        0, "⚠ Cron ignores {cron} → chown root {cron}; chmod go-w {cron}", "sh"),
    "crontab not to be listed": (crontab("You (root) are not allowed"),
        0, r"⚠ root's crontab cannot be read: crontab -l failed: You \(root\) are not allowed", ""),
    "two jobs": (lambda d: (d.etc / "cron.d" / "second").write_text(d.cron.read_text()),
        0, "⚠ More than one job runs vicisync; each minute, one finds the other at work → leave one of them", ""),
    "two jobs of one file": (lambda d: d.cron.write_text(d.cron.read_text() * 2),
        0, "⚠ More than one job runs vicisync; each minute, one finds the other at work → leave one of them", ""),
    "two that sleep": (lambda d: d.cron.write_text(asleep(d) * 2),
        0, "⚠ More than one job runs vicisync; each minute, one finds the other at work → leave one of them", ""),
    "one that sleeps in another file": (lambda d: (d.etc / "cron.d" / "second").write_text(asleep(d)),
        0, "⚠ More than one job runs vicisync; each minute, one finds the other at work → leave one of them", ""),
    "cron dead": (lambda d: d.daemon.write_text("systemd\n"),
        0, "⚠ No cron daemon is at work, so nothing starts vicisync → systemctl enable --now cron  # on .*", ""),
    "the last run failed": (lambda d: last_run(d, ago=0, exit_code=3),
        0, r"⚠ The last run ended \d s ago, with exit code 3 → vicisync status", ""),
    "no run for an hour": (lambda d: last_run(d, ago=3700),
        0, "⚠ The last run ended 61 min ago, with exit code 0; cron starts one .* → systemctl status cron", ""),
    "no run since the clock went back": (lambda d: last_run(d, ago=-3700),
        0, "⚠ The last run ended 6. min ahead of this machine's clock.*; cron starts .* → timedatectl .*s cron", ""),
    "log's folder missing": (job("/var/log/did-", "/nowhere/did-"),
        2, "❌ {cron} line 1 runs .*, but its log cannot be opened: /nowhere is missing → mkdir -p /nowhere", ""),
    "virtual environment moved": (moved_away,
        2, "❌ {cron} line 1 runs .*/moved/vicisync, which does not start: No such .* → vicisync install --force", ""),
    "the libraries are gone": (lambda d: program(d, "#!/bin/sh\necho no module >&2; exit 1\n"),
        2, "❌ {cron} line 1 runs {root}/vicisync, which does not start: no module → vicisync install --force", ""),
    "the dialplan reports too": (agi("exten => h,1,AGI(agi-did-optimizer-report.agi)"),
        0, "⚠ {etc}/asterisk/extensions-vicidial.conf line 3 reports the same calls, .* twice → take it out .*", ""),
    "two rotations": (lambda d: d.logrotate.with_name("did-optimizer").write_text(d.logrotate.read_text()),
        0, "⚠ {etc}/logrotate.d/did-optimizer and .* both rotate .* → rm {etc}/logrotate.d/did-optimizer", "sh"),
    "rotation of the later script's log": (lambda d: d.rewrite(d.logrotate, "/var/log/", "/var/log/astguiclient/"),
        0, "⚠ No logrotate entry for did-optimizer-sync.log → vicisync install", ""),
    "old script in root's crontab": (old_script("crontab"), 0, "⚠ root's crontab line 4" + TWICE, ""),
    "old script in cron.d": (old_script("root/etc/cron.d/did", "root "), 0, "⚠ {etc}/cron.d/did line 2" + TWICE, ""),
    "old script in /etc/crontab": (old_script("root/etc/crontab", "root "), 0, "⚠ {etc}/crontab line 2" + TWICE, ""),
    "no rotation": (lambda d: d.logrotate.unlink(),
        0, "⚠ No logrotate entry for did-optimizer-sync.log → vicisync install", ""),
    "rotation commented out": (lambda d: d.logrotate.write_text("# /var/log/did-optimizer-sync.log {\n"),
        0, "⚠ No logrotate entry for did-optimizer-sync.log → vicisync install", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_is_broken_has_one_line_whose_cure_fixes_it(name: str, dialer: CheckedDialer) -> None:
    breakage, code, line, typed = PROBLEMS[name]
    breakage(dialer)
    found, worse = dialer.worse()
    assert (code, 1) == (found, len(worse)), worse
    assert re.fullmatch(line.format(**dialer.places), worse[0]), worse
    cure = worse[0].partition(" → ")[2].rpartition(": ")[2]
    if typed == "sql":
        dialer.sql(cure)
    elif typed == "sh":
        subprocess.run(["sh", "-c", cure], check=True)
    elif typed == "vicisync":
        assert 0 == dialer.site.vicisync(*cure.split()[1:], "--yes").returncode
    assert not typed or dialer.worse() == (0, [])


SHIFT = "UPDATE vicidial_log SET call_date = call_date {} INTERVAL {} MINUTE"
OF_SOME = SHIFT + " ORDER BY uniqueid DESC LIMIT 3"


@pytest.mark.parametrize(
    ("statement", "overlap", "code", "line"),
    [
        (SHIFT.format("-", 300), 600, 3, "❌ .* 100 of the newest 100 .* 5 h behind .*; runs do not .*overlap=18600"),
        (
            OF_SOME.format("-", 30),
            600,
            3,
            "❌ call_date of 3 of the newest 100 calls is .* 0.5 h behind .*overlap=2400",
        ),
        (SHIFT.format("-", 300), 18600, 0, "⚠ .* 5 h behind .*; runs find them, .* → give the .*"),
        (OF_SOME.format("+", 345), 600, 0, "⚠ .* of 3 of the newest 100 .* 5.75 h ahead of .*; runs .*timedatectl.*"),
        (OF_SOME.format("-", 7), 600, 0, ""),
    ],
    ids=["behind", "one dialer behind, among many", "behind, a long overlap", "Nepal ahead", "VICIdial's audit, late"],
)
def test_rows_of_another_time_zone_are_told_by_what_they_do_to_a_run(
    statement: str, overlap: int, code: int, line: str, dialer: CheckedDialer
) -> None:
    dialer.fill(300, first_lead=9000)
    dialer.sql(statement)
    dialer.site.configure(overlap=str(overlap))
    found, worse = dialer.worse()
    assert (code, bool(line)) == (found, bool(worse))
    assert re.fullmatch(line, "".join(worse)), worse


@pytest.mark.parametrize(("overlap", "arrives"), [("600", False), ("18600", True)])
def test_runs_lose_or_find_calls_of_a_time_zone_behind_as_the_check_says(
    overlap: str, arrives: bool, dialer: CheckedDialer
) -> None:
    dialer.site.configure(overlap=overlap)
    assert 0 == dialer.site.vicisync("run").returncode
    dialer.fill(1, first_lead=9000)
    dialer.sql("UPDATE vicidial_log SET call_date = call_date - INTERVAL 300 MINUTE WHERE lead_id = 9000")
    assert 0 == dialer.site.vicisync("run").returncode
    assert arrives == ("9000" in {record["leadId"] for record in dialer.api.records.values()})
    assert (0 if arrives else 3) == dialer.check()[0]


def test_only_whole_quarters_of_an_hour_are_taken_for_a_time_zone() -> None:
    assert [3600, -18000, 20700, 93600] == [zone_shift(apart) for apart in (3600, -18003, 20700, 93600)]
    assert [0] * 6 == [zone_shift(apart) for apart in (0, 7, -420, 3661, 1000, 90_000_000)]


@pytest.mark.parametrize(("ahead", "words"), [(60, "60 s ahead of"), (-90, "90 s behind"), (5, "")])
def test_clocks_that_differ_by_more_than_vicidial_bears_are_a_warning(
    ahead: int, words: str, dialer: CheckedDialer
) -> None:
    dialer.site.mariadb.set_clock(int(time.time()) + ahead)
    code, worse = dialer.worse()
    assert (0, bool(words)) == (code, bool(worse))
    if words:
        assert abs(int(re.findall(r"(\d+) s ", worse[0])[0]) - abs(ahead)) <= 3
        assert f"{words.split(' s ')[1]} this machine's; vicisync goes by the database's → on both" in worse[0]


# All is well, all the same


def job_in_roots_crontab(dialer: CheckedDialer) -> None:
    dialer.cron.unlink()
    with dialer.crontab.open("a") as file:
        file.write(JOB.format(COMMAND).replace(" root ", " "))


def odd_files_of_cron(dialer: CheckedDialer) -> None:
    (dialer.etc / "cron.d" / "folder").mkdir()
    (dialer.etc / "cron.d" / "image").write_bytes(b"\xff\x00\n")
    (dialer.etc / "cron.d" / "gone").symlink_to("/nowhere")
    (dialer.etc / "cron.d" / "vicisync.dpkg-old").write_text(dialer.cron.read_text())


def mapped(dialer: CheckedDialer) -> None:
    dialer.sql("UPDATE vicidial_log SET status = IF(lead_id % 2, 'A', 'B')")
    with dialer.site.dids_conf.open("a") as file:
        file.write("[dispositions]\na=answered\nB=busy\n")


def used_long_ago(dialer: CheckedDialer) -> None:
    dialer.fill(1000, first_lead=9000)
    dialer.sql("UPDATE vicidial_log SET status = 'B' ORDER BY call_date LIMIT 50")


def one_call_watched(dialer: CheckedDialer) -> None:
    checkpoint = starting_at(1_767_323_045, 28800)
    checkpoint.watching["1.1"] = Watched(1, 1_767_323_045, "not_ended")
    dialer.site.checkpoint_file.write_text(render(checkpoint))


NO_CHECKPOINT = "No checkpoint yet: the first run "
WELL: dict[str, tuple[Callable[[CheckedDialer], object], str]] = {
    "a group may read the key": (lambda d: d.site.dids_conf.chmod(0o640), "{dids} is there, mode 0640"),
    "more grants than needed": (grants("SELECT, UPDATE ON %s.vicidial_log"), "{table} can be read, engine MyISAM"),
    "a table from before VICIdial 2.8": (sql("ALTER TABLE vicidial_log DROP COLUMN called_count"),
        "All its columns are there, but called_count (before VICIdial 2.8): null"),
    "A and B mapped": (mapped, "All its columns are there"),
    "B used before the newest 1,000 calls": (used_long_ago, "All its columns are there"),
    "an index of two columns": (sql("ALTER TABLE vicidial_log DROP INDEX lead_id, ADD INDEX lead_id (lead_id, status)"),
        "Its indexes are there: PRIMARY, call_date, lead_id"),
    "an empty table": (sql("TRUNCATE vicidial_log"), "Its indexes are there: PRIMARY, call_date, lead_id"),
    "calls without a start": (sql("UPDATE vicidial_log SET start_epoch = 0 LIMIT 3"),
        "call_date and start_epoch of the newest 47 calls agree, time zone {zone}"),
    "a job in root's crontab": (job_in_roots_crontab, f"root's crontab line 3 runs {COMMAND}"),
    "two jobs, for twice a minute": (lambda d: d.cron.write_text(d.cron.read_text() + asleep(d)),
        f"{{cron}} line 2 runs {COMMAND}"),
    "the same in root's crontab": (twice_a_minute_in_the_crontab, f"root's crontab line 4 runs {COMMAND}"),
    "a job on its PATH": (lambda d: d.cron.write_text(f"PATH={COMMAND.parent}:/usr/bin\n{JOB.format(COMMAND.name)}"),
        f"{{cron}} line 2 runs {COMMAND.name}"),
    "no crontab": (no_crontab, f"{{cron}} line 1 runs {COMMAND}"),
    "odd files of cron's": (odd_files_of_cron, f"{{cron}} line 1 runs {COMMAND}"),
    "no checkpoint": (lambda _: None, f"{NO_CHECKPOINT}delivers what ended in the hour before it"),
    "no journal": (lambda _: None, "No journal yet: the first run that sends a call begins it"),
    "an empty journal": (lambda d: d.site.journal_file.touch(),
        "No journal yet: the first run that sends a call begins it"),
    "a journal": (lambda d: d.site.vicisync("run"), "The journal {state}/journal.db can be read"),
    "an old one": (lambda d: (d.site.folder / "did-optimizer-last-check.txt").write_text("2026-01-02 03:04:05\n"),
        f"{NO_CHECKPOINT}goes on where the old script stopped, {zoned(parse_timestamp('2026-01-02 03:04:05'))}"),
    "a checkpoint": (one_call_watched, f"Delivered up to {zoned(1_767_323_045)}, 1 call watched"),
    "an empty old one": (lambda d: (d.site.folder / "did-optimizer-last-check.txt").write_text(""),
        f"{NO_CHECKPOINT}delivers what ended in the hour before it; {{folder}}/did-optimizer-last-check.txt is empty"),
    "a run of just now": (lambda d: last_run(d, ago=10), "The last run ended 10 s ago, with exit code 0"),
    "a checkpoint that is gone": (lambda d: last_run(d, ago=10),
        "No checkpoint, though runs have been: the next one says from when on it delivers"),
    "a commented line of the dialplan": (agi("exten => h,1,NoOp ; agi-did-optimizer-report.agi"),
        "{etc}/logrotate.d/vicisync rotates the log"),
}  # fmt: skip


@pytest.mark.parametrize("name", WELL)
def test_what_is_no_problem_has_a_line_that_says_how_it_is(name: str, dialer: CheckedDialer) -> None:
    change, line = WELL[name]
    change(dialer)
    zone = dialer.site.mariadb.execute("SELECT @@system_time_zone")[0][0]
    code, lines = dialer.check()
    assert (0, "✅ All is well") == (code, lines[-1]), lines
    places = {name: place.replace("\\", "") for name, place in dialer.places.items()}
    assert f"✓ {line.format(zone=zone, **places)}" in lines


# Several things at once, or one after the other


def test_indexes_that_are_switched_off_are_told(dialer: CheckedDialer) -> None:
    dialer.sql("ALTER TABLE vicidial_log DISABLE KEYS")
    code, worse = dialer.worse()
    assert (3, ["call_date", "lead_id"]) == (code, sorted(line.split()[3] for line in worse))
    dialer.sql(worse[0].rpartition(": ")[2])
    assert (0, []) == dialer.worse()


def test_a_database_that_does_not_exist_is_told_as_such(dialer: CheckedDialer) -> None:
    dialer.sql("GRANT SELECT ON *.* TO cron@'%'")
    try:
        dialer.rewrite(dialer.site.astguiclient_conf, dialer.database, "asterix")
        code, worse = dialer.worse()
    finally:
        dialer.sql("REVOKE SELECT ON *.* FROM cron@'%'")
    assert (3, 1) == (code, len(worse))
    assert worse[0].startswith("❌ There is no asterix.vicidial_log such as VICIdial makes")


def test_a_locked_table_does_not_hold_the_check_up_and_the_rest_is_checked(dialer: CheckedDialer) -> None:
    dialer.site.configure(db_timeout="1")
    with dialer.site.mariadb.connect(dialer.database) as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLES vicidial_log WRITE")
        code, lines = dialer.check()
    parts = ("was not readable within 1 s, held up by OPTIMIZE", " and takes the key")
    assert (3, [1, 1]) == (code, [sum(part in line for line in lines) for part in parts])


def test_a_run_at_work_is_told_with_who_it_is_and_is_no_problem(dialer: CheckedDialer) -> None:
    with locked(dialer.site.checkpoint_file):
        code, found = dialer.check()
    told = [line for line in found if line.startswith(f"✓ A run is at work (process {os.getpid()} since ")]
    assert (0, 1) == (code, len(told))


def test_rejected_calls_are_a_warning_with_the_command_that_sends_them_again(dialer: CheckedDialer) -> None:
    no = answer(400, body=b'{"success": false}')
    dialer.api.fault_for = lambda payload: no if payload and dialer.api.records else None
    assert 6 == dialer.site.vicisync("run", "--limit", "4").returncode
    line = f"⚠ 3 calls have been rejected; {dialer.site.rejected_file} says why → vicisync retry-rejected"
    code, worse = dialer.worse()
    assert (0, line) == (code, worse[-1])
    assert re.fullmatch(r"⚠ The last run ended \d+ s ago, with exit code 6 → vicisync status", worse[0])
    dialer.api.fault_for = None
    assert 0 == dialer.site.vicisync("retry-rejected").returncode
    assert 0 == dialer.site.vicisync("run").returncode
    assert (0, []) == dialer.worse()


def test_verify_ssl_0_is_a_warning_that_names_the_cure(dialer: CheckedDialer) -> None:
    dialer.site.api_url = dialer.site.api_url.replace("http:", "https:")
    dialer.site.configure(verify_ssl="0")
    code, worse = dialer.worse()
    assert worse[0].startswith("⚠ verify_ssl=0: whoever answers in the place of 127.0.0.1 gets the API key")
    assert worse[0].endswith(" → write verify_ssl=1, or the file of its CA")
    assert 4 == code  # nobody speaks TLS there


def test_settings_of_the_shell_are_a_warning_since_cron_does_not_have_them(dialer: CheckedDialer) -> None:
    text = "⚠ db_host, api_key from the environment of this shell, which cron's jobs do not have"
    line = f"{text} → write them into the configuration file, or unset the variables"
    assert (0, [line]) == dialer.worse(API_KEY=dialer.api.api_key, VICIDIAL_DB_HOST="127.0.0.1")


def test_all_mistakes_of_a_configuration_are_told_and_what_needs_it_is_left_out_saying_so_once(
    dialer: CheckedDialer,
) -> None:
    dialer.site.configure(batch_size="many", overlap="5", concurency="8")
    code, lines = dialer.check()
    start = rf"❌ {dialer.site.dids_conf} line \d+: .*"
    broken = [line for line in lines[:-1] if line.startswith("❌")]
    assert (2, 3) == (code, len(broken))
    assert all(re.match(f"{start}(batch_size|overlap|Did you mean concurrency)", line) for line in broken)
    left_out = "⚠ Checkpoint, database and API were not checked; they need these settings"
    assert [f"{left_out} → fix the settings, then vicisync check"] == [line for line in lines if line.startswith("⚠")]
    assert f"✓ {dialer.cron} line 1 runs {COMMAND}" in lines
    assert "❌ 3 problems to fix, 1 warning" == lines[-1]


def test_an_astguiclient_conf_without_the_database_is_told(dialer: CheckedDialer) -> None:
    conf = dialer.site.astguiclient_conf
    lines = [line for line in conf.read_text().splitlines() if "VARDB_" not in line]
    conf.write_text("\n".join([*lines, "#VARDB_server => 127.0.0.1"]))
    _, worse = dialer.worse()
    text = f"⚠ {conf} holds no VARDB_ line, so that the defaults count → write VARDB_server, _database, "
    assert worse[0].startswith(text), worse


@pytest.mark.parametrize("which", ["astguiclient_conf", "dids_conf"])
def test_a_named_file_that_does_not_exist_is_told_once(which: str, dialer: CheckedDialer) -> None:
    path = getattr(dialer.site, which)
    path.unlink()
    code, lines = dialer.check()
    told = f"❌ {path} does not exist: correct the option or environment variable that names it"
    assert (2, [told]) == (code, [line for line in lines if "does not exist" in line])


def test_where_the_standard_files_are_missing_it_says_what_counts_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration, "ASTGUICLIENT_CONF", tmp_path / "astguiclient.conf")
    monkeypatch.setattr(configuration, "DIDS_CONF", tmp_path / "dids.conf")
    cure = f"install -D -m 600 /dev/null {tmp_path}/dids.conf"
    assert [
        f"✓ {tmp_path}/astguiclient.conf does not exist: db_* of dids.conf count, or their defaults",
        f"⚠ {tmp_path}/dids.conf does not exist → {cure}",
    ] == [joined(found) for found in configuration.files(None, None)]


def test_the_cure_of_a_file_that_others_can_read_works_as_it_is_copied_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "dids (the owner's).conf"
    path.touch(0o666)
    path.chmod(0o666)
    (found,) = [found for found in configuration.files(None, path) if str(path) in found.text]
    subprocess.run(["sh", "-c", found.cure], check=True)
    assert 0o600 == path.stat().st_mode & 0o777


# Folders and disks


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        fill(disk, leaving=4096)
        settings = make_settings(disk, checkpoint_file=f"{disk}/checkpoint", rejected_file=f"{disk}/r")
        (found,) = state.findings(settings)
    assert 5 == found.exit_code
    assert re.match(r"❌ The disk of .* is full: \d+ bytes and \d+ files are left → make room: df -h ", joined(found))


def test_a_disk_that_has_room_and_no_files_left_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_settings(tmp_path)
    settings.checkpoint_file.parent.mkdir(mode=0o700)
    disk = os.statvfs(tmp_path)
    without = os.statvfs_result((*disk[:7], 0, *disk[8:]))
    for files, found in ((disk, "can be written to"), (without, "bytes and 0 files are left → make room: df -h ")):
        monkeypatch.setattr(os, "statvfs", lambda _, files=files: files)
        assert found in joined(next(state.findings(settings)))


def test_a_full_disk_below_the_log_is_told(dialer: CheckedDialer, tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        fill(disk, leaving=0)
        dialer.rewrite(dialer.cron, "/var/log/", f"{disk}/")
        code, worse = dialer.worse()
    cure = f"make room: df -h --output=target,avail,iavail {disk}"
    line = f"❌ {dialer.cron} line 1 runs {COMMAND}, but the disk of its log is full → {cure}"
    assert (2, [line]) == (code, worse)


def test_a_folder_that_is_missing_or_another_s_is_told_where_the_run_could_not_help_itself(tmp_path: Path) -> None:
    lead_everyone_to(tmp_path)
    settings = make_settings(tmp_path, metrics_file=str(tmp_path / "vicisync.prom"))
    folder = settings.checkpoint_file.parent

    def found() -> list[tuple[int, str]]:
        return [(each.exit_code, joined(each)) for each in state.findings(settings)]

    assert (0, f"✓ {folder} does not exist yet; vicisync install makes it, or else the first run") in found()
    with as_nobody():
        line = f"❌ {folder} does not exist, and cannot be made here → as root: mkdir -p -m 700 {folder}"
        assert [(5, line)] == found()
        metrics = joined(list(configuration.values(settings))[-1])
    assert f"⚠ metrics_file lies in {tmp_path}, which cannot be written to → chown root {tmp_path}" == metrics
    folder.mkdir(mode=0o755)
    with as_nobody():
        line = f"❌ {folder} cannot be written to → as root: chmod 700 {folder}, and run vicisync as root"
        assert [(5, line)] == found()


def test_who_may_not_read_everything_is_told_so_and_nothing_is_guessed(dialer: CheckedDialer) -> None:
    dialer.root.parent.chmod(0o755)
    for file in (dialer.cron, dialer.logrotate):
        file.chmod(0o600)
    with as_nobody():
        found = [joined(finding) for finding in schedule.findings(dialer.root)]
    denied = "cannot be read: Permission denied → sudo vicisync check"
    crontab = "⚠ root's crontab cannot be read: only root can list it → sudo vicisync check"
    assert [crontab, f"⚠ {dialer.cron} {denied}", f"⚠ {dialer.logrotate} {denied}"] == found


def test_a_system_without_cron_lacks_the_job_and_the_rotation(dialer: CheckedDialer) -> None:
    no_crontab(dialer)
    assert [
        "⚠ No cron entry runs vicisync → vicisync install",
        "⚠ No logrotate entry for did-optimizer-sync.log → vicisync install",
    ] == [joined(found) for found in schedule.findings(dialer.root / "nothing")]


# The command


def test_a_database_that_is_named_by_its_socket_is_told_by_it(dialer: CheckedDialer) -> None:
    dialer.rewrite(dialer.site.astguiclient_conf, "VARDB_server => 127.0.0.1", "VARDB_server => /nowhere.sock")
    done = dialer.site.vicisync("check")
    (line,) = [line for line in done.stdout.splitlines() if "database at" in line]
    assert 3 == done.returncode
    assert line.startswith("❌ Cannot reach the database at /nowhere.sock (")


def test_the_installed_command_exits_with_the_code_of_the_first_thing_that_a_run_would_meet(
    dialer: CheckedDialer,
) -> None:
    dialer.site.api_key = "another-key-than-the-api-s"
    dialer.site.configure()
    assert 4 == dialer.site.vicisync("check").returncode
    dialer.revoke()
    done = dialer.site.vicisync("check")
    assert (3, "") == (done.returncode, done.stderr)
    assert dialer.site.api_key not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("❌ 2 problems to fix")
    with open("/dev/full", "w") as full:  # noqa: PTH123 -- a device
        code = subprocess.call([COMMAND, "check"], env=dialer.site.environment(), stdout=full, stderr=full)
    assert 3 == code, "a full disk behind its output changes no exit code"


# Campaigns that settings name

USED = ", {dids} line {line}); they are of SALES, SOLAR2"
SALES = "UPDATE vicidial_log SET campaign_id = IF(lead_id % 5, 'SALES', 'SOLAR2')"


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"campaigns": "SLAES solar2"}, [f"is of campaign SLAES (campaigns{USED}"]),
        ({"exclude_campaigns": "TEST DEMO"}, [f"is of campaigns DEMO, TEST (exclude_campaigns{USED}"]),
        ({"campaigns": "SLAES"}, [f"is of campaign SLAES (campaigns{USED}", "{nothing}"]),
        ({"exclude_campaigns": "SALES SOLAR2"}, ["{nothing}"]),
        ({"campaigns": "sales"}, []),
    ],
    ids=["one misspelt", "two to leave out", "nothing is left", "all left out", "as MariaDB compares them"],
)  # fmt: skip
def test_campaigns_that_a_setting_names_and_no_call_has_are_told_with_those_that_calls_have(
    named: dict[str, str], told: list[str], dialer: CheckedDialer
) -> None:
    dialer.sql(SALES)
    dialer.site.configure(**named)
    lines = dialer.site.dids_conf.read_text().splitlines()
    line = next(n for n, text in enumerate(lines, 1) if text.startswith(tuple(named)))
    nothing = "All of the newest 50 calls are left out by their campaign: nothing would be sent"
    expected = [each.format(dids=dialer.site.dids_conf, line=line, nothing=nothing) for each in told]
    code, worse = dialer.worse()
    assert (0, expected) == (code, [re.sub("^⚠ (None of the newest 50 calls )?", "", text) for text in worse])


def test_only_the_newest_1000_calls_are_asked_for_their_campaigns_and_ten_are_shown(dialer: CheckedDialer) -> None:
    dialer.sql(
        "UPDATE vicidial_log SET campaign_id = 'OLD', call_date = call_date - INTERVAL 1 DAY, "
        "start_epoch = start_epoch - 86400"
    )
    dialer.site.configure(campaigns="OLD")
    dialer.fill(1000, first_lead=9000)
    dialer.sql("UPDATE vicidial_log SET campaign_id = CONCAT('C', 10 + lead_id % 12) WHERE campaign_id != 'OLD'")
    _, worse = dialer.worse()
    assert re.match(
        r"⚠ None of the newest 1000 calls is of campaign OLD \(.*; they are of (C\d\d, ){10}…$", worse[0]
    ), worse
    dialer.sql("TRUNCATE vicidial_log")
    assert (0, []) == dialer.worse(), "where there are no calls, nothing is known of campaigns"


# Settings where they do not count


@pytest.mark.parametrize("place", ["[general]\n", "", "[vicidial]\n"], ids=["general", "no header", "unknown section"])
def test_a_setting_of_ours_that_stands_elsewhere_is_told_with_where_to_move_it(
    place: str, dialer: CheckedDialer
) -> None:
    dids = dialer.site.dids_conf
    before = dids.read_text()
    assert "[vicisync]" in before
    dids.write_text(f"{place}log_phone_numbers=no\nbatch_size=\njournal_file={dialer.site.journal_file}\n{before}")
    text = f"{dids} line {2 if place else 1}: log_phone_numbers is a setting of [vicisync]"
    line = f"⚠ {text}, and does not count where it stands → move it below a line [vicisync]"
    code, lines = dialer.check()
    assert (0, [line]) == (code, [each for each in lines[:-1] if each.startswith(SIGNS[1:])])
    assert any(re.fullmatch("✓ log_phone_numbers +yes +default", each) for each in lines)


# What a run goes by beside the table

SERVER_UPDATER = "CREATE TABLE server_updater (server_ip VARCHAR(15), last_update DATETIME, db_time DATETIME)"
OF_AGENT = "INSERT INTO vicidial_live_agents (user, server_ip, last_update_time) VALUES ('a', '', '2020-01-01')"


def no_other_grant(dialer: CheckedDialer) -> None:
    """The one of the Perl script's guide."""
    dialer.sql("REVOKE ALL PRIVILEGES, GRANT OPTION FROM cron@'%'")
    dialer.sql("GRANT SELECT ON vicidial_log TO cron@'%'")


def of_dialer(behind: int) -> Callable[[CheckedDialer], None]:
    """A dialer that wrote its own time so many seconds behind the database's."""

    def breakage(dialer: CheckedDialer) -> None:
        dialer.sql(SERVER_UPDATER)
        dialer.sql(f"INSERT INTO server_updater VALUES ('10.0.0.7', NOW() - INTERVAL {behind} SECOND, NOW())")
        dialer.sql("GRANT SELECT ON server_updater TO cron@'%'")

    return breakage


@pytest.mark.parametrize(
    ("change", "line"),
    [
        pytest.param(lambda _: None, "✓ Who is still on the line can be read: vicidial_live_agents, ", id="granted"),
        pytest.param(no_other_grant, r"⚠ The row alone says .* GRANT SELECT ON \S+vicidial_live_"
            r"agents TO \S+; GRANT SELECT ON \S+vicidial_auto_calls TO \S+;", id="not granted"),
        pytest.param(sql(OF_AGENT),
            "⚠ The row alone says .* no agent in vicidial_live_agents has a heartbeat", id="no heartbeat"),
        pytest.param(no_other_grant,
            r"⚠ Rows that VICIdial archives .* GRANT SELECT ON \S+vicidial_log_archive", id="archive not granted"),
        pytest.param(sql("DROP INDEX lead_id ON vicidial_log_archive"),
            r"⚠ Rows that VICIdial archives .*_log_archive lacks an index .* → give it the indexes of", id="no index"),
        pytest.param(sql("DROP TABLE vicidial_log_archive"),
            r"⚠ Rows that VICIdial archives .* with none there: CREATE TABLE (\S+)\.vicidial_log_archive LIKE \1\."
            r"vicidial_log;", id="no archive"),
        pytest.param(of_dialer(2), "✓ The clocks of 1 dialer agree with the database's", id="a dialer in step"),
        pytest.param(of_dialer(300), "⚠ The clock of dialer 10.0.0.7 is 300 s behind the database's →", id="behind"),
        pytest.param(of_dialer(900), "⚠ .* 900 s behind the database's by more than the overlap: runs do not find its",
            id="behind by more than the overlap"),
        pytest.param(of_dialer(-900), "⚠ .* 900 s ahead of the database's → on it", id="ahead"),
    ],
)  # fmt: skip
def test_what_a_run_goes_by_beside_the_table_has_a_line(
    change: Callable[[CheckedDialer], object], line: str, dialer: CheckedDialer
) -> None:
    change(dialer)
    _, told = dialer.check()
    assert any(re.match(line, " → ".join(part.strip() for part in each.split("\n   → "))) for each in told) or any(
        re.match(line, f"{each} {after.strip()}") for each, after in pairwise(told)
    ), told


def test_a_checkpoint_ahead_of_this_machine_s_clock_ends_run_status_and_check_with_5(dialer: CheckedDialer) -> None:
    """Written by hand in another zone."""
    dialer.site.checkpoint_file.parent.mkdir(exist_ok=True)
    dialer.site.checkpoint_file.write_text(f"{int(time.time()) + 7 * 3600}\n")
    for command in ("run", "status", "check"):
        done = dialer.site.vicisync(command)
        assert 5 == done.returncode
        assert "lies ahead, at " in done.stdout + done.stderr
    assert 0 == dialer.site.vicisync("reset-checkpoint", "--to", "1h", "--yes").returncode
    assert 0 == dialer.site.vicisync("run").returncode
