"""A run whose words nobody reads any more: a stopped terminal or a full pipe holds up words, and nothing else."""

import fcntl
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from rehearsal.did_optimizer import DidOptimizer
from rehearsal.site import COMMAND, Site
from tests.commands.command import finish

SOON = 20
"""Seconds within which a run of a few calls ends on a busy machine; one that waits for a reader never does."""

CTRL_S, CTRL_Q = b"\x13", b"\x11"


class Unread(NamedTuple):
    """What a run writes to, and where that could be read."""

    its: int
    ours: int


@pytest.fixture(params=["terminal", "pipe"])
def unread(request: pytest.FixtureRequest) -> Iterator[Unread]:
    """A terminal on which somebody has pressed Ctrl-S, or a pipe that is full."""
    if request.param == "terminal":
        ours, its = pty.openpty()
        os.write(ours, CTRL_S)
        time.sleep(0.1)
    else:
        ours, its = os.pipe()
        fcntl.fcntl(its, fcntl.F_SETPIPE_SZ, 4096)
        os.write(its, b"x" * 4096)
    yield Unread(its, ours)
    os.close(ours)
    os.close(its)


def start(site: Site, unread: Unread, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([COMMAND, *arguments], env=site.environment(), stdout=unread.its, stderr=unread.its)


def test_a_run_that_nobody_reads_delivers_everything_and_ends(unread: Unread, site: Site, api: DidOptimizer) -> None:
    calls = finish(site, 60)
    with start(site, unread, "run") as run:
        assert 0 == run.wait(SOON)
    assert sorted(calls) == sorted(api.records)
    assert 0 == site.vicisync("run").returncode


def test_a_backlog_with_its_bar_ends_on_a_stopped_terminal(site: Site, api: DidOptimizer, unread: Unread) -> None:
    finish(site, 600)
    with start(site, unread, "run") as run:
        assert 0 == run.wait(SOON * 2)
    assert 600 == len(api.records)


@pytest.mark.parametrize("ends", ["time", "signal", "error"])
def test_time_signals_and_errors_end_a_run_that_nobody_reads(
    ends: str, unread: Unread, site: Site, api: DidOptimizer
) -> None:
    finish(site, 60)
    site.configure(concurrency="1", max_retries="0")
    api.latency = 0.2
    with start(site, unread, "run", "--max-runtime", "1" if ends == "time" else "0") as run:
        until = time.monotonic() + SOON
        while not api.records and time.monotonic() < until:
            time.sleep(0.05)
        if ends == "signal":
            run.send_signal(signal.SIGTERM)
        if ends == "error":
            api.down()
        assert {"time": 0, "signal": 143, "error": 4}[ends] == run.wait(SOON)
    assert 0 < len(api.records) < 60


def test_what_is_kept_for_a_reader_comes_when_he_reads_on(site: Site, api: DidOptimizer) -> None:
    calls = finish(site, 8)
    ours, its = pty.openpty()
    os.write(ours, CTRL_S)
    time.sleep(0.1)

    def read_on_at_the_last(_: dict[str, Any]) -> None:
        if len(api.posts) == 7:
            os.write(ours, CTRL_Q)

    api.fault_for = read_on_at_the_last
    with start(site, Unread(its, ours), "run") as run:
        assert 0 == run.wait(SOON)
    shown = os.read(ours, 65536).decode()
    assert [] == [uniqueid for uniqueid in calls if f"✓ {uniqueid}: " not in shown]
    assert "✅ Sync completed successfully" in shown
    os.close(ours)
    os.close(its)
