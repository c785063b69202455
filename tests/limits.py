"""What takes power, room or rights away from a test for a while."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond ``size`` bytes, as on a disk with no more room than that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def as_nobody() -> Iterator[None]:
    """Lay down root's power to open everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(0)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Take rights away from what is made, as a shell or cron may have been told to."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Return a disk of 256 KiB, below ``folder``.

    It lives in a process's own view of the files, and so goes away with that process.
    """
    disk = folder / "disk"
    disk.mkdir()
    view = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    mount = f"mount -t tmpfs -o size=256k,mode=700 tmpfs '{disk}' && echo mounted && exec cat"
    with subprocess.Popen([*view, "sh", "-c", mount], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"mounted\n", "these tests need root or user namespaces, for a small disk"
        try:
            yield Path(f"/proc/{process.pid}/root{disk}")
        finally:
            process.kill()


def fill(disk: Path, leaving: int = 0) -> None:
    """Leave so many bytes of room on a disk, and no more."""
    spare = disk / "spare"
    spare.write_bytes(b"x" * leaving)
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(b"x" * 4096):
            pass
    spare.unlink()
