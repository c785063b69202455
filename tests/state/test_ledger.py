from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.limits import largest_file
from vicisync.calls.call import Call, CallRow
from vicisync.calls.readiness import Readiness
from vicisync.errors import CheckpointError
from vicisync.state.checkpoint import FAILED, TO_SEND, Checkpoint, Handled, Watched
from vicisync.state.checkpoint_file import RESERVE, CheckpointFile, read_checkpoint
from vicisync.state.ledger import Ledger

START = 1000


def row(uniqueid: str, *, lead: int = 7, start: int = START, end: int = START + 60) -> CallRow:
    return CallRow(uniqueid, lead, start, end, "SALE", "")


def call(uniqueid: str, *, end: int | None = START + 60) -> Call:
    return Call(uniqueid, 7, *([None] * 15))._replace(end_epoch=end)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


@pytest.fixture
def rejected_file(tmp_path: Path) -> Path:
    return tmp_path / "rejected.jsonl"


@pytest.fixture
def file(path: Path) -> Iterator[CheckpointFile]:
    with CheckpointFile(path) as file:
        yield file


@pytest.fixture
def ledger(file: CheckpointFile, rejected_file: Path) -> Ledger:
    return Ledger(Checkpoint(START, START, START), file, rejected_file)


def on_disk(path: Path) -> Checkpoint:
    """What a run would find that starts after a kill right now."""
    checkpoint = read_checkpoint(path, 28800)
    assert checkpoint is not None
    return checkpoint


def test_the_ledger_shows_where_its_checkpoint_stands(file: CheckpointFile, rejected_file: Path) -> None:
    ledger = Ledger(Checkpoint(3, 1, 2), file, rejected_file)
    assert [ledger.end_epoch, ledger.ended_after, ledger.looked_until] == [3, 1, 2]


def test_before_anything_is_sent_the_file_says_what_is_about_to_be(ledger: Ledger, path: Path) -> None:
    ledger.watch(row("1.1"), Readiness.NOT_ENDED)
    ledger.about_to_send([])
    assert on_disk(path).watching == {"1.1": Watched(7, START, "not_ended")}
    assert path.with_name("checkpoint.reserve").exists()


def test_a_disk_without_room_for_answers_is_found_each_time_before_anything_is_sent(ledger: Ledger) -> None:
    for _ in range(2):
        with largest_file(RESERVE - 1), pytest.raises(CheckpointError, match="Nothing was sent"):
            ledger.about_to_send([row("1.1")])
    assert ledger.watching() == {}


def test_only_the_first_batch_has_to_make_ready(ledger: Ledger, path: Path) -> None:
    ledger.about_to_send([row("1.1")])
    ledger.delivered(call("1.1"))
    before = path.stat()
    ledger.about_to_send([row("1.2")])
    assert path.stat() == before


def test_a_call_about_to_be_sent_stays_watched_until_it_is_handled(ledger: Ledger, path: Path) -> None:
    ledger.about_to_send([row("1.1"), row("1.2", lead=8)])
    assert ledger.watching() == {"1.1": Watched(7, START, TO_SEND), "1.2": Watched(8, START, TO_SEND)}
    ledger.save()
    assert on_disk(path).watching == ledger.watching()


def test_a_delivered_call_is_in_the_file_at_once(ledger: Ledger, path: Path) -> None:
    ledger.about_to_send([row("1.1"), row("1.2")])
    ledger.delivered(call("1.1"))
    assert on_disk(path).delivered == {"1.1": Handled(START, 7)}
    assert list(ledger.watching()) == ["1.2"]
    ledger.save()
    assert on_disk(path).delivered == {"1.1": Handled(START, 7)}
    assert list(on_disk(path).watching) == ["1.2"]


@pytest.mark.parametrize(
    ("newest", "end"),
    [
        pytest.param(START + 60, START + 60, id="newer"),
        pytest.param(START, START - 60, id="older: it never goes back"),
        pytest.param(START, None, id="NULL"),
    ],
)
def test_the_newest_end_delivered_is_kept(ledger: Ledger, path: Path, newest: int, end: int | None) -> None:
    ledger.about_to_send([row("1.1")])
    ledger.delivered(call("1.1", end=end))
    assert newest == ledger.end_epoch
    ledger.save()
    assert newest == on_disk(path).end_epoch


def test_a_rejected_call_does_not_move_the_newest_end(ledger: Ledger) -> None:
    ledger.about_to_send([row("1.1")])
    ledger.rejected(call("1.1"), "400", {})
    assert ledger.end_epoch == START


