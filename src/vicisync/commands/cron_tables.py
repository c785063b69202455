"""The tables of this machine's cron, to find and switch off what still runs the script that vicisync replaces."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from vicisync.commands.crontab import comment_out
from vicisync.commands.etc_files import put_file
from vicisync.errors import InstallError

CRONTAB = Path("/etc/crontab")
CRON_D = Path("/etc/cron.d")

_NAME = re.compile(r"[A-Za-z0-9_-]+")
"""Cron passes over every other file of cron.d."""


class Table(NamedTuple):
    """One of cron's tables."""

    path: Path | None
    """None is root's crontab, which is the program crontab's to read and write."""
    text: str
    """Bytes that are no UTF-8 are lone surrogates (PEP 383)."""

    @property
    def name(self) -> str:
        """What to call it."""
        return str(self.path or "root's crontab")

    @property
    def with_user(self) -> bool:
        """Whether a user stands before each command."""
        return self.path is not None

    def comment_out(self, line_numbers: Collection[int]) -> None:
        """Make comments of these lines and write the table back; raises OSError or InstallError."""
        data = comment_out(self.text, line_numbers).encode("utf-8", "surrogateescape")
        if self.path and self.path.is_symlink():
            numbers = ", ".join(map(str, sorted(line_numbers)))
            raise InstallError(f"{self.path} is a symbolic link, which install does not follow: remove line {numbers}")
        if self.path:
            put_file(self.path, data, like=self.path.stat())
        else:
            _crontab("-", data)


def tables() -> Iterator[Table]:
    """Read the tables in which root's jobs stand; raises OSError or InstallError for one that cannot be read."""
    yield roots_crontab()
    paths = [CRONTAB]
    if CRON_D.is_dir():
        paths += sorted(path for path in CRON_D.iterdir() if _NAME.fullmatch(path.name))
    for path in paths:
        if path.is_file():
            yield Table(path, _decoded(path.read_bytes()))


def roots_crontab() -> Table:
    """Read root's own crontab, empty where there is none; raises InstallError where it cannot be read."""
    return Table(None, _decoded(_crontab("-l")))


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _crontab(argument: str, data: bytes = b"") -> bytes:
    """Call crontab as it knows itself by its user: no crontab of root's is an empty one, and no cron is none."""
    try:
        done = subprocess.run(  # noqa: S603 -- of two arguments of ours
            ["crontab", argument],  # noqa: S607 -- where it lies differs, and the PATH is root's own
            input=data,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except FileNotFoundError:
        return b""
    if done.returncode and b"no crontab for" not in done.stderr:
        why = _decoded(done.stderr).strip()
        raise InstallError(f"crontab {argument} failed: {why}. Mend that, then try again")
    return done.stdout
