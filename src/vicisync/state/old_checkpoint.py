"""The checkpoint of the old scripts, in /tmp: where the very first run goes on, if nobody else can have planted it."""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from vicisync.calls.times import ago
from vicisync.state.checkpoint import Checkpoint, Damaged, Handled, parse
from vicisync.state.files import open_regular

OLD_CHECKPOINT_MAX_AGE = 2 * 86400
"""Seconds since its last change after which it is nobody's any more."""

LOG = Path("/var/log/astguiclient/did-optimizer-sync.log")
"""Of the script that leaves the id of a call."""

_SENT = re.compile(r"✓ (([0-9]{9,10})\.[0-9]{1,9}): ".encode())
_LOG_TAIL = 1024 * 1024  # bytes of the log that are read: a batch of the script's takes a quarter


class OldCheckpoint(NamedTuple):
    """What the file says."""

    checkpoint: Checkpoint | None
    words: str  # what it holds; or why it does not count, as the end of a sentence about it


def read_old_checkpoint(path: Path, give_up_after: int) -> OldCheckpoint | None:
    """Return what the old script left, a time or the id of the last call that it sent; None where there is no file.

    Of the calls that began before that one and ended after, the script has sent some and lost others: which of them it
    has sent, its log tells.
    """
    try:
        file, status = open_regular(path)
        with file:
            text = file.read(100).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        return OldCheckpoint(None, f"does not count: {error.strerror}")
    if (age := int(time.time() - status.st_mtime)) > OLD_CHECKPOINT_MAX_AGE:
        return OldCheckpoint(None, f"is {ago(age)} old, too old to go on from")
    if not text:
        return OldCheckpoint(None, "is empty")
    try:
        checkpoint = parse(text, give_up_after)
    except Damaged:
        return OldCheckpoint(None, "holds neither a time nor the id of a call")
    if checkpoint.end_epoch > time.time():
        return OldCheckpoint(None, f"lies ahead: {text}")
    if "." in text and ":" not in text:
        checkpoint.handled.update({text: Handled(checkpoint.end_epoch, None), **dict(_sent())})
    return OldCheckpoint(checkpoint, text)


def _sent() -> Iterator[tuple[str, Handled]]:
    """Yield the calls of which the log's end says that they were sent."""
    with suppress(OSError):
        file, status = open_regular(LOG)
        with file:
            file.seek(max(0, status.st_size - _LOG_TAIL))
            for uniqueid, start in _SENT.findall(file.read(_LOG_TAIL)):
                yield uniqueid.decode(), Handled(int(start), None)
