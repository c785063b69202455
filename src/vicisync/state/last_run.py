"""The file in which each run leaves word of how it went, for `vicisync status` and for the counters of the metrics.

One JSON object beside the checkpoint. It decides about no call: a missing or damaged one costs only what it tells.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from vicisync.state.files import open_regular, replace_file

_LARGEST = 64 * 1024


@dataclass(frozen=True)
class LastRun:
    """How the last run went, and what all runs have done since this file began."""

    ended: int
    """Epoch."""
    exit_code: int
    error: str | None
    """The sentence that ended it, where one did."""
    seconds: float
    poll_seconds: float
    """Of those, spent on the database."""
    lag: int
    """Seconds by which the oldest call that could go had not gone, when the run ended."""
    delivered: int
    duplicates: int
    failed: int
    rejected: int
    watched: int
    last_success: int | None
    """Epoch at which a run last ended with exit code 0."""
    delivered_total: int
    duplicates_total: int
    failed_total: int
    rejected_total: int


def last_run_file(checkpoint_file: Path) -> Path:
    """Return where the word of the last run is left."""
    return checkpoint_file.with_name(checkpoint_file.name + ".last_run")


def read_last_run(path: Path) -> LastRun | None:
    """Read what the last run left; None where there is nothing that can be read."""
    try:
        file, _ = open_regular(path)
        with file:
            found = json.loads(file.read(_LARGEST))
        return LastRun(**{field.name: _sound(found[field.name], str(field.type)) for field in fields(LastRun)})
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


_KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "None": (type(None),)}


def _sound(value: Any, kind: str) -> Any:
    if isinstance(value, bool) or not any(isinstance(value, _KINDS[word]) for word in kind.split(" | ")):
        raise ValueError(kind)
    return value


def write_last_run(path: Path, last_run: LastRun) -> None:
    """Leave word of a run in place of the one before; raise OSError."""
    os.close(replace_file(path, json.dumps(asdict(last_run)).encode("ascii") + b"\n"))
