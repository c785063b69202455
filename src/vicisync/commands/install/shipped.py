"""The files of ``deploy/`` as they are written to a machine: with the command that is to run, and a mark.

The mark is a first line with a digest of the rest. By it a file that install wrote, and that nobody has changed since,
can be told from one that an administrator has made his own, whichever version wrote it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from vicisync.errors import InstallError

_AS_SHIPPED = "/usr/local/bin/vicisync run "
"""How the jobs of ``deploy/cron/vicisync`` call the command."""


def shipped(name: str) -> bytes:
    """Return a file of ``deploy/``, such as ``cron/vicisync``: from the package (in a zip, too) or the checkout."""
    folder = files("vicisync") / "deploy"
    if not folder.is_dir():  # a checkout, which an editable installation runs from
        folder = Path(__file__).parents[4] / "deploy"
    for part in name.split("/"):
        folder = folder / part
    return folder.read_bytes()


def cron_text(command: Sequence[str], configuration_files: Mapping[str, Path]) -> bytes:
    """Return ``cron/vicisync`` with this command in place of its own, and these options behind ``run``.

    Raises InstallError for a path that cannot stand there.
    """
    words = [*command, "run"]
    for option, path in configuration_files.items():
        words += [option, str(path)]
    quoted = " ".join(shlex.quote(word) for word in words)
    if "%" in quoted or not quoted.isprintable():
        raise InstallError(
            f"Cron cannot run {quoted!r}: it takes a percent sign for the end of the command, and no line may hold"
            " control characters. Give the folder or file another name, or call it by a symbolic link"
        )
    return shipped("cron/vicisync").decode("utf-8").replace(_AS_SHIPPED, f"{quoted} ").encode("utf-8")


def command_of(called: str, python: str) -> list[str]:
    """Return the words by which cron can call what was called as ``called`` (``sys.argv[0]``), run by ``python``.

    Symbolic links stay as they are: one such as /usr/local/bin/vicisync is there to outlive what it points to. Raises
    InstallError where there is no such file.
    """
    path = os.path.abspath(called)  # noqa: PTH100 -- Path.resolve would follow the links
    if not os.path.isfile(path):  # noqa: PTH113
        raise InstallError(f"There is no file {path} that cron could run: call vicisync by its absolute path")
    if os.path.basename(path) == "__main__.py":  # noqa: PTH119
        return [python, "-m", "vicisync"]
    # Of what a .pyz names as its interpreter, env python3, cron may find another one, or none.
    if zipfile.is_zipfile(path) or not os.access(path, os.X_OK):
        return [python, path]
    return [path]


_MARK = re.compile(rb'(?:#|\.\\") Written by vicisync install; sha256 of the lines below: ([0-9a-f]{64})\n')


def marked(content: bytes, comment: str) -> bytes:
    """Put the mark before what a file is to hold; ``comment`` is the sign with which its comments begin."""
    digest = hashlib.sha256(content).hexdigest()
    return f"{comment} Written by vicisync install; sha256 of the lines below: {digest}\n".encode("ascii") + content


def is_unchanged(found: bytes, as_shipped: bytes) -> bool:
    """Return whether a file holds what this or another version of install wrote, or just what ``deploy/`` holds."""
    mark = _MARK.match(found)
    if mark is None:
        return found == as_shipped
    return hashlib.sha256(found[mark.end() :]).hexdigest().encode("ascii") == mark[1]
