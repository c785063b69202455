"""The rejected file: calls that can never be stored, one JSON line each, kept for a person to look at and fix.

``{"when": …, "why": …, "payload": {…}}`` is a rejected call; ``{"when": …, "delivered": "<uniqueid>"}``: it got through
later. A line is on the disk before its call counts as handled; a crash may leave a torn one.
"""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from vicisync.calls.call import Call, call_of
from vicisync.errors import CheckpointError
from vicisync.state.files import check_folder, fsync_folder, open_in_place, open_regular, replace_file, why, write_whole


def add_rejected(path: Path, why: str, payload: Mapping[str, object]) -> None:
    """Put a call down as rejected, with the payload as it was sent; on the disk on return. Raises CheckpointError."""
    _append(path, {"why": why, "payload": payload})


def add_delivered(path: Path, uniqueid: str) -> None:
    """Note that a rejected call has got through; on the disk on return. Raises CheckpointError."""
    _append(path, {"delivered": uniqueid})


def _append(path: Path, entry: Mapping[str, object]) -> None:
    line = json.dumps({"when": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **entry}).encode("ascii") + b"\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_folder(path.parent)
        with os.fdopen(open_in_place(path, os.O_APPEND), "ab", 0) as file:
            fd = file.fileno()
            size = os.fstat(fd).st_size
            is_torn = size and os.pread(fd, 1, size - 1) != b"\n"
            try:
                write_whole(fd, b"\n" + line if is_torn else line)
            except OSError:
                os.ftruncate(fd, size)
                raise
            os.fsync(fd)
        if not size:
            fsync_folder(path.parent)
    except OSError as error:
        raise CheckpointError(f"Cannot write the rejected file {path}: {why(error, path)}") from error


class Rejected(NamedTuple):
    """The rejected file as it stands."""

    calls: dict[str, Call]  # those still to get through, by uniqueid; where one was rejected twice, as it was last
    unreadable: list[int]  # numbers of the lines that hold no call: torn by a crash, or damaged by an editor


def read_rejected(path: Path) -> Rejected:
    """Read the calls that are still to get through; no file is no calls. Raises CheckpointError."""
    result = Rejected({}, [])
    for number, _, entry in _entries(path):
        if isinstance(entry, Call):
            result.calls[entry.uniqueid] = entry
        elif entry is None:
            result.unreadable.append(number)
        else:
            result.calls.pop(entry, None)
    return result


def reasons(path: Path) -> dict[str, str]:
    """Return when and why each call was rejected that is still to get through, by uniqueid. Raises CheckpointError."""
    found: dict[str, str] = {}
    for _, line, entry in _entries(path):
        if isinstance(entry, Call):
            found[entry.uniqueid] = "{when}: {why}".format(**{"when": "-", "why": "-", **json.loads(line)})
        elif entry is not None:
            found.pop(entry, None)
    return found


def forget_delivered(path: Path) -> None:
    """Write the file anew without the calls that have got through; lines that hold no call stay as they are."""
    remaining = read_rejected(path).calls
    entries = _entries(path)
    calls = {number for number, _, entry in entries if isinstance(entry, Call) and entry.uniqueid in remaining}
    kept = [line for number, line, entry in entries if entry is None or number in calls]
    if len(kept) < len(entries):
        try:
            os.close(replace_file(path, b"".join(line + b"\n" for line in kept)))
        except OSError as error:
            raise CheckpointError(f"Cannot write the rejected file {path}: {why(error, path)}") from error


def _entries(path: Path) -> list[tuple[int, bytes, Call | str | None]]:
    """Return the number of each line that is not empty, the line, and what it says."""
    try:
        check_folder(path.parent)
        with open_regular(path)[0] as file:
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(f"Cannot read the rejected file {path}: {error.strerror}") from error
    return [(number, line, _entry(line)) for number, line in enumerate(lines, 1) if line.strip()]


def _entry(line: bytes) -> Call | str | None:
    """Return the rejected call of a line, or the id of the call that it says was delivered, or None."""
    try:
        entry = json.loads(line)
        return str(entry["delivered"]) if "delivered" in entry else call_of(entry["payload"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
