"""What runs write: checkpoint, lock, journal and rejected calls, with their folders. Nothing is made or locked here."""

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from shlex import quote

from vicisync.calls.clocks import Verdict, verdict
from vicisync.calls.times import since, zoned
from vicisync.commands.check.finding import Finding, broken, fine, warning
from vicisync.commands.status import LATE
from vicisync.errors import CURE, CheckpointError
from vicisync.report import counted
from vicisync.settings.settings import Settings
from vicisync.state.checkpoint import Damaged
from vicisync.state.files import check_folder, make_room, size_of
from vicisync.state.last_run import last_good_run, last_run_file, read_last_run
from vicisync.state.load import read_checkpoint
from vicisync.state.lock import UNKNOWN_HOLDER, lock_file, lock_holder
from vicisync.state.old_checkpoint import read_old_checkpoint
from vicisync.state.records import Records
from vicisync.state.rejected import read_rejected
from vicisync.state.reserve import RESERVE

_unusable = partial(broken, exit_code=CheckpointError.exit_code)


def findings(settings: Settings) -> Iterator[Finding]:
    """Check the folders, and what lies in those that can be used."""
    folders = {path.parent: _folder(path.parent) for path in (settings.checkpoint_file, settings.rejected_file)}
    yield from folders.values()
    if not folders[settings.checkpoint_file.parent].exit_code:
        yield _checkpoint(settings)
        yield _lock(settings.checkpoint_file)
        yield _journal(settings.journal_file)
        yield from _last_run(settings.checkpoint_file)
    if not folders[settings.rejected_file.parent].exit_code:
        yield from _rejected(settings.rejected_file)


def _folder(folder: Path) -> Finding:
    place = quote(str(folder))
    try:
        check_folder(folder)
    except FileNotFoundError:
        if may_write(next(parent for parent in folder.parents if parent.exists())):
            return fine(f"{folder} does not exist yet; vicisync install makes it, or else the first run")
        return _unusable(f"{folder} does not exist, and cannot be made here", f"as root: mkdir -p -m 700 {place}")
    except OSError as error:
        return _told(f"{folder} cannot be used: {error.strerror}", folder)
    if not may_write(folder):
        return _unusable(f"{folder} cannot be written to", f"as root: chmod 700 {place}, and run vicisync as root")
    disk = os.statvfs(folder)
    if (free := disk.f_bavail * disk.f_frsize) < RESERVE or (disk.f_files and not disk.f_favail):
        left = f"{free} bytes and {disk.f_favail} files"
        return _unusable(f"The disk of {folder} is full: {left} are left", make_room(folder))
    return fine(f"{folder} can be written to")


def may_write(folder: Path) -> bool:
    """Return whether files can be made in a folder."""
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK, effective_ids=True)


def _told(message: str, path: Path) -> Finding:
    """Take the cure from behind the last semicolon of a message; only the system's own have none."""
    text, _, cure = message.rpartition("; ")
    return _unusable(text, cure) if text else _unusable(message, f"to look at it: ls -ld {quote(str(path))}")


def _checkpoint(settings: Settings) -> Finding:
    path = settings.checkpoint_file
    try:
        checkpoint = read_checkpoint(path, settings.give_up_after)
    except CheckpointError as error:
        if isinstance(error.__cause__, Damaged):
            text = f"The checkpoint {path} is damaged: {error.__cause__}"
            return _unusable(text, "vicisync reset-checkpoint")
        return _told(str(error), path)
    if checkpoint:
        seen, now = max(checkpoint.looked_until, checkpoint.ended_after), int(time.time())
        if verdict(seen, now, now) is Verdict.TIME_IS_AHEAD:
            return _unusable(f"The checkpoint {path} lies ahead, at {zoned(seen)}", "vicisync reset-checkpoint")
        watched = counted(len(checkpoint.watching), "call")
        return fine(f"Delivered up to {zoned(checkpoint.end_epoch)}, {watched} watched")
    if last_good_run(path):
        return fine("No checkpoint, though runs have been: the next one says from when on it delivers")
    old, words = read_old_checkpoint(settings.old_checkpoint_file, settings.give_up_after)
    begin = f"delivers what ended in the hour before it{words and f'; {settings.old_checkpoint_file} {words}'}"
    if old:
        begin = f"goes on where the old script stopped, {zoned(old.ended_after)}"
    return fine(f"No checkpoint yet: the first run {begin}")


def _lock(checkpoint_file: Path) -> Finding:
    lock = lock_file(checkpoint_file)
    if holder := lock_holder(checkpoint_file):
        return fine(f"The lock: {holder}" if holder == UNKNOWN_HOLDER else f"A run is at work ({holder})")
    is_file = lock.is_file() and not lock.is_symlink()
    if os.path.lexists(lock) and not (is_file and os.access(lock, os.R_OK | os.W_OK, effective_ids=True)):
        return _unusable(f"{lock} is no file that a run can lock", f"rm -r {quote(str(lock))}")
    return fine("No run is at work, the lock is free")


def _last_run(checkpoint_file: Path) -> Iterator[Finding]:
    """Tell how long ago the last run ended: whatever cron is told, that shows whether runs are started."""
    if last := read_last_run(last_run_file(checkpoint_file)):
        now = int(time.time())
        text = f"The last run ended {since(last.ended, now)}, with exit code {last.exit_code}"
        if abs(now - last.ended) > LATE and not lock_holder(checkpoint_file):
            cure = f"{'timedatectl set-ntp true; ' if last.ended > now else ''}systemctl status cron"
            yield warning(f"{text}; cron starts one every minute", cure)
        else:
            yield warning(text, "vicisync status") if last.exit_code else fine(text)


def _rejected(path: Path) -> Iterator[Finding]:
    try:
        calls, unreadable = read_rejected(path)
    except CheckpointError as error:
        yield _told(str(error), path)
        return
    if unreadable:
        lines = ", ".join(map(str, unreadable[:5])) + (", …" if unreadable[5:] else "")
        text = f"{path} holds no call in {'line' if len(unreadable) == 1 else 'lines'} {lines}"
        yield warning(text, f"look at it: less -N {quote(str(path))}")
    if calls:
        have = "has" if len(calls) == 1 else "have"
        text = f"{counted(len(calls), 'call')} {have} been rejected; {path} says why"
        yield warning(text, "vicisync retry-rejected")
    elif not unreadable:
        yield fine("No rejected calls")


def _journal(path: Path) -> Finding:
    """Tell whether it can be read; what is wrong with it costs no call."""
    if not size_of(path):
        return fine("No journal yet: the first run that sends a call begins it")
    try:
        with Records(path, None):
            return fine(f"The journal {path} can be read")
    except CheckpointError as error:
        return warning(*str(error).partition(CURE)[::2])
