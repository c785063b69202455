"""Who starts vicisync, and who else sends calls: root's crontab, /etc/crontab, /etc/cron.d, and logrotate's files."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from vicisync.commands.check.finding import Finding, broken, fine, warning
from vicisync.commands.cron_tables import Table, roots_crontab
from vicisync.commands.crontab import Job, executable_of, jobs, runs_old_script
from vicisync.commands.install.installed import LOG
from vicisync.errors import ConfigError, InstallError

_CRON_NAME = re.compile(r"[A-Za-z0-9_-]+")
"""Cron passes over every other file of cron.d, such as one with a dot in its name."""

_CRONS_PATH = "/usr/bin:/bin"
"""Where cron looks for commands, if a file sets no PATH."""


def findings(root: Path = Path("/")) -> Iterator[Finding]:
    """Look at what cron and logrotate are told; their files lie below ``root``, the crontab is asked of ``crontab``."""
    tables: list[Table] = []
    unread = []
    try:
        tables.append(_roots_crontab())
    except InstallError as error:
        why, _, cure = str(error).partition(". ")
        unread.append(warning(f"Root's crontab cannot be looked at: {why}", cure or "sudo vicisync check"))
    passed_over = []
    for path in [root / "etc/crontab", *_listed(root / "etc/cron.d")]:
        try:
            text = _text(path)
        except OSError as error:
            unread.append(warning(f"{path} cannot be looked at: {error.strerror}", "sudo vicisync check"))
            continue
        if text is None:
            continue
        if cure := _why_passed_over(path):
            if any(executable_of(job.command) for job in jobs(text, with_user=True)):
                passed_over.append(warning(f"Cron passes {path} over", cure))
        else:
            tables.append(Table(path, text))
    yield from unread
    found = [(table, job) for table in tables for job in jobs(table.text, with_user=table.with_user)]
    ours = list(_ours(found))
    # Where not all could be read, it may stand in what could not.
    nothing = [] if unread else [warning("No cron entry runs vicisync", "vicisync install")]
    yield from ours or passed_over or nothing
    yield from _old_script(found)
    yield _logrotate(root)


def _roots_crontab() -> Table:
    if os.geteuid() != 0:  # crontab would show that of whoever asks
        raise InstallError("only root can list it")
    return roots_crontab()


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # without cron there is none
        return []


def _text(path: Path) -> str | None:
    """Return what a file says; None for what is no file. Raises OSError."""
    return path.read_text("utf-8", "replace") if path.is_file() else None


def _why_passed_over(path: Path) -> str:
    """Return what makes cron read a file that it ignores as it is; '' where it reads it."""
    if path.name != "crontab" and not _CRON_NAME.fullmatch(path.name):
        return f"mv {path} {path.with_name('vicisync')}"
    status = path.stat()
    if status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"chown root {path}; chmod go-w {path}"
    return ""


def _ours(found: list[tuple[Table, Job]]) -> Iterator[Finding]:
    for table, job in found:
        if executable := executable_of(job.command):
            where = f"{table.name} line {job.line_number} runs {executable}"
            if _is_there(executable, _path_of(table.text)):
                yield fine(where)
            else:
                text = f"{where}, which is not there or cannot be executed"
                yield broken(ConfigError.exit_code, text, "vicisync install")


def _is_there(executable: str, path: str) -> bool:
    """Return whether cron finds it; a .pyz is given to a Python and need not be executable itself."""
    zipped = executable.endswith(".pyz") and Path(executable).is_file()
    return zipped or shutil.which(executable, path=path) is not None


def _path_of(text: str) -> str:
    lines = re.findall(r"^\s*PATH\s*=\s*(.*?)\s*$", text, re.MULTILINE)
    return str(lines[-1]).strip("\"'") if lines else _CRONS_PATH


def _old_script(found: list[tuple[Table, Job]]) -> Iterator[Finding]:
    for table, job in found:
        if runs_old_script(job.command):
            text = f"{table.name} line {job.line_number} still runs the old script: both would send every call"
            yield warning(text, "vicisync install --replace-old")


def _logrotate(root: Path) -> Finding:
    for path in [root / "etc/logrotate.conf", *_listed(root / "etc/logrotate.d")]:
        try:
            text = _text(path) or ""
        except OSError as error:
            return warning(f"{path} cannot be looked at: {error.strerror}", "sudo vicisync check")
        if any(LOG.name in line for line in text.splitlines() if not line.lstrip().startswith("#")):
            return fine(f"{path} rotates the log")
    return warning(f"No logrotate entry for {LOG.name}", "vicisync install")
