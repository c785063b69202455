"""The lock that keeps every other run away from the checkpoint: the kernel's own, on a file beside it."""

from __future__ import annotations

import fcntl
import os
import re
import time
from pathlib import Path
from types import TracebackType

from vicisync.calls.times import local
from vicisync.errors import AlreadyRunning, CheckpointError
from vicisync.state.files import check_folder, open_in_place, open_regular


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


class Lock:
    """While this context is open, no other run touches the checkpoint.

    Raises AlreadyRunning where another process holds the lock, CheckpointError where the folder cannot be used. The
    lock goes with the process that held it, however that died.
    """

    def __init__(self, checkpoint_file: Path) -> None:
        self._path = lock_file(checkpoint_file)
        self._fd = -1

    def __enter__(self) -> Lock:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_folder(self._path.parent)
            self._fd = open_in_place(self._path, 0)
            try:
                self._take()
            except BaseException:
                os.close(self._fd)
                raise
        except OSError as error:
            raise CheckpointError(f"Cannot lock the checkpoint: {self._path}: {error.strerror}") from error
        return self

    def _take(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(os.pread(self._fd, 200, 0))
            raise AlreadyRunning(f"Another run is at work ({holder}); this one touched nothing") from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"process {os.getpid()} since {local(time.time())}\n".encode(), 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
