"""The rejected file: calls that can never be stored, one JSON line each, kept for a person to look at.

What a crash leaves behind: whole lines, each on the disk before its call counts as dealt with, and perhaps one torn
line, after which the next one starts afresh.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from vicisync.errors import CheckpointError


def add_rejected(path: Path, why: str, payload: Mapping[str, object]) -> None:
    """Put a call down as rejected: when, why, and the payload as it was sent.

    Returns once the line is on the disk; raises CheckpointError where it cannot be.
    """
    entry = {"when": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "why": why, "payload": payload}
    line = json.dumps(entry, ensure_ascii=True).encode("ascii") + b"\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(path, flags, 0o600)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                line = b"\n" + line
            if os.write(fd, line) < len(line):
                os.ftruncate(fd, size)
                raise OSError("no room for the whole line")
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise CheckpointError(
            f"Cannot write the rejected file {path}: {error.strerror or error}; the call stays watched"
        ) from error
