"""The store: what it has returned from is on the disk, and a dry run's store writes nothing."""

import errno
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from unittest import mock

import pytest

from tests.limits import fill, largest_file, small_disk, umask
from vicisync.calls.call import CallRow
from vicisync.calls.readiness import FAILED, TO_SEND, Watched
from vicisync.errors import CheckpointError
from vicisync.state.checkpoint import Checkpoint, Handled, appended_line, render, starting_at
from vicisync.state.files import write_whole
from vicisync.state.identity import new_calls
from vicisync.state.load import read_checkpoint
from vicisync.state.lock import locked
from vicisync.state.reserve import RESERVE
from vicisync.state.store import Store

START = 1000
WATCHING = {"5.1": Watched(7, 5, "to_send"), "5.2": Watched(8, 5, "failed", 3)}
HANDLED = {"4.1": Handled(4, 9), "3.1": Handled(3, 10, "rejected")}
CHECKPOINT = Checkpoint(1729771200, 1729767600, 1729771260, WATCHING, HANDLED)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


@pytest.fixture
def rejected_file(tmp_path: Path) -> Path:
    return tmp_path / "rejected.jsonl"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with opened(path, Checkpoint(START, START, START)) as store:
        yield store


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    with small_disk(tmp_path) as disk:
        yield disk


@contextmanager
def opened(path: Path, checkpoint: Checkpoint = CHECKPOINT) -> Iterator[Store]:
    with locked(path), Store(deepcopy(checkpoint), path, path.with_name("rejected.jsonl")) as store:
        yield store


@contextmanager
def refused(said: str) -> Iterator[None]:
    with pytest.raises(CheckpointError) as error:
        yield
    assert said == str(error.value)


def on_disk(path: Path) -> Checkpoint:
    """What a run would find that starts after a kill right now."""
    checkpoint = read_checkpoint(path, 28800)
    assert checkpoint is not None
    return checkpoint


def row(uniqueid: str, *, lead: int = 7, start: int = START, end: int = START + 60) -> CallRow:
    return CallRow(uniqueid, lead, start, end, "SALE", "")


def about_to_send(store: Store, rows: list[CallRow]) -> None:
    store.make_ready()
    for one in rows:
        store.watch(one, TO_SEND)


def deliver(store: Store, uniqueid: str) -> None:
    about_to_send(store, [row(uniqueid)])
    store.delivered(uniqueid, START + 60)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


# The file


def test_what_is_saved_is_read_back(path: Path) -> None:
    with opened(path) as store:
        store.save()
        assert on_disk(path) == CHECKPOINT
    assert path.read_text() == render(CHECKPOINT)


def test_lines_are_appended_to_the_file_last_saved_and_a_later_batch_needs_nothing_else(path: Path) -> None:
    with opened(path) as store:
        deliver(store, "6.1")
        store.save()
        saved, before = path.read_text(), path.stat()
        about_to_send(store, [row("6.2")])
        assert path.stat() == before
        store.delivered("6.2", START + 60)
    assert "6.1" in saved
    assert path.read_text() == saved + appended_line("6.2", Handled(START, 7))


def test_a_save_that_would_change_nothing_leaves_the_disk_alone(path: Path) -> None:
    with opened(path) as store:
        store.save()
        before = path.stat()
        store.save()
        assert path.stat() == before


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_only_the_owner_may_read_a_run_s_files_of_which_the_reserve_goes_with_it(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "vicisync" / "checkpoint"
    with umask(mask), opened(path) as store:
        store.make_ready()
        modes = {name.name: mode(name) for name in path.parent.iterdir()}
        assert path.with_name("checkpoint.reserve").stat().st_blocks * 512 >= RESERVE
    assert mode(path.parent) == 0o700
    assert modes == dict.fromkeys(["checkpoint", "checkpoint.lock", "checkpoint.reserve"], 0o600)
    assert names(path.parent) == ["checkpoint", "checkpoint.lock"]


@pytest.mark.parametrize("leftover", ["checkpoint.new", "checkpoint.reserve"])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_a_crash_left_behind_or_others_planted_is_replaced(path: Path, leftover: str, kind: str) -> None:
    target = path.with_name("target")
    target.write_text("precious")
    if kind == "file":
        path.with_name(leftover).write_text("half a check")
    else:
        path.with_name(leftover).symlink_to(target)
    with opened(path) as store:
        store.make_ready()
    assert on_disk(path) == CHECKPOINT
    assert target.read_text() == "precious"
    assert not path.with_name(leftover).exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE], ids=errno.errorcode.get)
