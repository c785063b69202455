from __future__ import annotations

import errno
import json
import os
import re
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicisync.errors import CheckpointError
from vicisync.rejected import add_rejected

PAYLOAD: Mapping[str, object] = {"uniqueid": "1.2", "duration": 45, "listId": None}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rejected.jsonl"


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond ``size`` bytes, as on a disk with no more room than that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def as_nobody() -> Iterator[None]:
    """Lay down root's power to open everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(0)


def test_a_line_says_when_why_and_what_was_sent(path: Path) -> None:
    before = int(time.time())
    add_rejected(path, "400 Bad Request: phoneNumber is required", PAYLOAD)
    text = path.read_text("ascii")
    entry = json.loads(text)
    assert text.endswith("}\n")
    assert list(entry) == ["when", "why", "payload"]
    assert entry["why"] == "400 Bad Request: phoneNumber is required"
    assert entry["payload"] == PAYLOAD
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", entry["when"])
    assert before <= time.mktime(time.strptime(entry["when"][:19], "%Y-%m-%dT%H:%M:%S")) <= time.time()


def test_lines_stand_in_the_order_of_rejection(path: Path) -> None:
    for number in range(3):
        add_rejected(path, str(number), PAYLOAD)
    lines = path.read_text("ascii").splitlines()
    assert [json.loads(line)["why"] for line in lines] == ["0", "1", "2"]


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_only_the_owner_may_read_numbers_of_customers(path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        add_rejected(path, "no", PAYLOAD)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_missing_folder_is_made_for_the_owner_alone(tmp_path: Path) -> None:
    add_rejected(tmp_path / "vicisync" / "rejected.jsonl", "no", PAYLOAD)
    assert (tmp_path / "vicisync").stat().st_mode & 0o777 == 0o700


TEXT = st.text(st.characters())


@given(why=TEXT, payload=st.dictionaries(TEXT, st.none() | st.integers() | TEXT))
def test_whatever_a_row_holds_is_one_line_that_json_reads_back(
    tmp_path_factory: pytest.TempPathFactory, why: str, payload: Mapping[str, object]
) -> None:
    path = tmp_path_factory.mktemp("any") / "rejected.jsonl"
    add_rejected(path, why, payload)
    (line,) = path.read_bytes().split(b"\n")[:-1]
    entry = json.loads(line)
    assert (why, payload) == (entry["why"], entry["payload"])


def test_after_a_torn_line_the_next_one_starts_afresh(path: Path) -> None:
    path.write_bytes(b'{"when": "2024-10-24T12:0')
    add_rejected(path, "no", PAYLOAD)
    torn, whole = path.read_text("ascii").splitlines()
    assert torn == '{"when": "2024-10-24T12:0'
    assert json.loads(whole)["payload"] == PAYLOAD


# Where it cannot be written


@contextmanager
def refused(path: Path) -> Iterator[list[str]]:
    """Expect an error that names the file and says that nothing is lost; the reason is added to the list."""
    reason: list[str] = []
    with pytest.raises(CheckpointError) as error:
        yield reason
    match = re.fullmatch(
        rf"Cannot write the rejected file {re.escape(str(path))}: (.+); the call stays watched", str(error.value)
    )
    assert match, error.value
    reason.append(match[1])


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "shadow"
    target.write_text("")
    path.symlink_to(target)
    with refused(path):
        add_rejected(path, "no", PAYLOAD)
    assert target.read_text() == ""


def test_a_link_to_nothing_makes_nothing(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "planted")
    with refused(path):
        add_rejected(path, "no", PAYLOAD)
    assert not (tmp_path / "planted").exists()


def test_a_folder_in_its_place_is_told(path: Path) -> None:
    path.mkdir()
    with refused(path) as reason:
        add_rejected(path, "no", PAYLOAD)
    assert reason == ["Is a directory"]


def test_a_pipe_in_its_place_is_told_and_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    with refused(path):
        add_rejected(path, "no", PAYLOAD)


def test_a_file_in_place_of_its_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "vicisync").write_text("")
    path = tmp_path / "vicisync" / "rejected.jsonl"
    with refused(path):
        add_rejected(path, "no", PAYLOAD)


def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    path = folder / "rejected.jsonl"
    with as_nobody(), refused(path) as reason:
        add_rejected(path, "no", PAYLOAD)
    assert reason == ["Permission denied"]


def test_a_line_for_which_there_is_not_enough_room_is_taken_back(path: Path) -> None:
    add_rejected(path, "no", PAYLOAD)
    before = path.read_bytes()
    with largest_file(len(before) + 20), refused(path) as reason:
        add_rejected(path, "no", PAYLOAD)
    assert reason == ["no room for the whole line"]
    assert path.read_bytes() == before
    add_rejected(path, "no", PAYLOAD)
    assert len(path.read_bytes().splitlines()) == 2


def test_a_line_for_which_there_is_no_room_at_all_is_told(path: Path) -> None:
    add_rejected(path, "no", PAYLOAD)
    before = path.read_bytes()
    with largest_file(len(before)), refused(path) as reason:
        add_rejected(path, "no", PAYLOAD)
    assert reason == [os.strerror(errno.EFBIG)]
    assert path.read_bytes() == before


def test_a_line_counts_only_when_the_disk_has_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing disk cannot be placed here; what it would say to fsync can."""

    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    with refused(path) as reason:
        add_rejected(path, "no", PAYLOAD)
    assert reason == ["Input/output error"]
