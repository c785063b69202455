import copy
import json
import re
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vicisync.calls.readiness import FAILED, TO_SEND, UNANSWERED, Readiness, Watched
from vicisync.state.checkpoint import (
    OUTCOMES,
    Checkpoint,
    Damaged,
    Handled,
    Refusal,
    appended_line,
    parse,
    render,
    starting_at,
)

pytestmark = pytest.mark.usefixtures("utc")

GIVE_UP_AFTER = 28800
HEADER = "end_epoch\t1729771200\t2024-10-24 12:00:00\nended_after\t1729767600\nlooked_until\t1729771260\n"


def test_the_text_is_one_fact_a_line_and_starts_with_the_newest_end() -> None:
    watching = {
        "1729771201.5": Watched(7, 1729771201, "not_ended"),
        "1729771202.6": Watched(8, 1729771202, "failed", failed_runs=3),
    }
    handled = {
        "1729771100.1": Handled(1729771100, 9),
        "1729771101.2": Handled(1729771101, None),
        "1729771102.3": Handled(1729771102, 10, "rejected"),
    }
    checkpoint = Checkpoint(1729771200, 1729767600, 1729771260, watching, handled)
    text = (
        HEADER.replace("\n", "\t8 lines, crc32 f4bcea8b\n", 1) + "watching\t1729771201.5\t7\t1729771201\tnot_ended\n"
        "watching\t1729771202.6\t8\t1729771202\tfailed:3\n"
        "delivered\t1729771100.1\t1729771100\t9\n"
        "delivered\t1729771101.2\t1729771101\n"
        "rejected\t1729771102.3\t1729771102\t10\n"
    )
    assert text == render(checkpoint)
    assert checkpoint == parse(text, GIVE_UP_AFTER)


NASTY = ["", "\t", "\n", "\r\n", "\0", " ", "%", "%09", "%zz", "é", "📞", "\ud800", "\ud800\udc00", "\udcff", "\u2028"]
UNIQUEIDS = st.sampled_from(NASTY) | st.text(st.characters(), max_size=20)
EPOCHS = st.integers(0, 2**32 - 1)
LEADS = st.integers(0, 2**32 - 1)
HANDLED = st.builds(Handled, EPOCHS, st.none() | LEADS, st.sampled_from(OUTCOMES))
PAYLOADS = st.just("") | st.text(st.characters()).map(json.dumps)
WATCHED = st.one_of(
    st.builds(
        Watched, LEADS, EPOCHS, st.sampled_from([FAILED, UNANSWERED]), st.integers(0, 99), st.just(0), PAYLOADS
    ),
    st.builds(
        Watched, LEADS, EPOCHS, st.sampled_from([TO_SEND, *(one.value for one in Readiness)]), st.just(0), EPOCHS,
        PAYLOADS,
    ),
)  # fmt: skip
REFUSALS = st.none() | st.builds(Refusal, EPOCHS, EPOCHS)


@st.composite
def checkpoints(draw: st.DrawFn) -> Checkpoint:
    handled = draw(st.dictionaries(UNIQUEIDS, HANDLED, max_size=10))
    watching = draw(st.dictionaries(UNIQUEIDS, WATCHED, max_size=5))
    for uniqueid in handled:
        watching.pop(uniqueid, None)
    return Checkpoint(
        draw(EPOCHS), draw(EPOCHS), draw(EPOCHS), watching, handled, polled=draw(EPOCHS), refusal=draw(REFUSALS)
    )


@given(checkpoint=checkpoints())
@example(checkpoint=Checkpoint(0, 0, 0, {uniqueid: Watched(0, 0, "failed") for uniqueid in NASTY}))
def test_whatever_is_written_is_read_back_the_same_and_in_order(checkpoint: Checkpoint) -> None:
    text = render(checkpoint)
    read = parse(text, GIVE_UP_AFTER)
    assert checkpoint == read
    assert list(checkpoint.watching) == list(read.watching)
    assert text.isascii()
    optional = bool(checkpoint.polled) + bool(checkpoint.refusal)
    assert len(text.splitlines()) == 3 + optional + len(checkpoint.watching) + len(checkpoint.handled)


