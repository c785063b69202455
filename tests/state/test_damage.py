"""A checkpoint that was damaged, or that others lay hands on, as the commands meet it."""

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from unittest import mock

import pytest

from rehearsal.did_optimizer import DidOptimizer
from rehearsal.site import Site
from tests.conftest import command_here, finish_calls, run_here
from vicisync.errors import CheckpointError
from vicisync.state import load
from vicisync.state.files import open_regular

Hurt = Callable[[Path, pytest.MonkeyPatch], object]


def changed(change: Callable[[bytes], bytes]) -> Hurt:
    return lambda path, _: path.write_bytes(change(path.read_bytes()))


def bad_sector(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this one file; the one that is put in its place lies elsewhere on the disk."""
    bad = path.stat().st_ino

    def opened(path: Path) -> tuple[IO[bytes], os.stat_result]:
        file, status = open_regular(path)
        if status.st_ino == bad:
            file.close()
            file = mock.MagicMock()
            file.read.side_effect = OSError(errno.EIO, os.strerror(errno.EIO))
        return file, status

    monkeypatch.setattr(load, "open_regular", opened)


@pytest.mark.parametrize(
    ("why", "hurt"),
    [
        pytest.param("it is cut short: 7 of its 8 lines are there", changed(lambda data: data[:-5]), id="cut short"),
        pytest.param(
            "it is cut short", changed(lambda data: b"".join(data.splitlines(True)[:-1])), id="cut between lines"
        ),
        pytest.param(
            "are not as they were written", changed(lambda data: data.replace(b"\t1", b"\t3", 1)), id="a flipped bit"
        ),
        pytest.param("are not as they were written", changed(lambda data: data[:-9] + b"\0" * 8 + b"\n"), id="NULs"),
        pytest.param("the disk cannot read it", bad_sector, id="a bad sector"),
    ],
)
def test_damage_ends_run_status_and_check_with_5_until_a_reset_which_works(
    why: str, hurt: Hurt, site: Site, api: DidOptimizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    finish_calls(site, 3)
    assert run_here(site).error is None
    hurt(site.checkpoint_file, monkeypatch)
    before = site.checkpoint_file.read_bytes()
    for command in ("run", "status", "check"):
        done = command_here(site, command)
        assert 5 == done.returncode
        assert re.search(f"(?s)is damaged: .*{why}.*vicisync reset-checkpoint\n", done.stdout + done.stderr)
        assert before == site.checkpoint_file.read_bytes()
    done = command_here(site, "reset-checkpoint", "--to", "1h", "--yes")
    assert (0, True) == (done.returncode, why in done.stdout)
    assert run_here(site).error is None
    assert 3 == api.repeats


def meddling(site: Site, meddle: Callable[[Path], object]) -> Callable[[dict[str, Any]], None]:
    """When the third call is on its way, before it is answered."""
    posts: list[object] = []

    def fault_for(payload: dict[str, Any]) -> None:
        posts.append(payload)
        if len(posts) == 3:
            meddle(site.checkpoint_file)

    return fault_for


def test_what_is_written_to_the_checkpoint_during_a_run_is_kept_and_the_next_goes_on_from_it(
    site: Site, api: DidOptimizer
) -> None:
    site.configure(concurrency="1")
    finish_calls(site, 6)
    ends = sorted(end for (end,) in site.mariadb.execute(f"SELECT end_epoch FROM `{site.database}`.vicidial_log"))
    api.fault_for = meddling(site, lambda path: path.write_text(f"{ends[3]}\n"))
    done = run_here(site)
    assert isinstance(done.error, CheckpointError)
    assert " was replaced while this run was at work. It is kept, and the next run goes on from it" in str(done.error)
    assert f"{ends[3]}\n" == site.checkpoint_file.read_text()
    assert 3 == len(api.posts)
    assert run_here(site).error is None
    after = [post.payload["endEpoch"] for post in api.posts[3:]]
    assert sorted(after) == [end for end in ends if end > ends[3]]


def test_a_lock_file_that_is_removed_during_a_run_lets_no_other_in(site: Site, api: DidOptimizer) -> None:
    site.configure(api_timeout="60")
    finish_calls(site, 6)
    met: list[tuple[int, str]] = []

    def another_run(path: Path) -> None:
        path.with_name("checkpoint.lock").unlink()
        for command in ("run", "retry-rejected", "run", "status"):
            done = site.vicisync(command)
            met.append((done.returncode, done.stdout + done.stderr))

    api.fault_for = meddling(site, another_run)
    assert run_here(site).error is None
    holder = rf"\(process {os.getpid()}; its lock file was removed\)"
    assert [75] * 3 == [code for code, _ in met[:3]]
    assert [] == [said for _, said in met[:3] if not re.search(rf"Another run is at work {holder}", said)]
    assert f"🚀 A run is at work: process {os.getpid()}; its lock file was removed\n" in met[3][1]
    assert (6, 0) == (len(api.records), api.repeats)