def test_a_rejected_call_is_in_the_rejected_file_before_the_checkpoint_says_so(path: Path, rejected_file: Path) -> None:
    seen: list[object] = []

    class Watching(CheckpointFile):
        def append(self, line: str) -> None:
            seen.append(json.loads(rejected_file.read_text())["payload"])
            super().append(line)

    with Watching(path) as file:
        ledger = Ledger(Checkpoint(START, START, START), file, rejected_file)
        ledger.about_to_send([row("1.1")])
        ledger.rejected(call("1.1"), "400 Bad Request", {"uniqueid": "1.1"})
        assert seen == [{"uniqueid": "1.1"}]
        assert on_disk(path).rejected == {"1.1": Handled(START, 7)}
        assert ledger.watching() == {}
    assert json.loads(rejected_file.read_text())["why"] == "400 Bad Request"


def test_a_call_that_the_rejected_file_cannot_take_stays_watched(
    ledger: Ledger, path: Path, rejected_file: Path
) -> None:
    rejected_file.mkdir()
    ledger.about_to_send([row("1.1")])
    with pytest.raises(
        CheckpointError, match=f"^Cannot write the rejected file {re.escape(str(rejected_file))}: Is a directory"
    ):
        ledger.rejected(call("1.1"), "400", {})
    ledger.save()
    assert list(on_disk(path).watching) == ["1.1"]
    assert on_disk(path).rejected == {}


def test_a_call_that_failed_goes_to_the_end_of_the_line(ledger: Ledger, path: Path) -> None:
    ledger.about_to_send([row("1.1"), row("1.2"), row("1.3")])
    ledger.failed("1.1")
    assert list(ledger.watching()) == ["1.2", "1.3", "1.1"]
    ledger.save()
    assert list(on_disk(path).watching.items())[-1] == ("1.1", Watched(7, START, FAILED))


def test_strikes_outlive_the_run_and_every_later_try(ledger: Ledger, path: Path, rejected_file: Path) -> None:
    ledger.about_to_send([row("1.1")])
    ledger.failed("1.1")
    assert [ledger.count_failed_run("1.1"), ledger.count_failed_run("1.1")] == [1, 2]
    ledger.save()
    assert on_disk(path).watching == {"1.1": Watched(7, START, FAILED, failed_runs=2)}
    later = Ledger(on_disk(path), None, rejected_file)
    later.watch(row("1.1"), Readiness.NO_DISPOSITION)
    later.about_to_send([row("1.1")])
    later.follow(later.watching(), [], [row("1.9")])
    later.failed("1.9")
    assert later.count_failed_run("1.9") == 3


def test_a_dropped_call_is_watched_no_longer(ledger: Ledger, path: Path) -> None:
    ledger.watch(row("1.1"), Readiness.NOT_ENDED)
    ledger.drop("1.1")
    ledger.drop("1.1")
    ledger.save()
    assert on_disk(path).watching == {}


def test_a_watched_call_that_was_rewritten_is_watched_under_its_new_id(ledger: Ledger, path: Path) -> None:
    ledger.watch(row("1.1"), Readiness.NOT_ENDED)
    ledger.watch(row("2.1"), Readiness.NOT_ENDED)
    ledger.watch(row("3.1"), Readiness.NOT_ENDED)
    followed = ledger.follow(ledger.watching(), [row("2.1")], [row("1.9")])
    assert followed.found == {"1.1": row("1.9"), "2.1": row("2.1")}
    assert followed.gone == ["3.1"]
    ledger.save()
    assert set(on_disk(path).watching) == {"1.9", "2.1", "3.1"}


def new_calls(ledger: Ledger, *rows: CallRow) -> list[CallRow]:
    """What a page of these rows brings."""
    return ledger.new_calls(rows, {row.uniqueid for row in rows}, START)


def test_newcomers_are_those_not_seen_before(ledger: Ledger) -> None:
    ledger.watch(row("1.1"), Readiness.NOT_ENDED)
    ledger.about_to_send([row("1.2")])
    ledger.delivered(call("1.2"))
    page = [row("1.1"), row("1.2"), row("1.3"), row("1.4", start=START - 1)]
    assert new_calls(ledger, *page) == [row("1.3")]


@pytest.mark.parametrize(
    ("known", "uniqueids"),
    [
        pytest.param(True, ["1.1", "1.2", "1.3"], id="watched, delivered, rejected"),
        pytest.param(False, ["1.1", "1.2", "1.3", "1.4"], id="a stranger among them"),
        pytest.param(True, [], id="none"),
    ],
)
def test_rows_are_known_where_all_are_watched_or_handled(known: bool, uniqueids: list[str], ledger: Ledger) -> None:
    ledger.watch(row("1.1"), Readiness.NOT_ENDED)
    ledger.about_to_send([row("1.2"), row("1.3")])
    ledger.delivered(call("1.2"))
    ledger.rejected(call("1.3"), "400", {})
    assert known == ledger.knows_all(uniqueids)


