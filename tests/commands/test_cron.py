"""Cron's tables: which lines run vicisync and which the old script; and the installed job under a real cron."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.did_optimizer import DidOptimizer
from rehearsal.site import Site
from tests.commands.command import finish
from tests.machine import CRON_D, LOG, Machine, machine, needs_root
from vicisync.commands.cron import OLD_SCRIPT, VICISYNC, Table, shipped

DONE = "✅ Sync completed successfully\n"
JOB = "/usr/local/bin/vicisync run >> /var/log/did-optimizer-sync.log 2>&1"


def found(line: str, job: re.Pattern[str]) -> list[str]:
    return list(Table(None, line).find(job).values())


@pytest.mark.parametrize(
    ("line", "program"),
    [
        pytest.param(f"* * * * * {JOB}", "/usr/local/bin/vicisync", id="in a crontab"),
        pytest.param(f"* * * * * root {JOB}", "/usr/local/bin/vicisync", id="behind a user"),
        pytest.param(f"\t 0-59/2  1,2 * jan\tmon   root\t{JOB}\r", "/usr/local/bin/vicisync", id="blanks and names"),
        pytest.param(f"@hourly root {JOB}", "/usr/local/bin/vicisync", id="a name in place of the five times"),
        pytest.param(f"-*/5 * * * * root {JOB}", "/usr/local/bin/vicisync", id="openSUSE's minus"),
        pytest.param("* * * * * vicisync run", "vicisync", id="by PATH"),
        pytest.param("* * * * * sleep 30; /v/bin/vicisync run -q>>log", "/v/bin/vicisync", id="half a minute later"),
        pytest.param("* * * * * sleep 30;vicisync run", "vicisync", id="without a blank"),
        pytest.param("* * * * * cd /opt && ./vicisync  run", "./vicisync", id="after cd"),
        pytest.param("* * * * * nice -n 10 /usr/bin/vicisync run", "/usr/bin/vicisync", id="behind another program"),
        pytest.param("* * * * * TZ=UTC vicisync run", "vicisync", id="behind an assignment"),
        pytest.param("* * * * * flock -n /run/l -c 'vicisync run -q'", "vicisync", id="in a string for a shell"),
        pytest.param("* * * * * '/opt/a b/vicisync' run", "/opt/a b/vicisync", id="a blank in its path"),
        pytest.param("* * * * * root /usr/bin/python3.11 -m vicisync run", "/usr/bin/python3.11", id="as a module"),
        pytest.param("* * * * * python3 -I /opt/vicisync.pyz run", "/opt/vicisync.pyz", id="a pyz, run by python"),
        pytest.param("* * * * * /opt/vicisync-1.0.0.pyz run", "/opt/vicisync-1.0.0.pyz", id="a pyz"),
        pytest.param(f"# * * * * * {JOB}", None, id="a comment"),
        pytest.param(f"  #* * * * * {JOB}", None, id="an indented comment"),
        pytest.param(f"COMMAND={JOB}", None, id="a setting"),
        pytest.param(f"'MY COMMAND' = {JOB}", None, id="a quoted setting"),
        pytest.param("* * * * * vicisync status --json", None, id="another command of it"),
        pytest.param("* * * * * vicisync runs", None, id="another word"),
        pytest.param("* * * * * python3 -m http.server", None, id="another module"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_a_line_that_delivers_is_found_with_its_program(line: str, program: str | None) -> None:
    assert ([program] if program else []) == found(line, VICISYNC)
    assert [] == found(line, OLD_SCRIPT)


@pytest.mark.parametrize(
    ("line", "runs"),
    [
        ("* * * * * cd /home/na/didapi && /usr/bin/perl process-call-results.pl >> /var/log/x.log 2>&1", True),
        ("*/5 * * * * root sleep 30 && cd /home/na && /usr/bin/perl process-call-results.pl >> /var/log/x.log", True),
        ("@hourly /home/na/didapi/process-call-results.pl>>/var/log/sync.log", True),
        ("* * * * * cd /home/na/didapi; node process-call-results.js", True),
        ("0 * * * * /usr/bin/nodejs --max-old-space-size=64 /home/na/didapi/process-call-results.js", True),
        ("* * * * * API_KEY=x flock -n /tmp/l perl -w /opt/process-call-results.pl", True),
        ("* * * * * bash -lc 'cd /opt && perl process-call-results.pl'", True),
        ("* * * * * if [ -e /opt/on ]; then perl /opt/process-call-results.pl; fi", True),
        ("* * * * * (cd /opt; ./process-call-results.pl)", True),
        ("* * * * * echo '#'; perl process-call-results.pl", True),
        ("* * * * * /usr/bin/perl /usr/share/astguiclient/AST_DID_optimizer_sync.pl >> /var/log/x.log 2>&1", True),
        ("* * * * * /usr/share/astguiclient/bin/AST_DID_optimizer_sync.pl", True),
        ("* * * * * root /usr/share/astguiclient/AST_DID_optimizer_sync.pl>/dev/null", True),
        ("* * * * * /usr/bin/perl /usr/share/astguiclient/AST_DID_optimizer_sync.pl --test", True),
        ("#* * * * * /usr/share/astguiclient/AST_DID_optimizer_sync.pl", False),
        ("* * * * * /usr/share/astguiclient/AST_DID_optimizer_sync.pl.old", False),
        (f"* * * * * {JOB}", False),
        ("#* * * * * perl /opt/process-call-results.pl", False),
        ("SCRIPT=/opt/process-call-results.pl", False),
        ("* * * * * perl /opt/process-call-results.pl.bak", False),
        ("* * * * * perl /opt/process-call-results.plx", False),
        ("* * * * * perl /opt/my-process-call-results.pl", False),
    ],
)
def test_a_line_that_runs_the_old_script_is_found(line: str, runs: bool) -> None:
    assert runs == bool(found(line, OLD_SCRIPT))
    assert runs <= (not found(line, VICISYNC))


def test_the_shipped_table_has_one_job() -> None:
    table = Table(Path("/etc/cron.d/vicisync"), shipped("cron").decode())
    assert {6: "/usr/local/bin/vicisync"} == table.find(VICISYNC)


@given(st.text() | st.text(alphabet="vicisyn run'\"-m*/;&|()#\n"))
def test_no_table_is_too_odd_to_be_read(text: str) -> None:
    for job in (OLD_SCRIPT, VICISYNC):
        assert all(1 <= number <= text.count("\n") + 1 for number in Table(None, text).find(job))


@contextmanager
def cron(machine: Machine) -> Iterator[None]:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    with subprocess.Popen(machine.inside("cron", "-f"), cwd="/", env=environment) as daemon:
        try:
            yield
            assert daemon.poll() is None, "cron has ended by itself"
        finally:
            daemon.terminate()


def wait(seconds: float, until: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.2)


@needs_root
def test_cron_delivers_and_logs_twice_a_minute_and_goes_on_in_a_new_log_after_rotation(
    tmp_path: Path, site: Site, api: DidOptimizer
) -> None:
    """Cron looks at its tables when a minute begins: this takes one and a half on the average, most of it asleep."""

    with machine(tmp_path / "machine") as server:
        log = server.path(LOG)
        rotated = log.with_name(f"{log.name}.1")
        server.vicisync("install", environment=site.environment())
        job = server.path(CRON_D)
        job.write_text(job.read_text().replace("\n#* * * * * root sleep 30;", "\n* * * * * root sleep 30;"))
        finish(site, 3)
        with cron(server):
            wait(75, lambda: DONE in log.read_text())
            first = set(api.records)
            assert 3 == len(first)
            finish(site, 4)
            wait(40, lambda: 2 == log.read_text().count(DONE))
            assert 7 == len(api.records)

            done = server.run("logrotate", "-f", "/etc/logrotate.d/vicisync")
            assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
            assert 2 == rotated.read_text().count(DONE)
            assert (b"", 0o640) == (log.read_bytes(), log.stat().st_mode & 0o777)

            finish(site, 5)
            wait(40, lambda: DONE in log.read_text())
            assert 12 == len(api.records)
            assert 2 == rotated.read_text().count(DONE)
        assert 0 == api.repeats
        assert not re.findall(".*(?:failed:|❌).*", log.read_text() + rotated.read_text())