@given(checkpoint=checkpoints(), uniqueid=UNIQUEIDS, handled=HANDLED)
def test_an_appended_line_torn_anywhere_leaves_the_state_before_it(
    checkpoint: Checkpoint, uniqueid: str, handled: Handled
) -> None:
    before = render(checkpoint)
    line = appended_line(uniqueid, handled)
    for position in range(len(line)):
        assert checkpoint == parse(before + line[:position], GIVE_UP_AFTER)
    after = copy.deepcopy(checkpoint)
    after.watching.pop(uniqueid, None)
    after.handled[uniqueid] = handled
    assert after == parse(before + line, GIVE_UP_AFTER)


# Damage


WATCHING = {"1729771201.5": Watched(7, 1729771201, "not_ended"), "é%": Watched(8, 1729771202, "failed", 3)}
COMPACTED = Checkpoint(1729771200, 1729767600, 1729771260, WATCHING, {"1729771100.1": Handled(1729771100, 9)})
LAST = "delivered\t1729771100.1\t1729771100\t9\n"
APPENDED = {"1729771201.5": Handled(1729771201, 7), "1729771102.3": Handled(1729771102, 10, "rejected")}


def test_a_file_that_is_cut_anywhere_is_damaged_or_lacks_what_was_appended_last() -> None:
    head, lines = render(COMPACTED), [appended_line(*call) for call in APPENDED.items()]
    text = head + "".join(lines)
    for length in range(len(text)):
        if length < len(head):
            with pytest.raises(Damaged):
                parse(text[:length], GIVE_UP_AFTER)
        else:
            whole = 0 if length < len(head + lines[0]) else 1
            read = parse(text[:length], GIVE_UP_AFTER)
            assert list(APPENDED)[:whole] == [uniqueid for uniqueid in APPENDED if uniqueid in read.handled]
            assert COMPACTED.handled.items() <= read.handled.items()


@pytest.mark.parametrize("appended", [0, 1, 2])
def test_a_flipped_bit_anywhere_is_damage_but_in_the_last_newline_of_what_was_appended(appended: int) -> None:
    calls = list(APPENDED.items())[:appended]
    text = render(COMPACTED) + "".join(appended_line(*call) for call in calls)
    for position, sign in enumerate(text):
        for bit in range(7):  # with the eighth it is no ASCII, and not even read
            flipped = f"{text[:position]}{chr(ord(sign) ^ 1 << bit)}{text[position + 1 :]}"
            if appended and position == len(text) - 1:  # as if the line were torn there
                assert calls[-1][0] not in parse(flipped, GIVE_UP_AFTER).handled
            else:
                with pytest.raises(Damaged):
                    parse(flipped, GIVE_UP_AFTER)


LINE = appended_line("5.1", Handled(5, 7))


@pytest.mark.parametrize(
    ("why", "damage"),
    [
        pytest.param("it is cut short: 5 of its 6 lines are there", lambda text: text[: -len(LAST)], id="cut"),
        pytest.param("its first 6 lines are not as ", lambda text: text.replace("\t7\t", "\t8\t"), id="a lead"),
        pytest.param(
            "its first 6 lines are not as ", lambda text: text.replace("watch", "\0" * 5, 1), id="NULs within"
        ),
        pytest.param("line 7 is not a checkpoint's: 'delivered", lambda text: text + LAST, id="no crc32"),
        pytest.param("line 7 ", lambda text: text + LINE.replace("7", "8", 1), id="a lead that was appended"),
        pytest.param("line 7 ", lambda text: f"{text}\0\0\0\n{LINE}", id="NULs before the last line"),
        pytest.param("line 7 ", lambda text: f"{text}delivered\t5.1{LINE}", id="torn before the last line"),
    ],
)
def test_damage_of_a_proven_file_is_told(why: str, damage: Callable[[str], str]) -> None:
    with pytest.raises(Damaged) as refused:
        parse(damage(render(COMPACTED)), GIVE_UP_AFTER)
    assert str(refused.value).startswith(why)


