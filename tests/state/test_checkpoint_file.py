from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.limits import as_nobody, fill, largest_file, small_disk, umask
from vicisync.errors import AlreadyRunning, CheckpointError
from vicisync.state.checkpoint import Checkpoint, Handled, Watched, handled_line, render, starting_at
from vicisync.state.checkpoint_file import (
    OLD_CHECKPOINT_MAX_AGE,
    RESERVE,
    CheckpointFile,
    read_checkpoint,
    read_old_checkpoint,
)

GIVE_UP_AFTER = 28800
CHECKPOINT = Checkpoint(
    1729771200,
    1729767600,
    1729771260,
    watching={"5.1": Watched(7, 5, "to_send"), "5.2": Watched(8, 5, "failed", 3)},
    delivered={"4.1": Handled(4, 9)},
    rejected={"3.1": Handled(3, 10)},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    with small_disk(tmp_path) as disk:
        yield disk


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


# Written and read back


def test_where_there_is_no_file_there_is_no_checkpoint(path: Path) -> None:
    assert read_checkpoint(path, GIVE_UP_AFTER) is None


def test_what_is_saved_is_read_back(path: Path) -> None:
    with CheckpointFile(path) as file:
        file.save(CHECKPOINT)
        assert read_checkpoint(path, GIVE_UP_AFTER) == CHECKPOINT
    assert path.read_text() == render(CHECKPOINT)


def test_each_appended_line_is_in_the_file_at_once(path: Path) -> None:
    with CheckpointFile(path) as file:
        file.begin(CHECKPOINT)
        file.append(handled_line("delivered", "5.1", Handled(5, 7)))
        first = read_checkpoint(path, GIVE_UP_AFTER)
        file.append(handled_line("rejected", "5.2", Handled(5, 8)))
        second = read_checkpoint(path, GIVE_UP_AFTER)
    assert first is not None
    assert second is not None
    assert (list(first.watching), first.delivered["5.1"]) == (["5.2"], Handled(5, 7))
    assert (list(second.watching), second.rejected["5.2"]) == ([], Handled(5, 8))


def test_lines_are_appended_to_the_file_last_saved(path: Path) -> None:
    with CheckpointFile(path) as file:
        file.begin(CHECKPOINT)
        file.append("delivered\t6.1\t6\t7")
        file.save(CHECKPOINT)
        file.append("delivered\t6.2\t6\t7")
    assert path.read_text() == render(CHECKPOINT) + "delivered\t6.2\t6\t7\n"


def test_a_save_that_would_change_nothing_leaves_the_disk_alone(path: Path) -> None:
    with CheckpointFile(path) as file:
        file.save(CHECKPOINT)
        before = path.stat()
        file.save(CHECKPOINT)
        assert path.stat() == before


def test_a_line_written_by_hand_is_read(path: Path) -> None:
    path.write_text("1729771200\n")
    assert read_checkpoint(path, GIVE_UP_AFTER) == starting_at(1729771200, GIVE_UP_AFTER)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_only_the_owner_may_read_the_file_and_enter_a_folder_made_for_it(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "vicisync" / "checkpoint"
    with umask(mask), CheckpointFile(path) as file:
        file.begin(CHECKPOINT)
        modes = {name.name: mode(name) for name in path.parent.iterdir()}
    assert mode(path.parent) == 0o700
    assert modes == dict.fromkeys(["checkpoint", "checkpoint.lock", "checkpoint.reserve"], 0o600)


def test_a_file_that_others_could_read_is_closed_to_them_by_the_next_save(path: Path) -> None:
    path.write_text("1729771200\n")
    path.chmod(0o644)
    with CheckpointFile(path) as file:
        file.save(CHECKPOINT)
    assert mode(path) == 0o600


def test_a_run_leaves_nothing_but_the_file_and_its_lock(path: Path) -> None:
    with CheckpointFile(path) as file:
        file.begin(CHECKPOINT)
        assert path.with_name("checkpoint.reserve").stat().st_blocks * 512 >= RESERVE
    assert sorted(name.name for name in path.parent.iterdir()) == ["checkpoint", "checkpoint.lock"]


@pytest.mark.parametrize("leftover", ["checkpoint.new", "checkpoint.reserve"])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_a_crash_left_behind_or_a_stranger_planted_is_replaced(path: Path, leftover: str, kind: str) -> None:
    target = path.with_name("target")
    target.write_text("precious")
    if kind == "file":
        path.with_name(leftover).write_text("half a check")
    else:
        path.with_name(leftover).symlink_to(target)
    with CheckpointFile(path) as file:
        file.begin(CHECKPOINT)
    assert read_checkpoint(path, GIVE_UP_AFTER) == CHECKPOINT
    assert target.read_text() == "precious"
    assert not path.with_name(leftover).exists()


def test_a_save_that_is_cut_short_leaves_the_old_file_whole(path: Path) -> None:
    with CheckpointFile(path) as file:
        file.save(CHECKPOINT)
        larger = Checkpoint(1, 1, 1, delivered={f"5.{number}": Handled(5, 7) for number in range(1000)})
        with (
            largest_file(500),
            pytest.raises(CheckpointError, match=f"^Cannot save the checkpoint {re.escape(str(path))}: "),
        ):
            file.save(larger)
        assert read_checkpoint(path, GIVE_UP_AFTER) == CHECKPOINT
        file.append("delivered\t6.1\t6\t7")
    assert path.read_text() == render(CHECKPOINT) + "delivered\t6.1\t6\t7\n"
    assert sorted(name.name for name in path.parent.iterdir()) == ["checkpoint", "checkpoint.lock"]


def test_the_file_is_on_the_disk_before_it_takes_the_name_and_the_name_after(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No power is cut here; what is asked of the disk, and in which order, is looked at instead."""
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def watched_fsync(fd: int) -> None:
        steps.append(f"fsync {Path(f'/proc/self/fd/{fd}').readlink()}")
        fsync(fd)

    def watched_rename(self: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "rename", watched_rename)
    with CheckpointFile(path) as file:
        file.save(CHECKPOINT)
    assert steps == [f"fsync {path}.new", "rename", f"fsync {path.parent}"]


# One run at a time

HOLDER = """
import sys, time
from pathlib import Path
from vicisync.state.checkpoint_file import CheckpointFile
from vicisync.state.checkpoint import Checkpoint
with CheckpointFile(Path(sys.argv[1])) as file:
    file.begin(Checkpoint(1, 1, 1))
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_names_its_holder_and_goes_with_it_however_it_died(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            said = rf"\(process {holder.pid} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\); this one touched nothing$"
            with pytest.raises(AlreadyRunning, match=said), CheckpointFile(path):
                pass
        finally:
            holder.send_signal(signal.SIGKILL)
    with CheckpointFile(path) as file:
        assert read_checkpoint(path, GIVE_UP_AFTER) == Checkpoint(1, 1, 1)
        file.begin(CHECKPOINT)


def test_a_run_that_was_turned_away_leaves_the_lock_with_its_holder(path: Path) -> None:
    with CheckpointFile(path) as file:
        file.begin(CHECKPOINT)
        for _ in range(2):
            with pytest.raises(AlreadyRunning, match=rf"\(process {os.getpid()} since"), CheckpointFile(path):
                pass
        assert path.with_name("checkpoint.reserve").exists()


def test_a_holder_that_has_not_signed_yet_is_told_as_such(path: Path) -> None:
    with CheckpointFile(path):
        path.with_name("checkpoint.lock").write_text("")
        with pytest.raises(AlreadyRunning, match=r"\(not yet known which\)"), CheckpointFile(path):
            pass


def test_the_lock_is_free_again_after_an_error(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), CheckpointFile(path):
        _ = 1 // 0
    with CheckpointFile(path):
        pass


def test_the_lock_of_a_shorter_name_is_written_over(path: Path) -> None:
    path.with_name("checkpoint.lock").write_text("process 4194304 since 2024-10-24 12:00:00, and more\n")
    with CheckpointFile(path):
        lock = path.with_name("checkpoint.lock").read_text()
    assert re.fullmatch(rf"process {os.getpid()} since [-\d]+ [:\d]+\n", lock)


# What cannot be trusted or used


@contextmanager
def refused(said: str) -> Iterator[None]:
    with pytest.raises(CheckpointError) as error:
        yield
    assert said == str(error.value)


def test_a_link_is_not_read(path: Path) -> None:
    path.with_name("other").write_text("1729771200\n")
    path.symlink_to("other")
    with refused(
        f"Cannot read the checkpoint {path}: it is a symbolic link, which vicisync does not follow;"
        " remove it, or name the file itself in dids.conf"
    ):
        read_checkpoint(path, GIVE_UP_AFTER)


@pytest.mark.parametrize(
    "kind",
    [
        "pipe",
        "folder",
    ],
)
def test_what_is_no_file_is_told_and_not_waited_for(path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with refused(f"Cannot read the checkpoint {path}: it is not a file; move it away, or name another in dids.conf"):
        read_checkpoint(path, GIVE_UP_AFTER)


def test_a_file_that_may_not_be_read_is_told(path: Path) -> None:
    path.write_text("1729771200\n")
    path.chmod(0)
    with as_nobody(), refused(f"Cannot read the checkpoint {path}: Permission denied"):
        read_checkpoint(path, GIVE_UP_AFTER)


@pytest.mark.parametrize(
    ("why", "content"),
    [
        ("it is empty", b""),
        ("it holds nothing but NUL bytes", b"\0" * 100),
        ("line 1 is not a checkpoint's: 'hello'", b"hello\n"),
        ("byte 6 is no text", b"hello \xff"),
    ],
)
def test_damage_stops_the_run_with_the_command_that_mends_it(path: Path, why: str, content: bytes) -> None:
    path.write_bytes(content)
    with refused(
        f"The checkpoint {path} is damaged: {why}. Nothing was sent and the file was left as it is."
        " To go on from a time of your choice: vicisync reset-checkpoint --to '1h'"
    ):
        read_checkpoint(path, GIVE_UP_AFTER)
    assert path.read_bytes() == content


def test_a_file_too_large_for_a_checkpoint_is_damaged_and_not_read(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)
    with pytest.raises(
        CheckpointError, match=r"is damaged: it is 1099511627776 bytes long, far more than any checkpoint"
    ):
        read_checkpoint(path, GIVE_UP_AFTER)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "checkpoint"
    said = f"^Cannot lock the checkpoint: {re.escape(str(path))}.lock: "
    with pytest.raises(CheckpointError, match=said), CheckpointFile(path):
        pass


def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    path = folder / "checkpoint"
    said = f"Cannot lock the checkpoint: {path}.lock: Permission denied"
    with as_nobody(), refused(said), CheckpointFile(path):
        pass


def test_a_lock_that_is_a_link_is_not_followed(path: Path) -> None:
    target = path.with_name("target")
    target.write_text("precious")
    path.with_name("checkpoint.lock").symlink_to(target)
    with pytest.raises(CheckpointError, match="Cannot lock the checkpoint: "), CheckpointFile(path):
        pass
    assert target.read_text() == "precious"


def test_a_lock_that_is_no_file_is_told(path: Path) -> None:
    os.mkfifo(path.with_name("checkpoint.lock"))
    with pytest.raises(CheckpointError), CheckpointFile(path):
        pass


# A full disk


def test_a_full_disk_is_told_before_anything(disk: Path) -> None:
    fill(disk)
    with pytest.raises(CheckpointError), CheckpointFile(disk / "checkpoint"):
        pass


def test_a_disk_too_full_to_save_stops_the_run_before_anything_is_sent(disk: Path) -> None:
    path = disk / "checkpoint"
    with CheckpointFile(path) as file:
        file.save(CHECKPOINT)
        fill(disk)
        with refused(
            f"Cannot save the checkpoint {path}: No space left on device."
            " What was delivered stays recorded in it as it was appended"
        ):
            file.begin(starting_at(1, 0))
    assert read_checkpoint(path, GIVE_UP_AFTER) == CHECKPOINT
    assert sorted(name.name for name in disk.iterdir()) == ["checkpoint", "checkpoint.lock", "filler"]


def test_a_disk_too_full_for_the_answers_stops_the_run_before_anything_is_sent(disk: Path) -> None:
    path = disk / "checkpoint"
    with CheckpointFile(path) as file:
        fill(disk, leaving=RESERVE // 2)
        with refused(
            f"No room beside the checkpoint {path}: No space left on device. Nothing was sent,"
            " since what is sent could not be recorded"
        ):
            file.begin(CHECKPOINT)
        assert read_checkpoint(path, GIVE_UP_AFTER) == CHECKPOINT
        assert sorted(name.name for name in disk.iterdir()) == ["checkpoint", "checkpoint.lock", "filler"]


def test_when_the_disk_fills_up_the_calls_in_flight_are_recorded_and_the_run_ends(disk: Path) -> None:
    path = disk / "checkpoint"
    sent: list[str] = []

    def record(file: CheckpointFile, uniqueid: str) -> None:
        sent.append(uniqueid)
        file.append(handled_line("delivered", uniqueid, Handled(5, 7)))

    with CheckpointFile(path) as file:
        file.begin(Checkpoint(1, 1, 1))
        fill(disk)
        with refused(
            f"No room for the checkpoint {path}: No space left on device. The calls in flight were recorded,"
            " no more were sent; make room, and the next run goes on"
        ):
            for number in itertools.count():
                record(file, f"1729771200.{number}")
        for worker in range(8):
            record(file, f"1729771201.{worker}")
    read = read_checkpoint(path, GIVE_UP_AFTER)
    assert read is not None
    assert sent == list(read.delivered)


def test_a_line_that_finds_no_room_even_so_leaves_the_lines_before_it(disk: Path) -> None:
    path = disk / "checkpoint"
    with CheckpointFile(path) as file:
        file.begin(CHECKPOINT)
        disk.joinpath("checkpoint.reserve").unlink()
        fill(disk)
        recorded = list(CHECKPOINT.delivered)
        with suppress(CheckpointError):
            for number in itertools.count():
                file.append(handled_line("delivered", f"1729771200.{number}", Handled(5, 7)))
                recorded.append(f"1729771200.{number}")
    read = read_checkpoint(path, GIVE_UP_AFTER)
    assert read is not None
    assert list(read.delivered) == recorded


def test_a_line_torn_for_want_of_room_does_not_spoil_the_next_one(path: Path) -> None:
    with CheckpointFile(path) as file:
        file.begin(CHECKPOINT)
        with largest_file(path.stat().st_size + 10), pytest.raises(CheckpointError, match=r"^No room"):
            file.append("delivered\t6.1\t6\t7")
        file.append("delivered\t6.2\t6\t7")
    read = read_checkpoint(path, GIVE_UP_AFTER)
    assert read is not None
    assert "6.2" in read.delivered


def test_an_error_other_than_a_full_disk_is_told_as_it_is(path: Path) -> None:
    with CheckpointFile(path) as file:
        file.begin(CHECKPOINT)
        with largest_file(path.stat().st_size), refused(f"Cannot write the checkpoint {path}: File too large"):
            file.append("delivered\t6.1\t6\t7")
    assert read_checkpoint(path, GIVE_UP_AFTER) == CHECKPOINT


# The Perl script's checkpoint


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "did-optimizer-last-check.txt"
    path.write_text("1729771200\n")
    return path


@pytest.mark.parametrize("content", ["1729771200", "1729771200\n", "1729771200\r\n"])
def test_a_sound_old_checkpoint_is_taken_over_and_left_in_place(old: Path, content: str) -> None:
    old.write_text(content)
    assert read_old_checkpoint(old, GIVE_UP_AFTER) == starting_at(1729771200, GIVE_UP_AFTER)
    assert old.exists()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0" * 20, id="NULs"),
        pytest.param(b"tomorrow\n", id="words"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"4294967295\n", id="the future"),
        pytest.param(b"2099-10-24 12:00:00\n", id="the future, in local time"),
        pytest.param(b" " * 200 + b"1729771200\n", id="too long"),
    ],
)
def test_an_old_checkpoint_that_makes_no_sense_is_ignored(old: Path, content: bytes) -> None:
    old.write_bytes(content)
    assert read_old_checkpoint(old, GIVE_UP_AFTER) is None


@pytest.mark.parametrize(("taken", "age"), [(True, OLD_CHECKPOINT_MAX_AGE - 60), (False, OLD_CHECKPOINT_MAX_AGE + 60)])
def test_an_old_checkpoint_is_taken_over_for_two_days(old: Path, taken: bool, age: int) -> None:
    os.utime(old, (time.time(), time.time() - age))
    assert taken == (read_old_checkpoint(old, GIVE_UP_AFTER) is not None)


def test_an_old_checkpoint_counts_only_from_root_or_ourselves(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "geteuid", lambda: 4242)
        assert read_old_checkpoint(old, GIVE_UP_AFTER) is not None  # root's
        os.chown(old, 4242, -1)
    assert read_old_checkpoint(old, GIVE_UP_AFTER) is not None  # ours
    monkeypatch.setattr(os, "geteuid", lambda: 4243)
    assert read_old_checkpoint(old, GIVE_UP_AFTER) is None


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "link",
        "pipe",
        "folder",
    ],
)
def test_what_is_no_file_is_no_old_checkpoint(old: Path, kind: str) -> None:
    target = old.rename(old.with_name("target"))
    if kind == "link":
        old.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(old)
        planted = os.open(old, os.O_RDWR)
        os.write(planted, b"1729771200\n")
    elif kind == "folder":
        old.mkdir()
    assert read_old_checkpoint(old, GIVE_UP_AFTER) is None
    if kind == "pipe":
        os.close(planted)


def test_an_old_checkpoint_that_may_not_be_read_is_ignored(old: Path) -> None:
    old.chmod(0)
    with as_nobody():
        assert read_old_checkpoint(old, GIVE_UP_AFTER) is None
