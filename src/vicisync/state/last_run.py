"""The result of the last run, in a file for `vicisync status` and the metrics' counters; it decides about no call."""

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from vicisync.state.files import open_regular, replace_file


@dataclass(frozen=True)
class LastRun:
    """The result of the last run, and what all runs have done since this file began."""

    ended: int  # epoch
    exit_code: int
    error: str | None  # the sentence that ended it, where one did
    seconds: float
    poll_seconds: float  # of those, spent on the database
    lag: int  # seconds for which the oldest deliverable call had been waiting when the run ended
    delivered: int
    duplicates: int
    failed: int
    rejected: int
    watched: int
    last_success: int | None  # epoch at which a run last ended with exit code 0
    delivered_total: int
    duplicates_total: int
    failed_total: int
    rejected_total: int
    perhaps_twice: int = 0  # sent again after a POST whose answer was lost: the API may have stored them twice
    perhaps_twice_total: int = 0
    failed_in_a_row: int = 0  # runs, this one included
    alerted: bool = False  # whether alert_command was told that runs fail, and not yet that they are well again
    start_refused: bool = False  # whether the service behind ping_url takes no /start; its beat counts all the same


def last_run_file(checkpoint_file: Path) -> Path:
    """Return where the result of the last run stands."""
    return checkpoint_file.with_name(checkpoint_file.name + ".last_run")


def read_last_run(path: Path) -> LastRun | None:
    """Return the result of the last run; None where there is nothing that can be read."""
    try:
        with open_regular(path)[0] as file:
            found = json.loads(file.read(64 * 1024))
        values = {field.name: found.get(field.name, field.default) for field in fields(LastRun)}  # versions differ
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return LastRun(**values) if all(_is_sound(name, value) for name, value in values.items()) else None


def last_good_run(checkpoint_file: Path) -> int | None:
    """Return an epoch an hour before a run last ended well, or before what was late then; None where none is known.

    What waited for its disposition then has hardly ended before that hour.
    """
    last = read_last_run(last_run_file(checkpoint_file))
    return int(min(last.last_success - 3600, last.ended - last.lag)) if last and last.last_success else None


def _is_sound(name: str, value: object) -> bool:
    """Return whether a value can be shown and added to; 1e12 is far beyond every date and count."""
    if value is None or name == "error":
        return name in ("error", "last_success") and isinstance(value, (str, type(None)))
    is_flag = name in ("alerted", "start_refused")
    return isinstance(value, (int, float)) and isinstance(value, bool) is is_flag and abs(value) < 1e12


def write_last_run(path: Path, last_run: LastRun) -> None:
    """Put the result of a run in the place of the one before; raise OSError."""
    os.close(replace_file(path, json.dumps(asdict(last_run)).encode("ascii") + b"\n"))