def test_where_the_folder_cannot_be_synced_calls_in_flight_are_recorded_in_the_file_that_is_there(
    number: int, store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about_to_send(store, [row("1.1"), row("1.2")])
    with monkeypatch.context() as patch:
        patch.setattr("vicisync.state.store.fsync_folder", mock.Mock(side_effect=OSError(number, os.strerror(number))))
        with pytest.raises(CheckpointError, match=re.escape(os.strerror(number))):
            store.looked(START + 600, 600)
        for uniqueid in ("1.1", "1.2"):
            store.delivered(uniqueid, START + 60)
    assert {"1.1", "1.2"} == set(on_disk(path).handled)


def test_a_save_that_is_cut_short_leaves_the_old_file_whole(path: Path) -> None:
    with opened(path) as store:
        store.save()
        store.checkpoint.handled.update({f"9.{number}": Handled(5, 7) for number in range(1000)})
        said = f"^Cannot save the checkpoint {re.escape(str(path))}: "
        with largest_file(500), pytest.raises(CheckpointError, match=said):
            store.save()
        assert on_disk(path) == CHECKPOINT
        store.delivered("5.1", START)
    assert path.read_text() == render(CHECKPOINT) + appended_line("5.1", Handled(5, 7))
    assert names(path.parent) == ["checkpoint", "checkpoint.lock"]


# What others do to it meanwhile


def write_by_hand(path: Path) -> None:
    path.write_text("2024-10-24 12:00:00\n")


def put_another_in_place(path: Path) -> None:
    path.with_name("other").write_text("1729771200\n")
    path.with_name("other").rename(path)


def edit_one_digit(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(12)
        file.write(b"9")


MEDDLING = pytest.mark.parametrize(
    ("done", "meddle"),
    [
        pytest.param("replaced", write_by_hand, id="date > checkpoint"),
        pytest.param("replaced", put_another_in_place, id="mv other checkpoint"),
        pytest.param("replaced", edit_one_digit, id="as many bytes in the same file"),
        pytest.param("removed", Path.unlink, id="rm checkpoint"),
    ],
)
MEANT = {
    "replaced": "It is kept, and the next run goes on from it; what this one delivered may be sent again",
    "removed": "The next run begins as the first one did\n→ to go on where this one was:"
    " vicisync reset-checkpoint --to '1970-01-01 00:16:39'",
}


@MEDDLING
@pytest.mark.parametrize("then", ["a call is delivered", "all is saved", "nothing was written before"])
@pytest.mark.usefixtures("utc")
def test_a_checkpoint_that_somebody_replaced_or_removed_is_not_written_over(
    path: Path, done: str, meddle: Callable[[Path], None], then: str
) -> None:
    path.write_text(render(Checkpoint(START, START, START)))
    with opened(path, on_disk(path)) as store:
        if then != "nothing was written before":
            about_to_send(store, [row("1.1"), row("1.2")])
            store.delivered("1.1", START)
        meddle(path)
        before = path.read_bytes() if path.exists() else None
        for _ in range(2):
            with refused(f"The checkpoint {path} was {done} while this run was at work. {MEANT[done]}"):
                if then == "a call is delivered":
                    store.delivered("1.2", START)
                else:
                    store.looked(START + 60, 0)
            assert before == (path.read_bytes() if path.exists() else None)
            store.watch(row("1.2"), TO_SEND)
            store.checkpoint.looked_until = START
    assert ["checkpoint.lock"] == [name for name in names(path.parent) if name != "checkpoint"]


def test_a_checkpoint_that_appears_during_a_first_run_is_not_written_over(path: Path) -> None:
    with opened(path, Checkpoint(START, START, START)) as store:
        write_by_hand(path)
        with pytest.raises(CheckpointError, match="was replaced while"):
            store.save()
    assert "2024-10-24 12:00:00\n" == path.read_text()


def test_what_is_replaced_between_reading_and_the_first_save_counts(path: Path) -> None:
    """The database may take seconds to connect."""
    path.write_text("1729771200\n")
    checkpoint = on_disk(path)
    write_by_hand(path)
    with opened(path, checkpoint) as store, pytest.raises(CheckpointError, match="was replaced while"):
        store.make_ready()
    assert "2024-10-24 12:00:00\n" == path.read_text()


def test_what_is_replaced_at_the_very_moment_of_a_write_is_found_at_the_next(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written_meanwhile(fd: int, data: bytes) -> None:
        write_by_hand(path)
        write_whole(fd, data)

    with opened(path) as store:
        about_to_send(store, [row("6.1"), row("6.2")])
        with monkeypatch.context() as patch:
            patch.setattr("vicisync.state.store.write_whole", written_meanwhile)
            store.delivered("6.1", START)
        with pytest.raises(CheckpointError, match="was replaced while"):
            store.delivered("6.2", START)
    assert path.read_text().startswith("2024-10-24 12:00:00\n")


def test_what_is_replaced_while_the_new_file_is_written_counts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may take seconds for it."""

    def fsync(_: int) -> None:
        write_by_hand(path)

    with opened(path) as store:
        store.save()
        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(CheckpointError, match="was replaced while"):
            store.looked(START + 60, 0)
    assert "2024-10-24 12:00:00\n" == path.read_text()


def test_one_who_only_reads_the_checkpoint_or_changes_its_mode_is_in_nobody_s_way(path: Path) -> None:
    with opened(path) as store:
        deliver(store, "6.1")
        path.read_text()
        path.chmod(0o640)
        path.with_name("backup").hardlink_to(path)
        deliver(store, "6.2")
        store.save()
    assert {"6.1", "6.2"} <= set(on_disk(path).handled)


# A loss of power


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How much of the checkpoint has been on the disk for sure since the last look: its bytes then, or 0."""
    sizes: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: sizes.append(os.fstat(fd).st_size))
    return lambda: sizes.pop() if sizes else 0


def test_what_was_appended_is_on_the_disk_about_a_second_later(
    path: Path, synced: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 1000.0
    monkeypatch.setattr("vicisync.state.store.time.monotonic", lambda: clock)
    with opened(path) as store:
        about_to_send(store, [row(f"6.{number}") for number in range(5)])
        sizes = []
        for number, clock in enumerate([1000.5, 1001.0, 1001.5, 1001.9, 1002.1]):  # noqa: B007 -- read by the clock
            store.delivered(f"6.{number}", START)
            sizes.append(path.stat().st_size if synced() == path.stat().st_size else 0)
        assert [False, True, False, False, True] == list(map(bool, sizes))


def test_a_disk_that_cannot_sync_what_was_appended_ends_the_run_with_the_call_recorded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(path) as store:
        about_to_send(store, [row("6.1")])
        monkeypatch.setattr("vicisync.state.store.SYNC_INTERVAL", 0)
        monkeypatch.setattr(os, "fdatasync", mock.Mock(side_effect=OSError(errno.EIO, "Input/output error")))
        with refused(f"Cannot write the checkpoint {path}: Input/output error"):
            store.delivered("6.1", START)
    assert "6.1" in on_disk(path).handled


# What becomes of calls


def test_before_anything_is_sent_the_file_says_what_is_about_to_be(store: Store, path: Path) -> None:
    store.watch(row("1.1"), "not_ended")
    store.make_ready()
    assert on_disk(path).watching == {"1.1": Watched(7, START, "not_ended")}
    assert path.with_name("checkpoint.reserve").exists()


@pytest.mark.parametrize("word", ["delivered", "rejected"])
def test_a_handled_call_is_in_the_file_at_once_and_one_about_to_be_sent_stays_watched_until_then(
    store: Store, path: Path, word: str
) -> None:
    about_to_send(store, [row("1.1"), row("1.2")])
    if word == "delivered":
        store.delivered("1.1", START)
    else:
        store.rejected("1.1", "400", {})
    for _ in range(2):
        assert on_disk(path).handled == {"1.1": Handled(START, 7, word)}
        assert store.checkpoint.watching == {"1.2": Watched(7, START, TO_SEND)}
        store.save()
    assert on_disk(path).watching == {"1.2": Watched(7, START, TO_SEND)}


@pytest.mark.parametrize(
    ("newest", "end"),
    [
        pytest.param(START + 60, START + 60, id="newer"),
        pytest.param(START, START - 60, id="older: it never goes back"),
        pytest.param(START, 0, id="NULL"),
    ],
)
def test_the_newest_end_delivered_is_kept(store: Store, path: Path, newest: int, end: int) -> None:
    about_to_send(store, [row("1.1"), row("1.2")])
    store.delivered("1.1", end)
    store.rejected("1.2", "400", {})
    store.save()
    assert newest == on_disk(path).end_epoch


def test_a_rejected_call_is_in_the_rejected_file_before_the_checkpoint_says_so(
    store: Store, path: Path, rejected_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    append = Store._append

    def watched_append(store: Store, path: Path, line: str) -> None:
        seen.append(json.loads(rejected_file.read_text())["payload"])
        append(store, path, line)

    monkeypatch.setattr(Store, "_append", watched_append)
    about_to_send(store, [row("1.1")])
    store.rejected("1.1", "400 Bad Request", {"uniqueid": "1.1"})
    assert seen == [{"uniqueid": "1.1"}]
    assert on_disk(path).handled == {"1.1": Handled(START, 7, "rejected")}
    assert json.loads(rejected_file.read_text())["why"] == "400 Bad Request"


def test_a_call_that_the_rejected_file_cannot_take_stays_watched(store: Store, path: Path, rejected_file: Path) -> None:
    rejected_file.mkdir()
    about_to_send(store, [row("1.1")])
    said = f"^Cannot write the rejected file {re.escape(str(rejected_file))}: Is a directory"
    with pytest.raises(CheckpointError, match=said):
        store.rejected("1.1", "400", {})
    store.save()
    assert list(on_disk(path).watching) == ["1.1"]
    assert on_disk(path).handled == {}


def test_a_call_that_failed_comes_last(store: Store, path: Path) -> None:
    about_to_send(store, [row("1.1"), row("1.2"), row("1.3")])
    store.failed("1.1", {})
    assert list(store.checkpoint.watching) == ["1.2", "1.3", "1.1"]
    store.save()
    assert list(on_disk(path).watching.items())[-1] == ("1.1", Watched(7, START, FAILED, payload="{}"))


def test_failed_runs_outlive_the_run_and_every_later_try(store: Store, path: Path, rejected_file: Path) -> None:
    about_to_send(store, [row("1.1")])
    store.failed("1.1", {})
    assert [store.count_failed_run("1.1"), store.count_failed_run("1.1")] == [1, 2]
    store.save()
    assert on_disk(path).watching == {"1.1": Watched(7, START, FAILED, failed_runs=2, payload="{}")}
    later = Store(on_disk(path), None, rejected_file)
    later.watch(row("1.1"), "no_disposition")
    about_to_send(later, [row("1.1")])
    later.rewritten("1.1", "1.9")
    later.failed("1.9", {})
    assert later.count_failed_run("1.9") == 3


def test_a_dropped_call_is_watched_no_longer(store: Store, path: Path) -> None:
    store.watch(row("1.1"), "not_ended")
    store.drop("1.1")
    store.drop("1.1")
    store.save()
    assert on_disk(path).watching == {}


@pytest.mark.parametrize("kind", ["watching", "delivered", "rejected"])
def test_a_rewritten_call_is_known_by_its_new_id(store: Store, path: Path, kind: str) -> None:
    about_to_send(store, [row("1.1")])
    if kind == "delivered":
        store.delivered("1.1", START)
    elif kind == "rejected":
        store.rejected("1.1", "400", {})
    calls = "watching" if kind == "watching" else "handled"
    before = getattr(store.checkpoint, calls)["1.1"]
    for former, uniqueid in (("1.1", "1.8"), ("1.8", "1.9")):
        store.rewritten(former, uniqueid)
    store.save()
    assert getattr(on_disk(path), calls) == {"1.9": before}


def new(store: Store, *rows: CallRow) -> list[CallRow]:
    """What a page of these rows brings."""
    unknown, rewritten = new_calls(rows, {row.uniqueid for row in rows}, store.checkpoint, START)
    for former, found in rewritten.items():
        store.rewritten(former, found.uniqueid)
    return unknown


def test_a_former_id_explains_one_row_in_this_poll_or_any_later_one_even_after_a_kill(
    store: Store, path: Path, rejected_file: Path
) -> None:
    deliver(store, "1.1")
    assert new(store, row("1.9")) == []
    assert new(Store(on_disk(path), None, rejected_file), row("1.9")) == []
    assert new(store, row("1.9"), row("1.10")) == [row("1.10")]


def test_how_far_a_poll_has_looked_is_saved_and_what_none_can_meet_again_is_forgotten(store: Store, path: Path) -> None:
    about_to_send(store, [row("1.1", start=START - 1), row("1.2", start=START)])
    store.delivered("1.1", START)
    store.delivered("1.2", START)
    store.looked(START + 720, overlap=600)
    assert on_disk(path).looked_until == START + 720
    assert list(on_disk(path).handled) == ["1.2"]


# A full disk


def test_a_disk_too_full_to_save_stops_the_run_before_anything_is_sent(disk: Path) -> None:
    path = disk / "checkpoint"
    with opened(path) as store:
        store.save()
        fill(disk)
        with refused(
            f"Cannot save the checkpoint {path}: No space left on device."
            " What was delivered stays recorded in it as it was appended"
            f"\n→ make room: df -h --output=target,avail,iavail {disk}"
        ):
            store.looked(1729771320, overlap=0)
    assert on_disk(path) == CHECKPOINT
    assert names(disk) == ["checkpoint", "checkpoint.lock", "filler"]


def test_a_disk_without_room_for_the_answers_stops_the_run_each_time_before_anything_is_sent(disk: Path) -> None:
    path = disk / "checkpoint"
    with opened(path) as store:
        fill(disk, leaving=RESERVE // 2)
        for _ in range(2):
            with refused(
                f"No room beside the checkpoint {path}: No space left on device. Nothing was sent,"
                f" since what is sent could not be recorded\n→ make room: df -h --output=target,avail,iavail {disk}"
            ):
                about_to_send(store, [row("6.1")])
        assert on_disk(path) == CHECKPOINT == store.checkpoint
        assert names(disk) == ["checkpoint", "checkpoint.lock", "filler"]


def test_when_the_disk_fills_up_the_calls_in_flight_are_recorded_and_the_run_ends(disk: Path) -> None:
    path = disk / "checkpoint"
    ids = [f"1729771200.{number}" for number in range(10000)]
    sent: list[str] = []
    with opened(path, Checkpoint(1, 1, 1)) as store:
        about_to_send(store, [row(uniqueid) for uniqueid in ids])
        fill(disk)
        with refused(
            f"No room for the checkpoint {path}: No space left on device. The calls in flight were recorded,"
            f" no more were sent\n→ make room: df -h --output=target,avail,iavail {disk}"
        ):
            for uniqueid in ids:
                sent.append(uniqueid)
                store.delivered(uniqueid, 0)
        for uniqueid in ids[len(sent) :][:8]:
            sent.append(uniqueid)
            store.delivered(uniqueid, 0)
    assert sent == list(on_disk(path).handled)


def test_a_line_that_finds_no_room_even_so_leaves_the_lines_before_it(disk: Path) -> None:
    path = disk / "checkpoint"
    ids = [f"1729771200.{number}" for number in range(10000)]
    with opened(path) as store:
        about_to_send(store, [row(uniqueid) for uniqueid in ids])
        disk.joinpath("checkpoint.reserve").unlink()
        fill(disk)
        recorded = list(CHECKPOINT.handled)
        with suppress(CheckpointError):
            for uniqueid in ids:
                store.delivered(uniqueid, 0)
                recorded.append(uniqueid)
    assert len(recorded) < 10000
    assert list(on_disk(path).handled) == recorded


def test_a_line_torn_for_want_of_room_does_not_spoil_the_next_one(path: Path) -> None:
    with opened(path) as store:
        about_to_send(store, [row("6.1"), row("6.2")])
        with largest_file(path.stat().st_size + 10), pytest.raises(CheckpointError, match=r"^No room"):
            store.delivered("6.1", 0)
        store.delivered("6.2", 0)
    assert "6.2" in on_disk(path).handled


def test_an_error_other_than_a_full_disk_is_told_as_it_is_and_the_call_is_not_sent_again(path: Path) -> None:
    with opened(path) as store:
        about_to_send(store, [row("6.1")])
        with largest_file(path.stat().st_size), refused(f"Cannot write the checkpoint {path}: File too large"):
            store.delivered("6.1", 0)
        assert "6.1" not in store.checkpoint.watching
    assert on_disk(path) == CHECKPOINT


# A dry run


def test_a_dry_run_remembers_and_writes_nothing(tmp_path: Path, rejected_file: Path) -> None:
    store = Store(starting_at(START, 0), None, rejected_file)
    store.watch(row("1.1"), "not_ended")
    about_to_send(store, [row("1.2"), row("1.3"), row("1.4")])
    store.delivered("1.2", START)
    store.rejected("1.4", "400", {})
    store.failed("1.3", {})
    store.count_failed_run("1.3")
    store.looked(START + 60, overlap=600)
    store.save()
    assert new(store, row("1.2"), row("1.4"), row("2.5")) == [row("2.5")]
    assert set(store.checkpoint.watching) == {"1.1", "1.3"}
    assert list(tmp_path.iterdir()) == []
