"""What runs write: the folders, the checkpoint, its lock and the rejected calls. Nothing is made or locked here."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from vicisync.calls.times import local
from vicisync.commands.check.finding import Finding, Severity, broken, fine, warning
from vicisync.errors import CheckpointError
from vicisync.report import counted
from vicisync.settings.settings import Settings
from vicisync.state.checkpoint import Damaged
from vicisync.state.files import check_folder
from vicisync.state.load import read_checkpoint, read_old_checkpoint
from vicisync.state.lock import lock_file, lock_holder
from vicisync.state.rejected import read_rejected
from vicisync.state.store import RESERVE

_FORGOTTEN = ("/tmp", "/run", "/var/run", "/dev/shm")  # noqa: S108 -- to warn of them
"""Folders that a reboot empties."""


def findings(settings: Settings) -> Iterator[Finding]:
    """Check the folders, and what lies in those that can be used."""
    usable = {}
    for folder in dict.fromkeys((settings.checkpoint_file.parent, settings.rejected_file.parent)):
        found = _folder(folder)
        yield found
        usable[folder] = found.severity is not Severity.BROKEN
    if usable[settings.checkpoint_file.parent]:
        yield _checkpoint(settings)
        yield _lock(settings.checkpoint_file)
    if usable[settings.rejected_file.parent]:
        yield from _rejected(settings.rejected_file)


def _folder(folder: Path) -> Finding:
    place = shlex.quote(str(folder))
    try:
        check_folder(folder)
    except FileNotFoundError:
        above = next(parent for parent in folder.parents if parent.exists())
        if _may_write(above) and above.is_dir():
            return fine(f"{folder} does not exist yet; vicisync install makes it, or else the first run")
        return _unusable(f"{folder} does not exist, and cannot be made here", f"as root: mkdir -p -m 700 {place}")
    except OSError as error:
        return _told(f"{folder} cannot be used: {error.strerror}", folder)
    if not _may_write(folder) or not folder.is_dir():
        return _unusable(f"{folder} cannot be written to", f"as root: chmod 700 {place}, and run vicisync as root")
    disk = os.statvfs(folder)
    if (free := disk.f_bavail * disk.f_frsize) < RESERVE:
        return _unusable(f"The disk of {folder} is full: {free} bytes are left", f"make room: df -h {place}")
    real = folder.resolve()
    if emptied := [name for name in _FORGOTTEN if Path(name) in (real, *real.parents)]:
        cure = "in [vicisync]: checkpoint_file=/var/lib/vicisync/checkpoint, and rejected_file beside it"
        return warning(f"{folder} does not survive a reboot: it lies under {emptied[0]}", cure)
    return fine(f"{folder} can be written to")


def _unusable(text: str, cure: str) -> Finding:
    return broken(CheckpointError.exit_code, text, cure)


def _told(message: str, path: Path) -> Finding:
    """Take the cure from behind the last semicolon of a message; only the system's own have none."""
    text, _, cure = message.rpartition("; ")
    return _unusable(text, cure) if text else _unusable(message, f"to look at it: ls -ld {shlex.quote(str(path))}")


def _may_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=True)


def _checkpoint(settings: Settings) -> Finding:
    path = settings.checkpoint_file
    try:
        checkpoint = read_checkpoint(path, settings.give_up_after)
    except CheckpointError as error:
        if isinstance(error.__cause__, Damaged):
            text = f"The checkpoint {path} is damaged: {error.__cause__}"
            return _unusable(text, "to go on from an hour ago: vicisync reset-checkpoint --to 1h")
        return _told(str(error), path)
    if checkpoint:
        watched = counted(len(checkpoint.watching), "call")
        return fine(f"Delivered up to {local(checkpoint.end_epoch)}, {watched} watched")
    old = read_old_checkpoint(settings.old_checkpoint_file, settings.give_up_after)
    if old:
        stopped = f"where the old script stopped, {local(old.ended_after)}"
        return fine(f"No checkpoint yet: the first run goes on {stopped}")
    return fine("No checkpoint yet: the first run delivers what ended in the hour before it")


def _lock(checkpoint_file: Path) -> Finding:
    lock = lock_file(checkpoint_file)
    holder = lock_holder(checkpoint_file)
    if holder:
        return fine(f"A run is at work ({holder})")
    if lock.is_symlink() or (
        lock.exists() and not (lock.is_file() and os.access(lock, os.R_OK | os.W_OK, effective_ids=True))
    ):
        return _unusable(f"{lock} is no file that a run can lock", f"rm -r {shlex.quote(str(lock))}")
    return fine("No run is at work, the lock is free")


def _rejected(path: Path) -> Iterator[Finding]:
    try:
        rejected = read_rejected(path)
    except CheckpointError as error:
        yield _told(str(error), path)
        return
    if rejected.unreadable:
        lines = ", ".join(map(str, rejected.unreadable[:5])) + (", …" if rejected.unreadable[5:] else "")
        which = "line" if len(rejected.unreadable) == 1 else "lines"
        yield warning(f"{path} holds no call in {which} {lines}", f"look at it: less -N {shlex.quote(str(path))}")
    if rejected.calls:
        have = "call has" if len(rejected.calls) == 1 else "calls have"
        yield warning(f"{len(rejected.calls)} {have} been rejected; {path} says why", "vicisync retry-rejected")
    elif not rejected.unreadable:
        yield fine("No rejected calls")
