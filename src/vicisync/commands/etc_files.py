"""Files of the machine that others own and read too: looked at without following links, replaced in one step."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from vicisync.state.files import fsync_folder, write_whole


def content_of(path: Path) -> bytes | None:
    """Return what stands in a plain file; None for a link, a folder or anything else. Raises OSError.

    FileNotFoundError says that there is nothing at all.
    """
    return path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else None


def is_roots(path: Path) -> bool:
    """Return whether nobody but its owner, root or us, can write to a file, without which cron passes it over."""
    status = path.lstat()
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def put_file(path: Path, data: bytes, *, mode: int = 0o644, like: os.stat_result | None = None) -> None:
    """Put a file in place, whole from the first moment, with this mode, or with mode and owner of ``like``.

    Raises OSError. A link in its place is replaced itself. Neither cron nor logrotate reads the file that is renamed
    over it: they pass such names over.
    """
    fd, name = tempfile.mkstemp(prefix=".vicisync-", suffix="~", dir=path.parent)
    beside = Path(name)
    try:
        write_whole(fd, data)
        if like:
            os.fchown(fd, like.st_uid, like.st_gid)
        os.fchmod(fd, stat.S_IMODE(like.st_mode) if like else mode)
        os.fsync(fd)
        beside.rename(path)
    except OSError:
        beside.unlink()
        raise
    finally:
        os.close(fd)
    fsync_folder(path.parent)
