"""A machine of a test's own: this one's programs, with another /etc, /var/log, /var/spool/cron and /run.

The folders lie in a private mount namespace: only processes that are started in it see them, and it goes with them.
"""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from rehearsal.site import COMMAND

ROOT = Path(__file__).parents[1]

CRON_D, LOGROTATE_D = "etc/cron.d/vicisync", "etc/logrotate.d/vicisync"
LOG = "var/log/did-optimizer-sync.log"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root installs, and has mounts of his own")

_OWN = ("etc", "run", "var/log", "var/spool/cron")
_OF_ETC = (
    "passwd", "group", "shadow", "nsswitch.conf", "pam.d", "security", "login.defs", "environment", "default", "hosts",
    "ld.so.cache", "localtime", "crontab", "resolv.conf", "ssl", "alternatives", "debian_version",
)  # fmt: skip
"""What the programs here need of /etc: cron and crontab who root is, and Python the time zone."""


@dataclass(frozen=True)
class Machine:
    """What its programs see below ``/`` is below ``folder`` for us, as far as it is its own."""

    folder: Path
    pid: int

    def inside(self, *command: str | Path) -> list[str | Path]:
        """Return the command line that runs a command on this machine."""
        return ["nsenter", f"--mount=/proc/{self.pid}/ns/mnt", "--", *command]

    def run(
        self, *command: str | Path, environment: Mapping[str, str] | None = None, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, with its environment and input."""
        return subprocess.run(
            self.inside(*command), env=environment, input=text, cwd="/", capture_output=True, encoding="utf-8",
            check=False, timeout=60,
        )  # fmt: skip

    def vicisync(self, *arguments: str, environment: Mapping[str, str], code: int = 0) -> str:
        """Run the installed command, which has to exit with ``code``, and give all that it said."""
        done = self.run(COMMAND, *arguments, environment=environment)
        said = done.stdout + done.stderr
        assert code == done.returncode, said
        assert "Traceback" not in said
        return said

    def path(self, name: str) -> Path:
        """Return the path by which we see ``/name``."""
        return self.folder / name

    def state(self) -> dict[str, tuple[object, ...]]:
        """Return what is there: by path its kind, mode, owner, content, inode and time of change."""
        return {
            str(path.relative_to(self.folder)): _described(path)
            for name in _OWN if name != "run" for path in (self.folder / name).rglob("*")
        }  # fmt: skip

    def names(self) -> set[str]:
        """Return the paths of what is there."""
        return set(self.state())


def _described(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
    changed = stat.S_ISDIR(status.st_mode) or status.st_mtime_ns
    return status.st_mode, status.st_uid, status.st_gid, content, status.st_ino, changed


@contextmanager
def machine(folder: Path, *more: str) -> Iterator[Machine]:
    """Start a machine, with cron and logrotate installed and nothing of ours, below ``folder``.

    ``more`` are further folders of its own, such as ``opt``.
    """
    own = (*_OWN, *more)
    for name in (*own, "etc/cron.d", "etc/logrotate.d", "var/spool/cron/crontabs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "var/spool/cron/crontabs").chmod(0o1730)
    shutil.chown(folder / "var/spool/cron/crontabs", "root", "crontab")
    present = [f"/etc/{name}" for name in _OF_ETC if Path(f"/etc/{name}").exists()]
    subprocess.run(["cp", "-a", *present, folder / "etc"], check=True)
    shutil.copy("/bin/cat", folder / "run" / "cron")  # what holds the machine passes for its cron daemon, too
    mounts = "".join(f"mount --rbind '{folder}/{name}' /{name} && " for name in own if Path(f"/{name}").is_dir())
    for used in {ROOT, Path(sys.prefix)}:  # the program itself may lie below a folder that is now the machine's own
        if any(used.is_relative_to(f"/{name}") for name in own):
            place = folder / used.relative_to("/")
            place.mkdir(parents=True, exist_ok=True)
            mounts = f"mount --bind '{used}' '{place}' && {mounts}"
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", f"{mounts}echo ready; exec /run/cron"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/",
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", "no mounts of our own: is this a container without that right?"
        try:
            made = Machine(folder, process.pid)
            # Where "/" is that of a chroot, nsenter leaves it, and what follows would change the machine around it.
            (folder / "run" / "of-a-test").write_text(str(folder))
            assert str(folder) == made.run("cat", "/run/of-a-test").stdout, "what runs inside is not on this machine"
            yield made
        finally:
            for pid in _on(process.pid):  # a job of cron outlives it
                os.kill(pid, signal.SIGKILL)


def _on(first: int) -> Iterator[int]:
    """Return the processes that share the folders of one, that one too."""
    shared = Path(f"/proc/{first}/ns/mnt").readlink()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            if (entry / "ns" / "mnt").readlink() == shared:
                yield int(entry.name)
