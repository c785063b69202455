"""The lock that keeps every other run away from the checkpoint: the kernel's own, on a file beside it."""

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vicisync.calls.times import local
from vicisync.errors import AlreadyRunning, CheckpointError
from vicisync.state.files import check_folder, open_in_place, open_regular

UNKNOWN_HOLDER = "who holds it is not known here"
_LOCKS = Path("/proc/locks")  # the kernel's list, which some containers do not show


def lock_file(checkpoint_file: Path) -> Path:
    """Return where the lock of a checkpoint is."""
    return checkpoint_file.with_name(checkpoint_file.name + ".lock")


@contextmanager
def locked(checkpoint_file: Path) -> Iterator[None]:
    """Keep every other run away, as long as this process lives; raise AlreadyRunning or CheckpointError."""
    path = lock_file(checkpoint_file)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_folder(path.parent)
        file = os.fdopen(open_in_place(path, 0), "r+b", 0)
    except OSError as error:
        raise CheckpointError(f"Cannot lock the checkpoint: {path}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            file.write(f"process {os.getpid()} since {local(time.time())}\n".encode())
        except BlockingIOError:
            holder = _holder(file.read(200))
            raise AlreadyRunning(f"Another run is at work ({holder}); this one touched nothing") from None
        except OSError as error:
            raise CheckpointError(f"Cannot lock the checkpoint: {path}: {error.strerror}") from error
        yield


def lock_holder(checkpoint_file: Path) -> str | None:
    """Return who holds the lock and since when; None where nobody does. A try to take it could be in a run's way."""
    try:
        file, status = open_regular(lock_file(checkpoint_file))
    except OSError:
        return None
    with file:
        try:
            locks = _LOCKS.read_text("ascii")
        except OSError:
            return UNKNOWN_HOLDER
        inodes = re.findall(r" FLOCK .* [0-9a-f]+:[0-9a-f]+:([0-9]+) ", locks)
        return _holder(file.read(200)) if str(status.st_ino) in inodes else None


def _holder(written: bytes) -> str:
    return written.decode("ascii", "replace").strip() or "not yet known which"
