"""The checkpoint's file and its lock: read whole, appended to a line at a time, replaced in one step.

What a crash leaves behind: at any instruction either the old file or the new one, plus whole appended lines and
perhaps one torn last line, which the reader ignores. Nothing here ever starts over from a file it cannot read.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from vicisync.calls.times import local
from vicisync.errors import AlreadyRunning, CheckpointError
from vicisync.state.checkpoint import Checkpoint, Damaged, parse, render
from vicisync.state.files import check_folder, create, open_in_place, open_regular, replace_file, write_whole

RESERVE = 64 * 1024
"""Bytes of disk held back while calls are in flight, so that their answers can be recorded on a full disk."""

OLD_CHECKPOINT_MAX_AGE = 2 * 86400
"""Seconds since its last change after which the Perl script's checkpoint is nobody's any more."""

_MENDS = "vicisync reset-checkpoint --to '1h'"
_LARGEST = 256 * 1024 * 1024
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def read_checkpoint(path: Path, give_up_after: int) -> Checkpoint | None:
    """Read the checkpoint; None where there is none yet. Raises CheckpointError where it cannot be trusted."""
    try:
        check_folder(path.parent)
        file, status = open_regular(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"Cannot read the checkpoint {path}: {error.strerror}") from error
    with file:
        try:
            if status.st_size > _LARGEST:
                raise Damaged(f"it is {status.st_size} bytes long, far more than any checkpoint")
            return parse(file.read().decode("ascii"), give_up_after)
        except UnicodeDecodeError as error:
            damage = Damaged(f"byte {error.start} is no text")
        except Damaged as error:
            damage = error
    raise CheckpointError(
        f"The checkpoint {path} is damaged: {damage}. Nothing was sent and the file was left as it is."
        f" To go on from a time of your choice: {_MENDS}"
    ) from damage


def read_old_checkpoint(path: Path, give_up_after: int) -> Checkpoint | None:
    """Take over the Perl script's checkpoint; None where it is missing, stale, or anyone could have planted it."""
    try:
        file, status = open_regular(path)
    except OSError:
        return None
    with file:
        if time.time() - status.st_mtime > OLD_CHECKPOINT_MAX_AGE:
            return None
        try:
            checkpoint = parse(file.read(100).decode("ascii"), give_up_after)
        except ValueError:
            return None
    return checkpoint if checkpoint.end_epoch <= time.time() else None


def lock_file(checkpoint_file: Path) -> Path:
    """Return where the lock of a checkpoint is."""
    return checkpoint_file.with_name(checkpoint_file.name + ".lock")


def lock_holder(checkpoint_file: Path) -> str | None:
    """Return who holds the lock and since when; None where nobody does.

    Asks the kernel for its list: a try to take the lock could itself be in the way of a run that is about to start.
    """
    try:
        file, status = open_regular(lock_file(checkpoint_file))
    except OSError:
        return None
    with file:
        inodes = re.findall(r" FLOCK .* [0-9a-f]+:[0-9a-f]+:([0-9]+) ", Path("/proc/locks").read_text("ascii"))
        return _holder(file.read(200)) if str(status.st_ino) in inodes else None


def _holder(written: bytes) -> str:
    return written.decode("ascii", "replace").strip() or "not yet known which"


class CheckpointFile:
    """The locked checkpoint: as long as this is open, no other run touches it.

    Raises AlreadyRunning when another process holds the lock, CheckpointError when the folder cannot be used.
    The lock is the kernel's, and goes with the process that held it, however that died.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock_fd = -1
        self._fd = -1
        self._size = 0
        self._saved = b""
        self._reserve = path.with_name(path.name + ".reserve")

    def __enter__(self) -> CheckpointFile:
        lock = lock_file(self._path)
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_folder(self._path.parent)
            self._lock_fd = open_in_place(lock, 0)
            try:
                self._take_lock()
            except BaseException:
                os.close(self._lock_fd)
                raise
        except OSError as error:
            raise CheckpointError(f"Cannot lock the checkpoint: {lock}: {error.strerror}") from error
        return self

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(os.pread(self._lock_fd, 200, 0))
            raise AlreadyRunning(f"Another run is at work ({holder}); this one touched nothing") from None
        os.ftruncate(self._lock_fd, 0)
        os.pwrite(self._lock_fd, f"process {os.getpid()} since {local(time.time())}\n".encode(), 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release_reserve()
        if self._fd >= 0:
            os.close(self._fd)
        os.close(self._lock_fd)

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the file by the whole checkpoint in one step, safe against a loss of power."""
        text = render(checkpoint).encode("ascii")
        if text == self._saved and self._size == len(text):
            return  # an idle run has nothing to add to what it saved when it had looked
        try:
            fd = replace_file(self._path, text)
        except OSError as error:
            raise CheckpointError(
                f"Cannot save the checkpoint {self._path}: {error.strerror}."
                " What was delivered stays recorded in it as it was appended"
            ) from error
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size, self._saved = fd, len(text), text

    def begin(self, checkpoint: Checkpoint) -> None:
        """Make ready for appending, before the first call is sent; a disk without room for answers is found here."""
        self.save(checkpoint)
        try:
            fd = create(self._reserve)
            try:
                os.posix_fallocate(fd, 0, RESERVE)
            finally:
                os.close(fd)
        except OSError as error:
            self._release_reserve()
            raise CheckpointError(
                f"No room beside the checkpoint {self._path}: {error.strerror}. Nothing was sent,"
                " since what is sent could not be recorded"
            ) from error

    def append(self, line: str) -> None:
        """Add one line, at once. On a full disk the reserve makes room for it, and CheckpointError ends the run."""
        data = f"{line}\n".encode("ascii")
        try:
            write_whole(self._fd, data)
            self._size += len(data)
        except OSError as error:
            if error.errno not in _DISK_FULL:
                raise CheckpointError(f"Cannot write the checkpoint {self._path}: {error.strerror}") from error
            os.ftruncate(self._fd, self._size)
            self._release_reserve()
            try:
                write_whole(self._fd, data)
                self._size += len(data)
            except OSError:  # no room even now: this one call will be sent again
                os.ftruncate(self._fd, self._size)
            raise CheckpointError(
                f"No room for the checkpoint {self._path}: {error.strerror}. The calls in flight were recorded,"
                " no more were sent; make room, and the next run goes on"
            ) from error

    def _release_reserve(self) -> None:
        with suppress(OSError):  # one that stays behind does no harm: the next run makes its own
            self._reserve.unlink()
