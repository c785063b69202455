"""What ``vicisync check`` says of the checkpoint, its lock and its folder, and of the rejected calls."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from rehearsal.did_optimizer import answer
from tests.checked_dialer import CheckedDialer
from tests.conftest import make_settings
from tests.limits import as_nobody, fill, small_disk
from vicisync.calls.times import local
from vicisync.commands.check.finding import Finding, line_of, worst
from vicisync.commands.check.state import findings, kind_of_disk
from vicisync.state.checkpoint import Watched, render, starting_at
from vicisync.state.lock import Lock


def lines(found: list[Finding]) -> list[str]:
    return [line_of(finding) for finding in found]


def test_the_checkpoint_says_how_far_it_is_and_how_many_calls_it_watches(dialer: CheckedDialer) -> None:
    now = int(time.time())
    checkpoint = starting_at(now, 28800)
    checkpoint.watching["1.1"] = Watched(1, now, "not_ended")
    dialer.site.checkpoint_file.write_text(render(checkpoint))
    assert f"✓ Delivered up to {local(now)}, 1 call watched" in dialer.check()[1]


def test_where_there_is_no_checkpoint_it_says_from_where_the_first_run_goes_on(dialer: CheckedDialer) -> None:
    assert "✓ No checkpoint yet: the first run delivers what ended in the hour before it" in dialer.check()[1]
    (dialer.site.folder / "did-optimizer-last-check.txt").write_text("2026-01-02 03:04:05\n")
    expected = "✓ No checkpoint yet: the first run goes on where the old script stopped, 2026-01-02 03:04:05"
    assert expected in dialer.check()[1]


def test_a_damaged_checkpoint_is_told_with_the_command_that_mends_it(dialer: CheckedDialer) -> None:
    dialer.site.checkpoint_file.write_text("nonsense\n")
    code, worse = dialer.worse()
    assert (5, 1) == (code, len(worse))
    assert worse[0].startswith(f"❌ The checkpoint {dialer.site.checkpoint_file} is damaged: line 1 is not")
    assert worse[0].endswith(" → to go on from an hour ago: vicisync reset-checkpoint --to 1h")
    assert 0 == dialer.site.vicisync(*worse[0].rpartition(": vicisync ")[2].split()).returncode
    assert (0, []) == dialer.worse()


def test_a_link_in_the_place_of_the_checkpoint_is_told(dialer: CheckedDialer) -> None:
    dialer.site.checkpoint_file.symlink_to("/etc/passwd")
    code, worse = dialer.worse()
    assert (5, 1) == (code, len(worse))
    assert re.match(r"❌ Cannot read the checkpoint .*symbolic link, [^→]* → remove it, or name ", worse[0])


def test_what_the_system_says_of_a_folder_is_told_with_a_look_at_it(dialer: CheckedDialer) -> None:
    file = dialer.root / "file"
    file.touch()
    dialer.site.configure(checkpoint_file=f"{file}/x/checkpoint", rejected_file=f"{file}/x/rejected")
    line = f"❌ {file}/x cannot be used: Not a directory → to look at it: ls -ld {file}/x"
    assert (5, [line]) == dialer.worse()


def test_a_folder_that_others_can_write_to_is_told_once(dialer: CheckedDialer) -> None:
    folder = dialer.site.checkpoint_file.parent
    folder.chmod(0o777)
    code, worse = dialer.worse()
    assert (5, 1) == (code, len(worse))
    assert re.match(
        rf"❌ {folder} cannot be used: others can write to its folder [^→]* → chmod go-w {folder}", worse[0]
    )
    subprocess.run(["sh", "-c", worse[0].partition(" → ")[2]], check=True)
    assert (0, []) == dialer.worse()


@pytest.mark.parametrize("where", ["/tmp", "/dev/shm"])  # noqa: S108
def test_a_folder_that_a_reboot_empties_is_a_warning(where: str, dialer: CheckedDialer) -> None:
    folder = Path(tempfile.mkdtemp(dir=where))
    try:
        dialer.site.configure(checkpoint_file=str(folder / "checkpoint"), rejected_file=str(folder / "rejected"))
        cure = "in [vicisync]: checkpoint_file=/var/lib/vicisync/checkpoint, and rejected_file beside it"
        line = f"⚠ {folder} does not survive a reboot: it lies under {where} → {cure}"
        assert (0, [line]) == dialer.worse()
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib/vicisync", "ext4"),
        ("/mnt/fast/vicisync", "tmpfs"),
        ("/mnt/fastest", "ext4"),
        ("/mnt/two words/x", "ramfs"),
        ("/mnt/again/x", "xfs"),
    ],
)
def test_the_kind_of_a_folder_s_disk_is_that_of_the_last_and_longest_mount(folder: str, kind: str) -> None:
    mounts = (
        "/dev/sda1 / ext4 rw 0 0\ntmpfs /mnt/fast tmpfs rw 0 0\nnone /mnt/two\\040words ramfs rw 0 0\n"
        "tmpfs /mnt/again tmpfs rw 0 0\n/dev/sdb /mnt/again xfs rw 0 0\n"
    )
    assert kind == kind_of_disk(Path(folder), mounts)


def test_a_disk_in_memory_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\ntmpfs {tmp_path} tmpfs rw 0 0\n")
    monkeypatch.setattr("vicisync.commands.check.state._MOUNTS", mounts)
    monkeypatch.setattr("vicisync.commands.check.state.FORGOTTEN", ())
    settings = make_settings(tmp_path)
    settings.checkpoint_file.parent.mkdir(mode=0o700)
    assert lines(list(findings(settings)))[0].startswith(
        f"⚠ {tmp_path}/state does not survive a reboot: its disk is a tmpfs, which lies in memory → "
    )


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        fill(disk, leaving=4096)
        found = list(findings(make_settings(disk, checkpoint_file=f"{disk}/checkpoint", rejected_file=f"{disk}/r")))
    assert 5 == worst(found)
    assert re.match(r"❌ The disk of .* is full: \d+ bytes are left → make room: df -h ", lines(found)[0])


def test_a_folder_that_is_not_there_is_well_where_it_can_be_made_and_told_where_not(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    state = tmp_path / "state"
    assert f"✓ {state} does not exist yet; vicisync install makes it, or else the first run" in lines(
        list(findings(settings))
    )
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    with as_nobody():
        found = list(findings(settings))
    assert 5 == worst(found)
    assert [f"❌ {state} does not exist, and cannot be made here → as root: mkdir -p -m 700 {state}"] == lines(found)
    assert not state.exists()


def test_a_folder_that_only_another_may_write_to_is_told(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    settings.checkpoint_file.parent.mkdir(mode=0o755)
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    with as_nobody():
        found = list(findings(settings))
    assert (5, 1) == (worst(found), len(found))
    assert "cannot be written to → as root: chmod 700 " in lines(found)[0]


def test_a_run_at_work_is_told_with_who_it_is_and_is_no_fault(dialer: CheckedDialer) -> None:
    with Lock(dialer.site.checkpoint_file):
        code, found = dialer.check()
    assert 0 == code
    assert [True] == [
        bool(re.match(rf"✓ A run is at work \(process {os.getpid()} since ", line))
        for line in found
        if "at work" in line
    ]
    assert "✓ No run is at work, the lock is free" in dialer.check()[1]


def test_what_is_no_file_in_the_place_of_the_lock_is_told_with_what_removes_it(dialer: CheckedDialer) -> None:
    lock = dialer.site.checkpoint_file.with_name("checkpoint.lock")
    lock.mkdir()
    assert (5, [f"❌ {lock} is no file that a run can lock → rm -r {lock}"]) == dialer.worse()


@pytest.mark.parametrize(("calls", "words"), [(1, "1 call has"), (3, "3 calls have")])
def test_rejected_calls_are_a_warning_with_the_command_that_sends_them_again(
    calls: int, words: str, dialer: CheckedDialer
) -> None:
    dialer.api.fault_for = lambda payload: answer(400, body=b'{"success": false}') if payload else None
    assert 6 == dialer.site.vicisync("run", "--limit", str(calls)).returncode
    line = f"⚠ {words} been rejected; {dialer.site.rejected_file} says why → vicisync retry-rejected"
    assert (0, [line]) == dialer.worse()
    dialer.api.fault_for = None
    assert 0 == dialer.site.vicisync("retry-rejected").returncode
    assert (0, []) == dialer.worse()


def test_lines_of_the_rejected_file_that_hold_no_call_are_named(dialer: CheckedDialer) -> None:
    path = dialer.site.rejected_file
    path.write_text("torn\n" * 7)
    path.chmod(0o600)
    line = f"⚠ {path} holds no call in lines 1, 2, 3, 4, 5, … → look at it: less -N {path}"
    assert (0, [line]) == dialer.worse()


def test_a_rejected_file_that_is_none_is_told(dialer: CheckedDialer) -> None:
    dialer.site.rejected_file.symlink_to("/etc/passwd")
    code, worse = dialer.worse()
    assert (5, 1) == (code, len(worse))
    assert worse[0].startswith(f"❌ Cannot read the rejected file {dialer.site.rejected_file}: ")
