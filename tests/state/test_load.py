import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest

from tests.limits import as_nobody
from vicisync.errors import CheckpointError
from vicisync.state.checkpoint import Damaged, starting_at
from vicisync.state.load import OLD_CHECKPOINT_MAX_AGE, read_checkpoint, read_old_checkpoint

GIVE_UP_AFTER = 28800


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


@contextmanager
def refused(said: str) -> Iterator[None]:
    with pytest.raises(CheckpointError) as error:
        yield
    assert said == str(error.value)


def test_where_there_is_no_file_there_is_no_checkpoint(path: Path) -> None:
    assert read_checkpoint(path, GIVE_UP_AFTER) is None


def test_a_file_that_may_not_be_read_is_told(path: Path) -> None:
    path.write_text("1729771200\n")
    path.chmod(0)
    with as_nobody(), refused(f"Cannot read the checkpoint {path}: Permission denied"):
        read_checkpoint(path, GIVE_UP_AFTER)


@pytest.mark.parametrize(("why", "content"), [("it is empty", b""), ("byte 6 is no text", b"hello \xff")])
def test_damage_stops_the_run_with_the_command_that_helps(path: Path, why: str, content: bytes) -> None:
    path.write_bytes(content)
    with refused(
        f"The checkpoint {path} is damaged: {why}. Nothing was sent and the file was left as it is."
        " To go on from a time of your choice: vicisync reset-checkpoint --to '1h'"
    ):
        read_checkpoint(path, GIVE_UP_AFTER)
    assert path.read_bytes() == content


def test_a_bad_sector_is_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("1729771200\n")
    file = mock.MagicMock()
    file.read.side_effect = OSError(errno.EIO, os.strerror(errno.EIO))
    monkeypatch.setattr("vicisync.state.load.open_regular", lambda _: (file, path.stat()))
    said = r"is damaged: the disk cannot read it \(Input/output error\)\. .*vicisync reset-checkpoint"
    with pytest.raises(CheckpointError, match=said) as error:
        read_checkpoint(path, GIVE_UP_AFTER)
    assert isinstance(error.value.__cause__, Damaged)


def test_a_file_too_large_for_a_checkpoint_is_damaged_and_not_read(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)
    said = "is damaged: it is 1099511627776 bytes long, far more than any checkpoint"
    with pytest.raises(CheckpointError, match=said):
        read_checkpoint(path, GIVE_UP_AFTER)


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


@pytest.mark.parametrize("kind", ["missing", "link", "pipe", "folder"])
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