@given(checkpoint=checkpoints())
def test_a_file_of_version_1_0_0_is_read_as_it_is(checkpoint: Checkpoint) -> None:
    first, _, rest = render(checkpoint).partition("\n")
    head, _, proof = first.rpartition("\t")
    assert re.fullmatch(r"[0-9]+ lines, crc32 [0-9a-f]{8}", proof)
    assert checkpoint == parse(f"{head}\n{rest}", GIVE_UP_AFTER)
    appended = "rejected\t5.1\t5\t7\n"
    assert Handled(5, 7, "rejected") == parse(f"{head}\n{rest}{appended}torn", GIVE_UP_AFTER).handled["5.1"]


@pytest.mark.parametrize("word", OUTCOMES)
def test_a_later_line_outdates_watching(word: str) -> None:
    read = parse(f"{HEADER}watching\t5.1\t7\t5\tto_send\nwatching\t5.2\t7\t5\tto_send\n{word}\t5.1\t5\t7\n", 0)
    assert read.watching == {"5.2": Watched(7, 5, "to_send")}
    assert read.handled == {"5.1": Handled(5, 7, word)}


def test_nul_bytes_that_a_power_failure_left_at_the_end_are_a_torn_line() -> None:
    assert parse(HEADER, 0) == parse(HEADER + "\0" * 4096, 0)


@pytest.mark.parametrize("time", ["2024-10-24 12:00:00", "1729771200"])
@pytest.mark.parametrize("line", ["{}", "{}\n", "{}\r\n", "  {} \n\n"], ids=["bare", "line", "as on Windows", "spaces"])
def test_a_line_written_by_hand_means_deliver_again_what_ended_after_that(time: str, line: str) -> None:
    assert starting_at(1729771200, GIVE_UP_AFTER) == parse(line.format(time), GIVE_UP_AFTER)


@pytest.mark.parametrize(
    ("why", "text"),
    [
        pytest.param("it is empty", "", id="empty"),
        pytest.param("it holds nothing but NUL bytes", "\0" * 4096, id="NULs"),
        pytest.param("line 1 is not a checkpoint's: ''", "\n", id="an empty line"),
        pytest.param("line 4 is not a checkpoint's: ''", HEADER + "\n", id="an empty line at the end"),
        pytest.param("line 4 is not a checkpoint's: 'sent\\t5.1\\t5'", HEADER + "sent\t5.1\t5\n", id="unknown word"),
        pytest.param("line 4 is not a checkpoint's: 'delivered'", HEADER + "delivered\n", id="a word alone"),
        pytest.param("line 4 ", HEADER + "delivered\t5.1\n", id="delivered lacks its start"),
        pytest.param("line 4 ", HEADER + "delivered\t5.1\t5\t7\t9\n", id="delivered has a field too many"),
        pytest.param("line 1 ", HEADER.replace("1729771200", "9" * 20), id="an epoch that no clock can show"),
        pytest.param("line 4 ", HEADER + "delivered\t5.1\t-5\t7\n", id="a negative start"),
        pytest.param("line 4 ", HEADER + "delivered\t5.1\t5\t\n", id="an empty lead"),
        pytest.param("line 4 ", HEADER + "delivered\t%FF\t5\t7\n", id="an id that is no text"),
        pytest.param("line 4 ", HEADER + "watching\t5.1\t7\t5\n", id="watching lacks its reason"),
        pytest.param("line 4 ", HEADER + "watching\t5.1\t7\t5\tfailed\t{}\t1\n", id="watching has a field too many"),
        pytest.param("line 4 ", HEADER + "watching\t5.1\t-7\t5\tfailed\n", id="a negative lead"),
        pytest.param("line 4 ", HEADER + "watching\t5.1\t7\t5\tfailed:-1\n", id="negative failed_runs"),
        pytest.param("line 4 ", HEADER + "watching\t5.1\t7\t5\tfailed:x\n", id="failed_runs that are no number"),
        pytest.param("line 4 ", HEADER + "\0" * 60 + "\n", id="NULs within"),
        pytest.param("line 1 ", HEADER.replace("1729771200", ""), id="an epoch is empty"),
        pytest.param("line 1 ", HEADER.replace("1729771200", "-1"), id="an epoch is negative"),
        pytest.param("line 1 ", HEADER.replace("1729771200", "١٧"), id="an epoch in other digits"),
        pytest.param("line 2 ", HEADER.replace("\n", "\r\n"), id="saved on Windows"),
        pytest.param("line 2 ", HEADER.replace("\nended_after\t", "\nended_after "), id="a tab became a space"),
        pytest.param("line 1 ", "2024-10-24 12:00:00\n2024-10-25 12:00:00\n", id="two lines by hand"),
        pytest.param("line 1 ", "root:x:0:0:root:/root:/bin/bash\n", id="another program's file"),
        pytest.param("line 1 ", "<!DOCTYPE html>\n<html>\n", id="a page"),
        pytest.param("it lacks ended_after and looked_until", HEADER.split("\n")[0] + "\n", id="the first line alone"),
        pytest.param("it lacks looked_until", "".join(HEADER.splitlines(True)[:2]), id="two lines"),
        pytest.param("it lacks looked_until", HEADER[:-1], id="torn in its head, which no append can do"),
        pytest.param("it lacks end_epoch", "yesterday", id="words"),
    ],
)
def test_damage_of_a_file_without_proof_is_told_by_its_place_and_never_guessed_over(why: str, text: str) -> None:
    with pytest.raises(Damaged) as refused:
        parse(text, GIVE_UP_AFTER)
    assert why in str(refused.value)


