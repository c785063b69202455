"""Who starts vicisync, who else sends calls, and who rotates the log: cron's tables and logrotate's files."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from vicisync.commands.check.finding import Finding, broken, fine, warning
from vicisync.commands.cron import OLD_SCRIPT, VICISYNC, Table, lines_that_run, tables
from vicisync.commands.install import LOG
from vicisync.errors import ConfigError


def findings(root: Path = Path("/")) -> Iterator[Finding]:
    """Read what cron and logrotate are told; their files lie below ``root``, the crontab is asked of ``crontab``."""
    found = list(tables(root))
    unread = [_unreadable(table.name, table.unread) for table in found if table.unread]
    ours = lines_that_run(VICISYNC, found)
    ignored = [table for table in found if table.ignored and table.find(VICISYNC)]
    yield from unread
    jobs_of_ours = [_job(table, number, program) for table, jobs in ours for number, program in jobs.items()]
    yield from jobs_of_ours
    if sum(not job.exit_code for job in jobs_of_ours) > 1:
        yield warning("More than one job runs vicisync; each minute, one finds the other at work", "leave one of them")
    if not ours:
        yield from (warning(f"Cron ignores {table.name}", table.ignored) for table in ignored)
    if not (ours or ignored or unread):  # where not all could be read, it may stand in what could not
        yield warning("No cron entry runs vicisync", "vicisync install")
    for table, jobs in lines_that_run(OLD_SCRIPT, found):
        for number in jobs:
            text = f"{table.name} line {number} still runs the old script: each call would be sent twice"
            yield warning(text, "vicisync install --replace-old")
    yield _logrotate(root)


def _unreadable(name: object, why: str) -> Finding:
    return warning(f"{name} cannot be read: {why}", "sudo vicisync check" if os.geteuid() else "")


def _job(table: Table, number: int, program: str) -> Finding:
    text = f"{table.name} line {number} runs {program}"
    paths = re.findall(r"^\s*PATH\s*=\s*(.*?)\s*$", table.text, re.MULTILINE)
    path = str(paths[-1]).strip("\"'") if paths else "/usr/bin:/bin"  # cron's own
    is_zip = program.endswith(".pyz") and Path(program).is_file()  # which Python runs, executable or not
    if is_zip or shutil.which(program, path=path):
        return fine(text)
    return broken(f"{text}, which is not there or cannot be executed", "vicisync install", ConfigError.exit_code)


def _logrotate(root: Path) -> Finding:
    for path in [root / "etc/logrotate.conf", *sorted((root / "etc/logrotate.d").glob("*"))]:
        try:
            text = path.read_text("utf-8", "replace") if path.is_file() else ""
        except OSError as error:
            return _unreadable(path, str(error.strerror))
        if re.search(rf"^[^#\n]*{re.escape(LOG.name)}", text, re.MULTILINE):
            return fine(f"{path} rotates the log")
    return warning(f"No logrotate entry for {LOG.name}", "vicisync install")
