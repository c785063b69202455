import errno
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.limits import as_nobody, largest_file
from tests.state.test_files import IS_A_LINK, IS_NO_FILE
from vicisync.calls.call import Call, payload
from vicisync.errors import CheckpointError
from vicisync.state.rejected import Rejected, add_delivered, add_rejected, forget_delivered, read_rejected

PAYLOAD: Mapping[str, object] = {"uniqueid": "1.2", "duration": 45, "listId": None}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rejected.jsonl"


@pytest.mark.parametrize(
    ("add", "holds"),
    [
        (lambda path: add_rejected(path, "400: no", PAYLOAD), {"why": "400: no", "payload": PAYLOAD}),
        (lambda path: add_delivered(path, "1.1"), {"delivered": "1.1"}),
    ],
    ids=["no", "delivered later"],
)
def test_a_line_says_when_and_what(path: Path, add: Callable[[Path], None], holds: Mapping[str, object]) -> None:
    before = int(time.time())
    add(path)
    text = path.read_text("ascii")
    entry = json.loads(text)
    assert text.endswith("}\n")
    assert ["when", *holds] == list(entry)
    assert {"when": entry["when"], **holds} == entry
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", entry["when"])
    assert before <= time.mktime(time.strptime(entry["when"][:19], "%Y-%m-%dT%H:%M:%S")) <= time.time()


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


# Where it cannot be written


@contextmanager
def refused(path: Path, reason: str, verb: str = "write") -> Iterator[None]:
    with pytest.raises(CheckpointError) as error:
        yield
    cure = f"\n→ make room: df -h --output=target,avail,iavail {path.parent}" if reason.startswith("No space") else ""
    assert f"Cannot {verb} the rejected file {path}: {reason}{cure}" == str(error.value)


def broken_disk() -> AbstractContextManager[object]:
    """A failing disk cannot be placed here; what it would say to fsync can."""
    return mock.patch.object(os, "fsync", side_effect=OSError(errno.EIO, os.strerror(errno.EIO)))


@contextmanager
def closed_folder(folder: Path) -> Iterator[None]:
    folder.chmod(0o500)
    with as_nobody():
        yield


@pytest.mark.parametrize(
    ("reason", "obstacle"),
    [
        pytest.param("Is a directory", lambda path: nullcontext(path.mkdir(parents=True)), id="folder in its place"),
        pytest.param("File exists", lambda path: nullcontext(path.parent.touch()), id="file in its folder's place"),
        pytest.param("Permission denied", lambda path: closed_folder(path.parent.parent), id="closed folder"),
        pytest.param("Input/output error", lambda _: broken_disk(), id="broken disk"),
    ],
)
def test_where_it_cannot_be_written_that_is_told(
    tmp_path: Path, reason: str, obstacle: Callable[[Path], AbstractContextManager[object]]
) -> None:
    path = tmp_path / "folder" / "rejected.jsonl"
    with obstacle(path), refused(path, reason):
        add_rejected(path, "no", PAYLOAD)


@pytest.mark.parametrize(("room", "reason"), [(20, "No space left on device"), (0, "File too large")])
def test_a_line_for_which_there_is_not_enough_room_is_taken_back(path: Path, room: int, reason: str) -> None:
    add_rejected(path, "no", PAYLOAD)
    before = path.read_bytes()
    with largest_file(len(before) + room), refused(path, reason):
        add_rejected(path, "no", PAYLOAD)
    assert path.read_bytes() == before
    add_rejected(path, "no", PAYLOAD)
    assert len(path.read_bytes().splitlines()) == 2


