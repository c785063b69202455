"""The processes of the benchmark: commands with what they use, and the API at the far end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LAUNCHER = Path(__file__).with_name("launch.py")
API_KEY = "bench-key"


class Failed(Exception):
    """A command did not do what was to be measured; ``str()`` holds what it said."""


class Usage(NamedTuple):
    """What a command used."""

    seconds: float
    """On the clock, from its start to its end."""
    cpu: float
    """Seconds, of user and system."""
    peak: int
    """Bytes of resident memory."""
    exit_code: int
    output: str


def run(folder: Path, command: Sequence[str | Path], environment: Mapping[str, str] = os.environ) -> Usage:
    """Run a command to its end, its output in a file in ``folder`` as under cron; raise Failed unless it exits 0."""
    log = folder / "output.log"
    log.unlink(missing_ok=True)
    launched = subprocess.run(
        [sys.executable, "-I", "-S", LAUNCHER, log, *command],
        cwd=ROOT,
        env=_as_installed(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    usage = Usage(**json.loads(launched.stdout), output=log.read_text("utf-8", "replace"))
    if usage.exit_code != 0:
        raise Failed(f"{' '.join(map(str, command))} exited with {usage.exit_code}:\n{usage.output[-2000:]}")
    return usage


def _as_installed(environment: Mapping[str, str]) -> dict[str, str]:
    """Take away what would slow Python down: an installed program is compiled once, and buffers its output."""
    unwanted = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
    return {name: value for name, value in environment.items() if name not in unwanted}


@contextmanager
def did_optimizer(latency: float) -> Iterator[str]:
    """Give the address of a DID Optimizer in a process of its own; each answer takes ``latency`` seconds."""
    command = [sys.executable, "-m", "rehearsal.did_optimizer", "--api-key", API_KEY, "--latency", str(latency)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="ascii") as process:
        try:
            assert process.stdout is not None  # noqa: S101 -- for mypy
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
