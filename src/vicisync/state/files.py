"""Files that must survive a kill and a loss of power, and that nobody else may plant, lead astray or read."""

import errno
import os
import shlex
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from vicisync.errors import CURE

NO_FOLLOW = os.O_NOFOLLOW | os.O_CLOEXEC
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def size_of(path: Path) -> int:
    """Return how many bytes a file has; 0 where there is none, or none that can be asked."""
    with suppress(OSError):
        return path.stat().st_size
    return 0


def make_room(folder: Path) -> str:
    """Return the cure where a disk is full: it may be of files, too, while there is room in them."""
    return f"make room: df -h --output=target,avail,iavail {shlex.quote(str(folder))}"


def why(error: OSError, path: Path, *more: str) -> str:
    """Return the system's words, ``more`` of ours, and the cure where that is known: the disk is full."""
    cure = f"{CURE}{make_room(path.parent)}" if error.errno in DISK_FULL else ""
    return ". ".join([str(error.strerror), *more]) + cure


def check_folder(folder: Path) -> None:
    """Raise OSError, the cure in its words, where others could put a link or a file of theirs into a folder."""
    status = folder.stat()
    place = shlex.quote(str(folder))
    if not _is_ours(status):
        raise OSError(errno.EPERM, f"its folder belongs to another account; chown {os.geteuid() or 'root'} {place}")
    if status.st_mode & 0o022:  # of /tmp, which every program needs as it is, no mode is changed
        cure = "name another in dids.conf" if status.st_mode & stat.S_ISVTX else f"chmod go-w {place}"
        raise OSError(errno.EPERM, f"others can write to its folder {folder}, and put anything in its place; {cure}")


def open_regular(path: Path) -> tuple[IO[bytes], os.stat_result]:
    """Open a file for reading; raise OSError for a link, a folder or a pipe in its place, or a file of another's."""
    fd = open_ours(path, os.O_RDONLY)
    return os.fdopen(fd, "rb"), os.fstat(fd)


def open_in_place(path: Path, flags: int) -> int:
    """Open a file for writing into it as it stands, made with mode 0600 where there is none; raise OSError as above."""
    fd = open_ours(path, os.O_RDWR | os.O_CREAT | flags)
    try:
        _check_names(os.fstat(fd))
    except OSError:
        os.close(fd)
        raise
    return fd


def make_in_place(path: Path) -> None:
    """Make a file with mode 0600 where there is none; raise OSError as above for what is there, without opening it.

    To close a file takes away the locks that SQLite has on it anywhere in this process, as POSIX has it.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW, 0o600))
    except FileExistsError:
        status = path.lstat()
        _check(status, path)
        _check_names(status)


def open_ours(path: Path, flags: int) -> int:
    """Open a file that is one, and ours or root's, without waiting for it; raise OSError likewise."""
    try:
        fd = os.open(path, flags | os.O_NONBLOCK | NO_FOLLOW, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            _check(path.lstat(), path)
        raise
    try:
        _check(os.fstat(fd), path)
    except OSError:
        os.close(fd)
        raise
    return fd


def _check(status: os.stat_result, path: Path) -> None:
    """Raise OSError for what is no file, or another's."""
    if stat.S_ISLNK(status.st_mode):
        cure = "remove it, or name the file itself in dids.conf"
        raise OSError(errno.ELOOP, f"it is a symbolic link, which vicisync does not follow; {cure}")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a file; move it away, or name another in dids.conf")
    if not _is_ours(status):
        cure = f"look into it, then remove it or chown {os.geteuid() or 'root'} {shlex.quote(str(path))}"
        raise OSError(errno.EPERM, f"it belongs to another account; {cure}")


def _check_names(status: os.stat_result) -> None:
    if status.st_nlink > 1:  # what is written to it would be written to a file somewhere else
        raise OSError(errno.EMLINK, "it has a second name, elsewhere (a hard link); remove this one")


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid in (0, os.geteuid())


def create(path: Path) -> int:
    """Make a new file of mode 0600, in the place of any old one, and return its descriptor, for appending."""
    path.unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | NO_FOLLOW, 0o600)


def write_whole(fd: int, data: bytes) -> None:
    """Write all of it; a disk that takes only a part is full."""
    if os.write(fd, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def replace_file(
    path: Path, data: bytes, mode: int = 0o600, *, beside: str = "{}.new", owner: tuple[int, int] | None = None
) -> int:
    """Replace a file in one step and return the new one's descriptor, for appending; raise OSError.

    Written ``beside``, synced, renamed over, folder synced: at any moment there is the whole old file or the whole new.
    ``owner`` is its user and group id; without it, the file is ours.
    """
    fd = put_in_place(path, data, mode, beside=beside, owner=owner)
    try:
        fsync_folder(path.parent)
    except OSError:
        close(fd)
        raise
    return fd


def put_in_place(
    path: Path,
    data: bytes,
    mode: int = 0o600,
    *,
    beside: str = "{}.new",
    owner: tuple[int, int] | None = None,
    before: Callable[[int], None] = lambda _: None,
) -> int:
    """Replace a file likewise, but for its folder: that is the caller's to sync, who has the new file by then.

    ``before`` is called with the new file's descriptor when it is whole, and keeps it from its place by an exception.
    """
    new = path.with_name(beside.format(path.name))
    fd = create(new)
    try:
        write_whole(fd, data)
        if owner:
            os.fchown(fd, *owner)
        os.fchmod(fd, mode)
        os.fsync(fd)
        before(fd)
        new.rename(path)
    except BaseException:
        close(fd)
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    return fd


def close(fd: int) -> None:
    """Close a descriptor whose content is synced, or does not matter any more."""
    with suppress(OSError):  # Linux has closed it then, too
        os.close(fd)


Version = tuple[int, ...]


def version_of(status: os.stat_result) -> Version:
    """Return what changes when anybody writes a file, or puts another in its place."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def fsync_folder(folder: Path) -> None:
    """Have the disk remember which files a folder holds."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