def test_the_disk_knows_a_new_file_by_name_before_its_first_line_counts(path: Path) -> None:
    fsync, synced = os.fsync, []

    def watched(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    with mock.patch.object(os, "fsync", watched):
        add_rejected(path, "no", PAYLOAD)
        assert [path, path.parent] == synced
        add_delivered(path, "1.2")
    assert [path, path.parent, path] == synced


# Read again


CALL = Call(
    "1729771200.123", 1234567, 999, "CAMPAIGN", "2024-10-24 12:00:00", 1729771200, 1729771245, 45, "SALE", "1",
    "5551234567", "agent001", None, "AGENTS", "CALLER", "MAIN", 3,
)  # fmt: skip


def call(uniqueid: str, **changed: str) -> Call:
    return CALL._replace(uniqueid=uniqueid, **changed)  # type: ignore[arg-type]


def reject(path: Path, *calls: Call) -> None:
    for each in calls:
        add_rejected(path, "400 Bad Request", payload(each, {}))


def numbered(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")


def test_without_a_file_there_are_no_calls(path: Path) -> None:
    assert Rejected({}, []) == read_rejected(path)
    assert Rejected({}, []) == read_rejected(path.parent / "no folder" / "rejected.jsonl")
    assert [] == list(path.parent.iterdir())


def test_rejected_calls_are_read_back_in_the_order_of_rejection_each_as_it_was_last(path: Path) -> None:
    calls = [call("1.3", phone_number="1"), call("1.1"), call("1.2"), call("1.3", phone_number="2")]
    reject(path, *calls)
    assert [calls[3], calls[1], calls[2]] == list(read_rejected(path).calls.values())
    assert ["1.3", "1.1", "1.2"] == list(read_rejected(path).calls)


@given(uniqueid=TEXT)
def test_a_rejected_call_is_not_read_once_delivered(tmp_path_factory: pytest.TempPathFactory, uniqueid: str) -> None:
    path = tmp_path_factory.mktemp("any") / "rejected.jsonl"
    other = call(f"not {uniqueid}")
    reject(path, call(uniqueid), other)
    add_delivered(path, uniqueid)
    add_delivered(path, f"never {uniqueid}")
    assert Rejected({other.uniqueid: other}, []) == read_rejected(path)


def test_a_call_rejected_again_after_its_delivery_is_to_get_through_again(path: Path) -> None:
    reject(path, call("1.1", phone_number="1"))
    add_delivered(path, "1.1")
    reject(path, call("1.1", phone_number="2"))
    for _ in range(2):
        assert {"1.1": call("1.1", phone_number="2")} == read_rejected(path).calls
        forget_delivered(path)


GOOD = json.dumps({"when": "", "why": "", "payload": payload(call("5.1"), {})}).encode()
DAMAGED = [
    pytest.param(GOOD[:60], id="torn"),
    pytest.param(GOOD[:-1], id="its last brace is gone"),
    pytest.param(GOOD.replace(b'"5.1"', b'"5.1'), id="a quote is gone"),
    pytest.param(GOOD.replace(b'"5551234567"', b"5551234567"), id="a quoted number has lost its quotes"),
    pytest.param(GOOD.replace(b'"5551234567"', b'"555\xff"'), id="no text"),
    pytest.param(GOOD.replace(b'"payload"', b'"pay load"'), id="no payload"),
    *(pytest.param(b'{"when": "", "payload": %s}' % text, id=f"payload {text!r}") for text in (b"{}", b"null", b"[1]")),
    pytest.param(b"# mended by Joe, ask him", id="a comment"),
    *(pytest.param(text, id=text.decode()) for text in (b'"delivered"', b'["delivered"]')),
    *(pytest.param(text, id=text.decode()) for text in (b"null", b"[]", b"17")),
    pytest.param(b"\0" * 100, id="NULs"),
    pytest.param(b"\xff\xfe{\0}\0", id="UTF-16"),
    pytest.param(b"[" * 100_000, id="too deep"),
    pytest.param(b"9" * 10_000, id="a number beyond all bounds"),
]


@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_damaged_line_is_told_by_its_number_and_outlives_the_delivered_ones(path: Path, damaged: bytes) -> None:
    reject(path, call("1.1"), call("1.2"))
    with path.open("ab") as file:
        file.write(damaged + b"\n")
    reject(path, call("1.3"))
    add_delivered(path, "1.1")
    assert Rejected({"1.2": call("1.2"), "1.3": call("1.3")}, [3]) == read_rejected(path)
    before = numbered(path)
    forget_delivered(path)
    assert [before[1], damaged, before[3], b""] == numbered(path)
    path.write_bytes(b"\n\n" + path.read_bytes())  # an editor counts empty lines, too
    assert Rejected({"1.2": call("1.2"), "1.3": call("1.3")}, [4]) == read_rejected(path)


def test_a_torn_last_line_outlives_the_delivered_ones_and_does_not_spoil_the_next(path: Path) -> None:
    reject(path, call("1.1"))
    with path.open("ab") as file:
        file.write(GOOD[:60])
    add_delivered(path, "1.1")
    assert Rejected({}, [2]) == read_rejected(path)
    forget_delivered(path)
    reject(path, call("1.2"))
    assert GOOD[:60] == numbered(path)[0]
    assert Rejected({"1.2": call("1.2")}, [1]) == read_rejected(path)


def test_a_note_torn_by_a_crash_leaves_its_call_to_be_sent_again(path: Path) -> None:
    reject(path, call("1.1"))
    before = len(path.read_bytes())
    add_delivered(path, "1.1")
    whole = path.read_bytes()
    for end in range(before, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert {"1.1": call("1.1")} == read_rejected(path).calls


@pytest.mark.parametrize(
    "edited",
    [
        pytest.param(lambda text: text.replace(b"\n", b"\r\n"), id="lines ended as on Windows"),
        pytest.param(lambda text: text.rstrip(b"\n"), id="without the last newline"),
        pytest.param(lambda text: text.replace(b", ", b" ,\t "), id="other spaces"),
        pytest.param(lambda text: b"\xef\xbb\xbf" + text, id="with a mark of its encoding in front"),
        pytest.param(lambda text: b"\n" + text.replace(b"\n", b"\n  \n") + b"\n\n", id="empty lines between"),
    ],
)
def test_what_an_editor_does_to_space_harms_no_call(path: Path, edited: Callable[[bytes], bytes]) -> None:
    reject(path, call("1.1"), call("1.2"))
    path.write_bytes(edited(path.read_bytes()))
    assert Rejected({"1.1": call("1.1"), "1.2": call("1.2")}, []) == read_rejected(path)
    add_delivered(path, "1.1")
    forget_delivered(path)
    assert Rejected({"1.2": call("1.2")}, []) == read_rejected(path)


def test_a_mended_payload_is_what_is_read(path: Path) -> None:
    reject(path, call("1.1"))
    path.write_bytes(path.read_bytes().replace(b"5551234567", "5559\u00e9".encode()))
    assert {"1.1": call("1.1", phone_number="5559é")} == read_rejected(path).calls


# The delivered ones forgotten


def test_what_was_not_delivered_stays_as_it_was_written_for_the_owner_alone(path: Path) -> None:
    reject(path, call("1.1"), call("1.2"), call("1.3"), call("1.2"))
    path.chmod(0o644)
    before = numbered(path)
    add_delivered(path, "1.2")
    forget_delivered(path)
    assert [before[0], before[2], b""] == numbered(path)
    assert 0o600 == path.stat().st_mode & 0o777
    add_delivered(path, "1.3")
    add_delivered(path, "1.1")
    forget_delivered(path)
    assert b"" == path.read_bytes()


@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [(broken_disk, "Input/output error"), (lambda: largest_file(100), "No space left on device")],
    ids=["a broken disk", "a disk without room"],
)
def test_the_file_written_anew_is_on_the_disk_before_it_takes_the_name(
    path: Path, obstacle: Callable[[], AbstractContextManager[object]], reason: str
) -> None:
    reject(path, call("1.1"), call("1.2"))
    add_delivered(path, "1.1")
    before = path.read_bytes()
    with obstacle(), refused(path, reason):
        forget_delivered(path)
    assert before == path.read_bytes()
    assert [path] == list(path.parent.iterdir())


@pytest.mark.parametrize(
    ("reason", "plant"),
    [
        pytest.param(IS_A_LINK, lambda path: path.symlink_to("target"), id="link"),
        pytest.param(IS_NO_FILE, Path.mkdir, id="folder"),
        pytest.param("Permission denied", lambda path: path.touch(mode=0), id="closed"),
    ],
)
@pytest.mark.parametrize("reading", [read_rejected, forget_delivered])
def test_what_cannot_be_read_is_told_and_left(
    path: Path, reason: str, plant: Callable[[Path], object], reading: Callable[[Path], object]
) -> None:
    target = path.with_name("target")
    reject(target, call("1.1"))
    plant(path)
    before = path.lstat()
    with as_nobody() if reason == "Permission denied" else nullcontext(), refused(path, reason, "read"):
        reading(path)
    assert before == path.lstat()
    assert {"1.1"} == set(read_rejected(target).calls)


NOTE = b'{"when": "", "delivered": "5.1"}'
LINES = st.sampled_from([GOOD, NOTE, GOOD.replace(b"5.1", b"5.2"), GOOD[:60], b"", b"  ", b"\0", b"{}", b'"delivered"'])
BYTES = st.binary(max_size=200) | st.lists(LINES | st.binary(max_size=30), max_size=8).map(b"\n".join)


@given(content=BYTES)
def test_any_bytes_at_all_are_read_and_no_line_but_a_delivered_one_is_forgotten(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "rejected.jsonl"
    path.write_bytes(content)
    calls, unreadable = read_rejected(path)
    before = [line for line in numbered(path) if line.strip()]
    assert len(unreadable) <= len(before)
    forget_delivered(path)
    assert calls == read_rejected(path).calls
    after = [line for line in numbered(path) if line.strip()]
    assert len(unreadable) == len(read_rejected(path).unreadable)
    kept = iter(before)
    assert all(line in kept for line in after)  # in their order, byte for byte
    add_rejected(path, "400", payload(call("7.7"), {}))
    assert {*calls, "7.7"} == set(read_rejected(path).calls)
