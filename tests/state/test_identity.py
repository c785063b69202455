import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicisync.calls.call import CallRow, stem
from vicisync.calls.readiness import Watched
from vicisync.state.checkpoint import Checkpoint, Handled
from vicisync.state.identity import follow, new_calls

LEAD = 7
START = 1000


def row(uniqueid: str, *, lead: int = LEAD, start: int = START, end: int = 0, status: str = "") -> CallRow:
    return CallRow(uniqueid, lead, start, end, status, "")


def watched(lead: int = LEAD, start: int = START) -> Watched:
    return Watched(lead, start, "not_ended")


def knowing(
    *, watching: dict[str, Watched] | None = None, delivered: tuple[str, ...] = (), rejected: tuple[str, ...] = ()
) -> Checkpoint:
    outcomes = {**dict.fromkeys(delivered, "delivered"), **dict.fromkeys(rejected, "rejected")}
    handled = {uniqueid: Handled(START, LEAD, outcome) for uniqueid, outcome in outcomes.items()}
    return Checkpoint(0, 0, 0, watching or {}, handled)


# What a page brings


def brought_by(rows: list[CallRow], checkpoint: Checkpoint, *unread: str) -> tuple[list[CallRow], dict[str, CallRow]]:
    """What a page brings that has these rows, and others that are not read since their ids are known."""
    return new_calls(rows, {*unread, *(row.uniqueid for row in rows)}, checkpoint, START)


@pytest.mark.parametrize(
    ("is_new", "seen"),
    [
        pytest.param(True, row("1.1"), id="an unseen row"),
        pytest.param(True, row("1.1", start=START), id="it started at the bound"),
        pytest.param(False, row("1.1", start=START - 1), id="it started a second before the bound"),
        pytest.param(False, row("2.1"), id="watched"),
        pytest.param(False, row("2.2"), id="delivered"),
        pytest.param(False, row("2.3"), id="rejected"),
    ],
)
def test_a_new_call_started_in_time_and_is_not_known(is_new: bool, seen: CallRow) -> None:
    checkpoint = knowing(watching={"2.1": watched()}, delivered=("2.2",), rejected=("2.3",))
    assert ([seen] if is_new else [], {}) == brought_by([seen], checkpoint)


@pytest.mark.parametrize(
    ("is_rewritten", "seen"),
    [
        pytest.param(True, row("5.2"), id="the same stem, lead and start"),
        pytest.param(False, row("6.2"), id="another stem"),
        pytest.param(False, row("5.2", lead=8), id="another lead in the same second"),
        pytest.param(False, row("5.2", start=START + 1), id="another start"),
    ],
)
@pytest.mark.parametrize("handled", ["delivered", "rejected"])
def test_a_call_rewritten_after_it_was_handled_is_known_by_stem_lead_and_start(
    handled: str, is_rewritten: bool, seen: CallRow
) -> None:
    checkpoint = knowing(**{handled: ("5.1",)})  # type: ignore[arg-type]
    result = brought_by([seen], checkpoint)
    assert (([], {"5.1": seen}) if is_rewritten else ([seen], {})) == result


@pytest.mark.parametrize(
    ("page", "unread"),
    [
        pytest.param([row("5.1"), row("5.2")], (), id="read again"),
        pytest.param([row("5.1", start=START - 1), row("5.2")], (), id="before the bound"),
        pytest.param([row("5.2")], ("5.1",), id="not read again"),
    ],
)
def test_a_twin_of_a_delivered_call_whose_row_is_still_there_is_another_call(
    page: list[CallRow], unread: tuple[str, ...]
) -> None:
    assert ([row("5.2")], {}) == brought_by(page, knowing(delivered=("5.1",)), *unread)


def test_a_call_delivered_without_a_lead_on_record_matches_no_rewritten_row() -> None:
    checkpoint = Checkpoint(0, 0, 0, handled={"5.1": Handled(START, None)})
    assert ([row("5.2")], {}) == brought_by([row("5.2")], checkpoint)


def test_each_vanished_call_excuses_one_row_and_no_twin_of_it() -> None:
    page = [row("5.7"), row("5.8"), row("5.9")]
    assert (page[1:], {"5.1": page[0]}) == brought_by(page, knowing(rejected=("5.1",)))
    unknown, rewritten = brought_by(page, knowing(delivered=("5.1", "5.2")))
    assert (page[2:], {"5.1", "5.2"}) == (unknown, set(rewritten))


def test_a_call_that_is_watched_and_rewritten_after_its_row_was_read_does_not_come_as_a_new_one() -> None:
    """It would go twice: as it ended, and, a quarter of an hour later, as it was kept under the id that is gone."""
    assert ([], {"5.1": row("5.2")}) == brought_by([row("5.2")], knowing(watching={"5.1": watched()}))


# Where the watched calls are


