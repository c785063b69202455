"""The checkpoint of the old scripts, in /tmp: where the very first run goes on, if nobody else can have planted it."""

import re
import time
from contextlib import suppress
from pathlib import Path

from vicisync.calls.times import ago
from vicisync.state.checkpoint import Checkpoint, Damaged, Handled, parse
from vicisync.state.files import open_regular

OLD_CHECKPOINT_MAX_AGE = 2 * 86400  # seconds since its last change after which it is nobody's any more
LOG = Path("/var/log/astguiclient/did-optimizer-sync.log")  # of the script that leaves the id of a call
_SENT = re.compile(r"✓ (([0-9]{9,10})\.[0-9]{1,9}): ".encode())
_LOG_TAIL = 1024 * 1024  # bytes of the log that are read: a batch of the script's takes a quarter


def read_old_checkpoint(path: Path, give_up_after: int) -> tuple[Checkpoint | None, str]:
    """Return what the old script left, a time or the id of the last call that it sent, and the file's words for it.

    Of the calls that began before that one and ended after, the script has sent some and lost others: which of them it
    has sent, its log tells. Without a checkpoint, the words are why the file does not count; '' where there is none.
    """
    try:
        file, status = open_regular(path)
        with file:
            text = file.read(100).decode("ascii", "replace").strip()
        checkpoint = parse(text or "-", give_up_after)
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"does not count: {error.strerror}"
    except Damaged:
        return None, "holds neither a time nor the id of a call" if text else "is empty"
    if (age := int(time.time() - status.st_mtime)) > OLD_CHECKPOINT_MAX_AGE:
        return None, f"is {ago(age)} old, too old to go on from"
    if checkpoint.end_epoch > time.time():
        return None, f"lies ahead: {text}"
    if "." in text and ":" not in text:
        checkpoint.handled = {text: Handled(checkpoint.end_epoch, None), **_sent()}
    return checkpoint, text


def _sent() -> dict[str, Handled]:
    """Return the calls of which the log's end says that they were sent."""
    with suppress(OSError):
        file, status = open_regular(LOG)
        with file:
            file.seek(max(0, status.st_size - _LOG_TAIL))
            return {call.decode(): Handled(int(start), None) for call, start in _SENT.findall(file.read(_LOG_TAIL))}
    return {}
