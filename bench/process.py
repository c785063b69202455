"""The processes of the benchmark: commands with what they use, and the API at the far end."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from rehearsal.site import as_installed

ROOT = Path(__file__).parents[1]
LAUNCHER = Path(__file__).with_name("launch.py")
API_KEY = "bench-key"

PROBES = 100
"""Requests that tell how long an answer really takes."""


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
        env=as_installed(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    usage = Usage(**json.loads(launched.stdout), output=log.read_text("utf-8", "replace"))
    if usage.exit_code != 0:
        raise Failed(f"{' '.join(map(str, command))} exited with {usage.exit_code}:\n{usage.output[-2000:]}")
    return usage


@contextmanager
def did_optimizer(latency: float) -> Iterator[str]:
    """Return the address of a DID Optimizer in a process of its own, whose answers take ``latency`` seconds.

    That is what a lone client sees who does nothing but wait: what this machine adds to a wait, to wake a process up
    and to carry bytes, is taken off first.
    """
    with _listening(latency and latency - _added_to(latency)) as url:
        yield url


@lru_cache
def _added_to(latency: float) -> float:
    with _listening(latency) as url:
        command = [sys.executable, "-m", "bench.post_loop", "sockets", url, API_KEY, str(PROBES), "1"]
        seconds = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    return float(seconds) / PROBES - latency


@contextmanager
def _listening(latency: float) -> Iterator[str]:
    command = [sys.executable, "-m", "rehearsal.did_optimizer", "--api-key", API_KEY, "--latency", str(latency)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="ascii") as process:
        try:
            assert process.stdout is not None  # noqa: S101 -- for mypy
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