@pytest.mark.parametrize("seen", [row("5.1", status="SALE"), row("5.1", lead=8)], ids=["changed", "under another lead"])
def test_a_watched_call_is_found_by_its_id(seen: CallRow) -> None:
    assert ({"5.1": seen}, []) == follow([seen], [row("5.2")], knowing(watching={"5.1": watched()}))


@pytest.mark.parametrize(
    ("is_it", "relative"),
    [
        pytest.param(True, row("5.2"), id="rewritten behind the dot"),
        pytest.param(True, row("5.2", start=START + 90), id="rewritten, with a start of its own"),
        pytest.param(False, row("6.2"), id="another second"),
        pytest.param(False, row("5.2", lead=8), id="another lead"),
        pytest.param(False, row("5.7"), id="another call of the lead, watched itself"),
        pytest.param(False, row("5.8"), id="another call of the lead, delivered"),
        pytest.param(False, row("5.9"), id="another call of the lead, rejected"),
    ],
)
def test_a_watched_call_whose_row_is_gone_is_looked_for_among_unseen_rows_of_its_lead(
    is_it: bool, relative: CallRow
) -> None:
    checkpoint = knowing(watching={"5.1": watched(), "5.7": watched()}, delivered=("5.8",), rejected=("5.9",))
    found = {"5.7": row("5.7"), **({"5.1": relative} if is_it else {})}
    assert (found, [] if is_it else ["5.1"]) == follow([row("5.7")], [relative], checkpoint)


def test_a_call_delivered_and_then_rewritten_is_not_taken_for_a_watched_one_that_is_gone() -> None:
    checkpoint = knowing(watching={"5.1": watched(start=START - 1)}, delivered=("5.2",))
    assert ({}, ["5.1"]) == follow([], [row("5.9")], checkpoint)


def test_of_a_watched_and_a_delivered_call_alike_in_everything_the_watched_one_was_rewritten() -> None:
    """One of the two is gone, nobody can tell which: better sent twice than lost."""
    checkpoint = knowing(watching={"5.1": watched()}, delivered=("5.2",))
    assert ({"5.1": row("5.9")}, []) == follow([], [row("5.9")], checkpoint)


def test_two_watched_calls_that_were_both_rewritten_take_a_row_each_and_never_the_same() -> None:
    checkpoint = knowing(watching={"5.1": watched(), "5.2": watched()})
    assert ({"5.1": row("5.9")}, ["5.2"]) == follow([], [row("5.9")], checkpoint)
    found, gone = follow([], [row("5.8"), row("5.9")], checkpoint)
    assert ({"5.1", "5.2"}, [row("5.8"), row("5.9")], []) == (set(found), sorted(found.values()), gone)


def test_of_several_rewritten_rows_the_nearest_start_wins() -> None:
    checkpoint = knowing(watching={"5.1": watched()})
    near, far = row("5.9", start=START + 2), row("5.2", start=START - 3)
    assert ({"5.1": near}, []) == follow([], [far, near], checkpoint)


IDS = st.builds("{}.{}".format, st.integers(1, 2), st.integers(1, 4))
ROWS = st.lists(
    st.builds(row, IDS, lead=st.integers(1, 2), start=st.integers(999, 1001)), unique_by=lambda seen: seen.uniqueid
)
CHECKPOINTS = st.builds(
    Checkpoint,
    end_epoch=st.just(0),
    ended_after=st.just(0),
    looked_until=st.just(0),
    watching=st.dictionaries(IDS, st.builds(watched, st.integers(1, 2), st.integers(999, 1001))),
    handled=st.dictionaries(IDS, st.builds(Handled, st.integers(999, 1001), st.none() | st.integers(1, 2))),
)


@given(page=ROWS, checkpoint=CHECKPOINTS)
def test_of_a_page_each_unknown_row_in_time_is_new_or_has_a_former_id_that_was_known_and_is_gone(
    page: list[CallRow], checkpoint: Checkpoint
) -> None:
    unknown, rewritten = brought_by(page, checkpoint)
    expected = [seen for seen in page if seen.start_epoch >= START and not checkpoint.knows(seen.uniqueid)]
    assert sorted(expected) == sorted([*unknown, *rewritten.values()])
    for former, seen in rewritten.items():
        known = checkpoint.handled.get(former) or checkpoint.watching[former]
        assert (seen.start_epoch, seen.lead_id) == (known.start_epoch, known.lead_id)
        assert stem(former) == stem(seen.uniqueid)
        assert former not in [other.uniqueid for other in page]


@given(table=ROWS, checkpoint=CHECKPOINTS)
def test_each_watched_call_is_found_or_gone_and_no_row_serves_two(table: list[CallRow], checkpoint: Checkpoint) -> None:
    by_id = [seen for seen in table if seen.uniqueid in checkpoint.watching]
    found, gone = follow(by_id, table, checkpoint)
    assert sorted(checkpoint.watching) == sorted([*found, *gone])
    assert len(found) == len({seen.uniqueid for seen in found.values()})
    assert all(seen.uniqueid == uniqueid or not checkpoint.knows(seen.uniqueid) for uniqueid, seen in found.items())
