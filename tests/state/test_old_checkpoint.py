"""The old scripts' checkpoint: a time or a call's id of theirs is gone on from, and what it is not is told."""

import os
import time
from pathlib import Path

import pytest

from tests.limits import as_nobody
from vicisync.calls.times import zoned
from vicisync.state import old_checkpoint
from vicisync.state.checkpoint import Checkpoint, Handled, starting_at
from vicisync.state.old_checkpoint import OLD_CHECKPOINT_MAX_AGE, read_old_checkpoint

GIVE_UP_AFTER = 28800


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "did-optimizer-last-check.txt"
    path.write_text("1729771200\n")
    return path


def taken(old: Path) -> Checkpoint | None:
    return read_old_checkpoint(old, GIVE_UP_AFTER)[0]


def refused(old: Path) -> str:
    checkpoint, words = read_old_checkpoint(old, GIVE_UP_AFTER)
    assert checkpoint is None
    return words


@pytest.mark.parametrize(
    "content", ["1729771200", "1729771200\n", "1729771200\r\n", "2024-10-24T12:00:00Z", zoned(1729771200)]
)
def test_a_sound_old_checkpoint_is_taken_over_and_left_in_place(old: Path, content: str) -> None:
    old.write_text(content)
    assert starting_at(1729771200, GIVE_UP_AFTER) == taken(old)
    assert old.exists()


def test_the_id_of_the_last_call_sent_is_when_that_began_and_what_the_log_says_was_sent_is_not_sent_again(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = old.with_name("did-optimizer-sync.log")
    monkeypatch.setattr(old_checkpoint, "LOG", log)
    old.write_text("1729771200.616")
    expected = starting_at(1729771200, GIVE_UP_AFTER)
    expected.handled["1729771200.616"] = Handled(1729771200, None)
    assert expected == taken(old), "there is no log"
    sent, failed = "✓ 1729771100.5: C/5551234567 → SALE (45s)", "✗ 1729771150.6: API request failed: 500"
    log.write_text(
        f"[2024-10-24T12:00:00] {failed}\n[2024-10-24T12:00:00] {sent}\n[2024-10-24T12:00:00] ✓ No new calls\n"
    )
    expected.handled["1729771100.5"] = Handled(1729771100, None)
    assert expected == taken(old)
    with log.open("a") as file:
        file.write("\n" * 2**20)
    del expected.handled["1729771100.5"]
    assert expected == taken(old), "its end alone is read"


@pytest.mark.parametrize(
    ("words", "content"),
    [
        pytest.param("is empty", b"", id="empty"),
        pytest.param("is empty", b" \n", id="blank"),
        pytest.param("neither a time nor the id", b"\0" * 20, id="NULs"),
        pytest.param("neither a time nor the id", b"tomorrow\n", id="words"),
        pytest.param("neither a time nor the id", b"\xff\xfe", id="no text"),
        pytest.param("neither a time nor the id", b"end_epoch\t1\nended_after\t1\nlooked_until\t1", id="torn, of ours"),
        pytest.param("lies ahead: 4294967295", b"4294967295\n", id="the future"),
        pytest.param("lies ahead: 2099-10-24 12:00:00", b"2099-10-24 12:00:00\n", id="the future, in local time"),
        pytest.param("is empty", b" " * 200 + b"1729771200\n", id="too long"),
    ],
)
def test_an_old_checkpoint_that_makes_no_sense_is_ignored_and_told(old: Path, words: str, content: bytes) -> None:
    old.write_bytes(content)
    assert words in refused(old)


@pytest.mark.parametrize(("is_taken", "age"), [(True, OLD_CHECKPOINT_MAX_AGE - 60), (False, 5 * 86400 + 60)])
def test_an_old_checkpoint_is_taken_over_for_two_days(old: Path, is_taken: bool, age: int) -> None:
    os.utime(old, (time.time(), time.time() - age))
    assert is_taken == (taken(old) is not None)
    assert is_taken or refused(old) == "is 5 days old, too old to go on from"


def test_an_old_checkpoint_counts_only_from_root_or_ourselves(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "geteuid", lambda: 4242)
        assert taken(old) is not None  # root's
        os.chown(old, 4242, -1)
    assert taken(old) is not None  # ours
    monkeypatch.setattr(os, "geteuid", lambda: 4243)
    assert refused(old).startswith("does not count: it belongs to another account")


@pytest.mark.parametrize(
    ("kind", "words"), [("link", "symbolic link"), ("pipe", "not a file"), ("folder", "not a file")]
)
def test_what_is_no_file_is_no_old_checkpoint(old: Path, kind: str, words: str) -> None:
    target = old.rename(old.with_name("target"))
    assert not refused(old), "there is none"
    if kind == "link":
        old.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(old)
        planted = os.open(old, os.O_RDWR)
        os.write(planted, b"1729771200\n")
    elif kind == "folder":
        old.mkdir()
    assert words in refused(old)
    if kind == "pipe":
        os.close(planted)


def test_an_old_checkpoint_that_may_not_be_read_is_ignored(old: Path) -> None:
    old.chmod(0)
    with as_nobody():
        assert refused(old) == "does not count: Permission denied"