@given(text=st.text() | st.text().map(HEADER.__add__))
def test_any_text_at_all_is_a_checkpoint_or_damaged(text: str) -> None:
    with suppress(Damaged):
        assert isinstance(parse(text, GIVE_UP_AFTER), Checkpoint)


def test_an_endless_line_is_told_in_short() -> None:
    with pytest.raises(Damaged) as refused:
        parse("x" * 100_000 + "\n", 0)
    assert len(str(refused.value)) < 100


@pytest.mark.parametrize(
    ("kept", "uniqueid", "start"),
    [
        pytest.param(False, "5.1", 99, id="before the bound"),
        pytest.param(True, "5.1", 100, id="at the bound"),
        pytest.param(True, "6.1", 99, id="a watched call has the same stem"),
    ],
)
def test_a_handled_call_is_kept_while_a_poll_can_bring_it_back(kept: bool, uniqueid: str, start: int) -> None:
    checkpoint = Checkpoint(0, 0, 0, watching={"6.2": Watched(7, 5, "failed")})
    checkpoint.handled[uniqueid] = Handled(start, 7)
    checkpoint.forget_before(100)
    assert kept == (uniqueid in checkpoint.handled)
    assert list(checkpoint.watching) == ["6.2"]


def test_a_checkpoint_knows_what_is_watched_and_what_was_handled() -> None:
    checkpoint = Checkpoint(0, 0, 0, {"1.1": Watched(7, 1, "failed")}, {"1.2": Handled(1, 7)})
    assert list(map(checkpoint.knows, ("1.1", "1.2", "1.4"))) == [True, True, False]


@pytest.mark.parametrize(
    ("epoch", "looked_until"), [(100_000, 71200), (5, 0)], ids=["ever", "near the beginning of time"]
)
def test_a_start_looks_back_for_calls_that_had_begun_by_then(epoch: int, looked_until: int) -> None:
    assert starting_at(epoch, 28800) == Checkpoint(epoch, epoch, looked_until)


def test_the_calls_that_could_go_are_those_that_failed_or_whose_turn_did_not_come() -> None:
    reasons = {90: "not_ended", 95: "no_disposition", 300: FAILED, 100: TO_SEND}
    checkpoint = Checkpoint(400, 0, 400, {f"{start}.1": Watched(1, start, word) for start, word in reasons.items()})
    assert [300, 100] == list(checkpoint.deliverable_starts())
    assert 400 == checkpoint.lag(500)
