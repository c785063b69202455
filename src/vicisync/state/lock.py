"""The lock that keeps every other run away from the checkpoint: the kernel's own, on a file beside it and on itself.

Either can be removed while a run is at work, and the other still holds: the store locks each checkpoint that it puts
in the place of the one before.
"""

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from vicisync.calls.times import local
from vicisync.errors import AlreadyRunning, CheckpointError
from vicisync.state.files import check_folder, close, open_in_place, open_ours, open_regular, why, write_whole

UNKNOWN_HOLDER = "who holds it is not known here"
_NAMELESS = "{}; its lock file was removed"
_LOCKS = Path("/proc/locks")  # the kernel's list, which some containers do not show


def lock_file(checkpoint_file: Path) -> Path:
    """Return where the lock of a checkpoint is."""
    return checkpoint_file.with_name(checkpoint_file.name + ".lock")


@contextmanager
def locked(checkpoint_file: Path) -> Iterator[None]:
    """Keep every other run away, as long as this process lives; raise AlreadyRunning or CheckpointError."""
    path = lock_file(checkpoint_file)
    with ExitStack() as stack:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_folder(path.parent)
            fd = open_in_place(path, 0)
            stack.callback(close, fd)
            if not lock(fd):
                raise _already_running(_holder(os.pread(fd, 200, 0)))
            _lock_itself(checkpoint_file, stack)
            os.ftruncate(fd, 0)
            write_whole(fd, f"process {os.getpid()} since {local(time.time())}\n".encode())
        except OSError as error:
            raise CheckpointError(f"Cannot lock the checkpoint: {path}: {why(error, path)}") from error
        yield


def _lock_itself(checkpoint_file: Path, stack: ExitStack) -> None:
    try:
        fd = open_ours(checkpoint_file, os.O_RDONLY)
    except OSError:  # there is none yet, or it is no good, as whoever reads it will say
        return
    stack.callback(close, fd)
    if not lock(fd) or not os.fstat(fd).st_nlink:  # without a name: a run has just put another in its place
        raise _already_running(_NAMELESS.format(_locker(fd) or UNKNOWN_HOLDER))


def lock(fd: int) -> bool:
    """Lock a file; return False where another has. Raises OSError."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_holder(checkpoint_file: Path) -> str | None:
    """Return who holds the lock and since when; None where nobody does. A try to take it could be in a run's way."""
    for path in (lock_file(checkpoint_file), checkpoint_file):
        with suppress(OSError), open_regular(path)[0] as file:
            process = _locker(file.fileno())
            if process == UNKNOWN_HOLDER:
                return process
            if process:
                return _NAMELESS.format(process) if path == checkpoint_file else _holder(file.read(200))
    return None


def _locker(fd: int) -> str | None:
    """Return which process has locked a file, as far as the kernel shows it."""
    try:
        locks = _LOCKS.read_text("ascii")
    except OSError:
        return UNKNOWN_HOLDER
    found = re.search(rf" FLOCK .* (\S+) [0-9a-f]+:[0-9a-f]+:{os.fstat(fd).st_ino} ", locks)
    return found and f"process {found[1]}"


def _already_running(holder: str) -> AlreadyRunning:
    return AlreadyRunning(f"Another run is at work ({holder}); this one touched nothing")


def _holder(written: bytes) -> str:
    return written.decode("ascii", "replace").strip() or "not yet known which"