@pytest.mark.parametrize("handled", ["delivered", "rejected"])
def test_a_call_rewritten_after_it_was_handled_is_remembered_under_its_new_id(
    ledger: Ledger, path: Path, handled: str
) -> None:
    ledger.about_to_send([row("1.1")])
    if handled == "delivered":
        ledger.delivered(call("1.1"))
    else:
        ledger.rejected(call("1.1"), "400", {})
    for _ in range(2):
        assert new_calls(ledger, row("1.9")) == []
    ledger.save()
    assert getattr(on_disk(path), handled) == {"1.9": Handled(START, 7)}
    assert [] == list(on_disk(path).watching)


def test_a_call_rewritten_twice_after_its_delivery_is_no_newcomer(ledger: Ledger, path: Path) -> None:
    ledger.about_to_send([row("1.1")])
    ledger.delivered(call("1.1"))
    for uniqueid in ("1.8", "1.9"):
        assert new_calls(ledger, row(uniqueid)) == []
    ledger.save()
    assert on_disk(path).delivered == {"1.9": Handled(START, 7)}


def test_a_twin_that_appears_after_the_delivered_call_was_rewritten_is_a_newcomer(ledger: Ledger) -> None:
    """The former id is spent: it excuses one row, in this look or any later one."""
    ledger.about_to_send([row("1.1")])
    ledger.delivered(call("1.1"))
    assert new_calls(ledger, row("1.9")) == []
    assert new_calls(ledger, row("1.9"), row("1.10")) == [row("1.10")]


def test_a_kill_before_the_new_id_is_saved_still_knows_the_call(
    ledger: Ledger, path: Path, rejected_file: Path
) -> None:
    ledger.about_to_send([row("1.1")])
    ledger.delivered(call("1.1"))
    assert new_calls(ledger, row("1.9")) == []
    later = Ledger(on_disk(path), None, rejected_file)
    assert new_calls(later, row("1.9")) == []


def test_what_was_looked_at_is_saved_and_what_no_look_can_meet_again_is_forgotten(ledger: Ledger, path: Path) -> None:
    ledger.about_to_send([row("1.1", start=START - 1), row("1.2", start=START)])
    ledger.delivered(call("1.1"))
    ledger.delivered(call("1.2"))
    ledger.looked(START + 600, overlap=600)
    assert ledger.looked_until == START + 600
    assert on_disk(path).looked_until == START + 600
    assert list(on_disk(path).delivered) == ["1.2"]


def test_what_the_ledger_shows_cannot_be_changed_from_outside(ledger: Ledger) -> None:
    ledger.watch(row("1.1"), Readiness.NOT_ENDED)
    ledger.watching().clear()
    assert list(ledger.watching()) == ["1.1"]


def test_workers_that_report_at_once_lose_nothing(ledger: Ledger, path: Path, rejected_file: Path) -> None:
    ids = [f"1.{number}" for number in range(320)]
    ledger.about_to_send(map(row, ids))

    def work(mine: list[str]) -> None:
        for number, uniqueid in enumerate(mine):
            if number % 4 == 3:
                ledger.rejected(call(uniqueid), "400", {"uniqueid": uniqueid})
            elif number % 4 == 2:
                ledger.failed(uniqueid)
            else:
                ledger.delivered(call(uniqueid))

    workers = [threading.Thread(target=work, args=(ids[first::8],)) for first in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    read = on_disk(path)
    assert [len(read.delivered), len(read.rejected)] == [160, 80]
    assert {json.loads(line)["payload"]["uniqueid"] for line in rejected_file.read_text().splitlines()} == set(
        read.rejected
    )
    assert set(ids) - {*read.delivered, *read.rejected} == set(ledger.watching())


def test_a_full_disk_is_raised_to_the_worker_and_the_call_is_not_sent_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise CheckpointError("No room")

    ledger.about_to_send([row("1.1")])
    monkeypatch.setattr(CheckpointFile, "append", full)
    with pytest.raises(CheckpointError, match="No room"):
        ledger.delivered(call("1.1"))
    assert ledger.watching() == {}


# A dry run


def test_a_dry_run_remembers_and_writes_nothing(tmp_path: Path, rejected_file: Path) -> None:
    ledger = Ledger(Checkpoint(START, START, START), None, rejected_file)
    ledger.watch(row("1.1"), Readiness.NOT_ENDED)
    ledger.about_to_send([row("1.2"), row("1.3")])
    ledger.delivered(call("1.2"))
    ledger.failed("1.3")
    ledger.count_failed_run("1.3")
    ledger.looked(START + 60, overlap=600)
    ledger.save()
    assert new_calls(ledger, row("1.2"), row("1.4")) == [row("1.4")]
    assert set(ledger.watching()) == {"1.1", "1.3"}
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_rejects_nothing_on_disk(tmp_path: Path, rejected_file: Path) -> None:
    ledger = Ledger(Checkpoint(START, START, START), None, rejected_file)
    ledger.about_to_send([row("1.1")])
    ledger.rejected(call("1.1"), "400", {})
    assert list(tmp_path.iterdir()) == []
