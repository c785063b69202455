"""The files of ``deploy/``, judged by what will read them: cron, its shell, and logrotate."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from rehearsal.dialer import fill
from rehearsal.did_optimizer import DidOptimizer
from rehearsal.site import COMMAND, Site

DEPLOY = Path(__file__).parents[2] / "deploy"
CRON = DEPLOY / "cron" / "vicisync"
LOGROTATE = DEPLOY / "logrotate" / "vicisync"
LOG = "/var/log/did-optimizer-sync.log"

FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
"""The lowest and highest of minute, hour, day, month and day of the week."""


class Entry(NamedTuple):
    """A job, as cron reads it from a file of /etc/cron.d."""

    when: tuple[str, ...]
    user: str
    command: str
    comment: str
    """The line above it."""


def crontab() -> tuple[dict[str, str], list[Entry]]:
    """Read the settings and the jobs, those too that an operator may switch on by removing the first ``#``."""
    settings, entries = {}, []
    above = ""
    for line in CRON.read_text().splitlines():
        setting = re.fullmatch(r"(\w+)=(.*)", line)
        job = line.removeprefix("#")
        if setting:
            settings[setting[1]] = setting[2]
        elif line and not job.startswith((" ", "#")):
            *when, user, command = job.split(None, 6)
            entries.append(Entry(tuple(when), user, command, above))
        above = line
    return settings, entries


def is_time(field: str, lowest: int, highest: int) -> bool:
    """Return whether a field is ``*``, ``*/n`` or a number that exists."""
    number = re.fullmatch(r"(?:\*/)?(\d+)", field)
    return field == "*" or (number is not None and lowest <= int(number[1]) <= highest)


def test_cron_reads_each_job_as_five_times_a_user_and_a_command() -> None:
    _, entries = crontab()
    assert 2 == len(entries)
    for entry in entries:
        assert [True] * 5 == [is_time(field, *bounds) for field, bounds in zip(entry.when, FIELDS)]
        assert "root" == entry.user
        assert "%" not in entry.command, "cron would take it for a newline"


def test_each_job_has_the_line_above_it_that_vicidial_s_crontab_has() -> None:
    assert [] == [entry for entry in crontab()[1] if not entry.comment.startswith("### ")]


def test_cron_does_not_pass_the_file_over() -> None:
    """It ignores names with a dot, and a last line without its end; no line of it is a program."""
    assert re.fullmatch(r"[A-Za-z0-9_-]+", CRON.name)
    assert 0 == CRON.stat().st_mode & 0o111
    assert CRON.read_bytes().endswith(b"\n")


def test_the_jobs_deliver_and_log_from_cron_s_bare_environment(site: Site, api: DidOptimizer) -> None:
    """Only the places differ from those of a real server, and nobody sleeps."""
    with site.mariadb.connect(site.database) as connection:
        fill(connection, 3, int(time.time()) - 600)
    settings, entries = crontab()
    log = site.folder / "sync.log"
    configuration = {
        "VICISYNC_ASTGUICLIENT_CONF": str(site.astguiclient_conf), "VICISYNC_DIDS_CONF": str(site.dids_conf)
    }  # fmt: skip
    for entry in entries:
        assert "/usr/local/bin/vicisync run " in entry.command
        assert LOG in entry.command
        command = entry.command.replace("/usr/local/bin/vicisync", str(COMMAND)).replace(LOG, str(log))
        done = subprocess.run(
            [settings["SHELL"], "-c", command.replace("sleep 30", "sleep 0")],
            env={**settings, **configuration}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr), "cron would send mail"
    assert 3 == len(api.records)
    stamped = [re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} ", line) for line in log.read_text().splitlines()]
    assert None not in stamped
    assert 1 == log.read_text().count("✅ Sync completed successfully")
    assert 1 == log.read_text().count("✅ Nothing new since ")


def test_what_a_job_says_on_stderr_is_logged_too() -> None:
    assert [True, True] == [entry.command.endswith(f" >> {LOG} 2>&1") for entry in crontab()[1]]


def logrotate(configuration: Path, state: Path, *options: str) -> str:
    program = shutil.which("logrotate", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    assert program, "logrotate is not installed: apt-get install logrotate"
    done = subprocess.run(
        [program, *options, "--state", state, configuration], capture_output=True, encoding="utf-8", check=False
    )
    said = done.stdout + done.stderr
    assert 0 == done.returncode, said
    assert "error" not in said
    return said


def test_logrotate_accepts_the_file_and_finds_the_log_that_cron_writes(tmp_path: Path) -> None:
    file = tmp_path / "vicisync"
    shutil.copyfile(LOGROTATE, file)
    file.chmod(0o644)
    said = logrotate(file, tmp_path / "state", "--debug")
    assert f"considering log {LOG}" in said
    assert "after 1 days" in said
    assert "(7 rotations)" in said


def test_a_rotated_log_is_begun_anew_and_its_numbers_are_kept_from_others(tmp_path: Path) -> None:
    """Only root can give a file to root; who runs this otherwise has it given to himself."""
    log = tmp_path / "log" / "sync.log"
    log.parent.mkdir(mode=0o755)
    log.write_text("2026-11-23 02:43:19 +0000 ✓ 1.1: C/5550100 → NA (0s)\n")
    file = tmp_path / "vicisync"
    text = LOGROTATE.read_text().replace(LOG, str(log))
    if os.geteuid():
        text = text.replace("create 0640 root root", "create 0640")
    file.write_text(text)
    file.chmod(0o644)
    logrotate(file, tmp_path / "state", "--force")
    assert (0o640, b"") == (log.stat().st_mode & 0o777, log.read_bytes())
    assert "5550100" in (log.parent / "sync.log.1").read_text()
