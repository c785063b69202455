"""Who starts vicisync, who else sends calls, and who rotates the log: cron's tables and logrotate's files."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from shlex import quote

from vicisync.commands import cron
from vicisync.commands.check.finding import Finding, fine, warning
from vicisync.commands.cron import OLD_SCRIPT, VICISYNC, Table, lines_that_run
from vicisync.commands.install import LOG
from vicisync.errors import ConfigError
from vicisync.state.files import make_room

_SLEEPS_FIRST = re.compile(r"\s*(?:\S+\s+){5,6}?sleep\s")
"""A job that begins a while after its minute: the README's way to results twice a minute."""


def findings(root: Path = Path("/")) -> Iterator[Finding]:
    """Read what cron and logrotate are told; their files lie below ``root``, the crontab is asked of ``crontab``."""
    found = list(cron.tables(root))
    unread = [_unreadable(table.name, table.unread) for table in found if table.unread]
    ours = lines_that_run(VICISYNC, found)
    ignored = [table for table in found if table.ignored and table.find(VICISYNC)]
    yield from unread
    starts = 0  # a minute, at which one run could find another at work
    for table, jobs in ours:
        told = {number: _job(table, number, program) for number, program in jobs.items()}
        yield from told.values()
        works = [number for number, job in told.items() if not job.exit_code]
        later = sum(bool(_SLEEPS_FIRST.match(table.text.split("\n")[number - 1])) for number in works)
        starts += 1 if works and later == len(works) - 1 else len(works)
    if starts > 1:
        yield warning("More than one job runs vicisync; each minute, one finds the other at work", "leave one of them")
    if ours and not cron.daemon_lives(root):
        yield warning("No cron daemon is at work, so nothing starts vicisync", cron.START_CRON)
    if not ours:
        yield from (warning(f"Cron ignores {table.name}", table.ignored) for table in ignored)
    if not (ours or ignored or unread):  # where not all could be read, it may stand in what could not
        yield warning("No cron entry runs vicisync", "vicisync install")
    for table, jobs in lines_that_run(OLD_SCRIPT, found):
        for number in jobs:
            text = f"{table.name} line {number} still runs the old script: each call would be sent twice"
            yield warning(text, "vicisync install --replace-old")
    yield from (warning(sentence, cron.NO_DOUBLE_REPORTS) for sentence in cron.double_reports(root))
    yield _logrotate(root)


def _unreadable(name: object, why: str) -> Finding:
    return warning(f"{name} cannot be read: {why}", "sudo vicisync check" if os.geteuid() else "")


def _logrotate(root: Path) -> Finding:
    if len(rotated := cron.rotations(LOG, root)) > 1:  # the old README has its readers write one
        other = next(path for path in rotated if path.name != "vicisync")
        return warning(f"{rotated[0]} and {rotated[1]} both rotate the log, an error for logrotate", f"rm {other}")
    if rotated:
        return fine(f"{rotated[0]} rotates the log")
    for path in (root / "etc/logrotate.d").glob("*"):
        if not os.access(path, os.R_OK, effective_ids=True):
            return _unreadable(path, "Permission denied")
    return warning(f"No logrotate entry for {LOG.name}", "vicisync install")


def _job(table: Table, number: int, program: str) -> Finding:
    text = f"{table.name} line {number} runs {program}"
    broken = partial(Finding, "❌", exit_code=ConfigError.exit_code)
    paths = re.findall(r"^\s*PATH\s*=\s*(.*?)\s*$", table.text, re.MULTILINE)
    path = str(paths[-1]).strip("\"'") if paths else "/usr/bin:/bin"  # cron's own
    if not (program.endswith(".pyz") and Path(program).is_file()):  # which Python runs, executable or not
        if not (found := shutil.which(program, path=path)):
            return broken(f"{text}, which is not there or cannot be executed", "vicisync install")
        if why := _does_not_start(found):
            return broken(f"{text}, which does not start: {why}", "vicisync install --force")
    if log := re.search(r">>\s*(/\S+)", table.text.split("\n")[number - 1]):
        folder = Path(log[1]).parent
        if not folder.is_dir():  # then the shell runs nothing
            text += f", but its log cannot be opened: {folder} is missing"
            return broken(text, f"mkdir -p {quote(str(folder))}")
        if not os.statvfs(folder).f_bavail:
            return broken(f"{text}, but the disk of its log is full", make_room(folder))
    return fine(text)


def _does_not_start(program: str) -> str:
    """Return why a program does not start, such as one whose virtual environment was moved; '' where it does."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, timeout=30, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{getattr(error, 'strerror', None) or error}, of it or of the interpreter in its first line"
    said = done.stderr.decode("utf-8", "replace").strip().split("\n")[-1]
    return said or f"exit code {done.returncode}" if done.returncode else ""
