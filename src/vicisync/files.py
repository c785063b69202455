"""Files that must survive a kill and a loss of power."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import IO

NO_FOLLOW = os.O_NOFOLLOW | os.O_CLOEXEC


def open_regular(path: Path) -> tuple[IO[bytes], os.stat_result]:
    """Open a file for reading; raise OSError for a link, a folder or a pipe in its place."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | NO_FOLLOW)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is not a file; move it away, or name another in dids.conf")
    return os.fdopen(fd, "rb"), status


def create(path: Path) -> int:
    """Make a new file of mode 0600, in the place of any old one, and give its descriptor, for appending."""
    with suppress(FileNotFoundError):
        path.unlink()
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | NO_FOLLOW, 0o600)


def write_whole(fd: int, data: bytes) -> None:
    """Write all of it; a disk that takes only a part is full."""
    if os.write(fd, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def replace_file(path: Path, data: bytes) -> int:
    """Replace a file in one step and give the new one's descriptor, for appending; raise OSError.

    Written beside, synced, renamed over, folder synced: at any moment there is the whole old file or the whole new.
    """
    new = path.with_name(path.name + ".new")
    fd = create(new)
    try:
        write_whole(fd, data)
        os.fsync(fd)
        new.rename(path)
    except OSError:
        os.close(fd)
        new.unlink()
        raise
    try:
        fsync_folder(path.parent)
    except OSError:
        os.close(fd)
        raise
    return fd


def fsync_folder(folder: Path) -> None:
    """Have the disk remember which files a folder holds."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
