from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vicisync.call import WAITING, Call, Fate, Rules, Sighting, call_of, fate, payload, sighting_of, stem

NOW = 1729771200
RULES = Rules(
    waiting_statuses=frozenset({"INCALL", "QUEUE", "DISPO", "ALTNUM", "DONEM", "XFER"}),
    wait_for_disposition=900,
    give_up_after=28800,
    ended_after=NOW - 40000,
)


def row(status: str, began: int, ended: int | None, comments: str = "AUTO") -> Sighting:
    """A row as of NOW; ``began`` and ``ended`` are seconds ago, so that -3 lies ahead."""
    return Sighting("1729771200.123", 7, NOW - began, 0 if ended is None else NOW - ended, status, comments)


@pytest.mark.parametrize(
    ("decided", "seen"),
    [
        # An agent's call
        pytest.param(Fate.NOT_ENDED, row("QUEUE", 1, None, ""), id="the customer waits for an agent"),
        pytest.param(Fate.NOT_ENDED, row("INCALL", 60, None), id="agent and customer talk"),
        pytest.param(Fate.NO_DISPOSITION, row("INCALL", 60, 1), id="the customer has hung up, the agent not yet"),
        pytest.param(Fate.NO_DISPOSITION, row("DISPO", 60, 5), id="the agent wraps up"),
        pytest.param(Fate.NO_DISPOSITION, row("ALTNUM", 60, 5), id="the agent may dial an alternate number"),
        pytest.param(Fate.READY, row("SALE", 60, 30), id="the agent has chosen"),
        pytest.param(Fate.NOT_ENDED, row("SALE", 60, None), id="a hot key sets the final status before the end"),
        pytest.param(Fate.READY, row("SALE", 60, 0), id="it ends this second"),
        pytest.param(Fate.READY, row("MYCODE", 60, 30), id="a status of the campaign's own"),
        pytest.param(Fate.READY, row("SIPACT", 60, 30), id="a status that no table of VICIdial's lists"),
        # Nobody chooses
        pytest.param(Fate.NO_DISPOSITION, row("DISPO", 1000, 899), id="one second before the wait is over"),
        pytest.param(Fate.READY, row("DISPO", 1000, 900), id="browser closed in wrap-up, wait over"),
        pytest.param(Fate.READY, row("INCALL", 1000, 900), id="browser closed in the call, wait over"),
        pytest.param(Fate.READY, row("DONEM", 1000, 900), id="DONEM for ever, wait over"),
        pytest.param(Fate.NO_DISPOSITION, row("", 60, 5), id="no status"),
        pytest.param(Fate.READY, row("", 1000, 900), id="no status, wait over"),
        pytest.param(Fate.NO_DISPOSITION, row("INCALL", 30000, 10), id="a call longer than give_up_after wraps up"),
        pytest.param(Fate.READY, row("SALE", 30000, 10), id="a call longer than give_up_after is done"),
        # No agent
        pytest.param(Fate.READY, row("NA", 30, 0, "AUTONA"), id="no answer"),
        pytest.param(Fate.READY, row("PDROP", 240, 240), id="dropped before routing: it appears ended long ago"),
        pytest.param(Fate.READY, row("NA", 420, 420), id="the audit of missed calls"),
        # An answering machine
        pytest.param(Fate.NOT_ENDED, row("AA", 10, -3), id="AA: the end lies three seconds ahead"),
        pytest.param(Fate.MESSAGE_PLAYING, row("AA", 10, 0), id="AA: the end is reached"),
        pytest.param(Fate.MESSAGE_PLAYING, row("AM", 30, 20), id="AM: the message plays"),
        pytest.param(Fate.MESSAGE_PLAYING, row("AM", 200, 119), id="AM: the longest message"),
        pytest.param(Fate.READY, row("AM", 200, 120), id="AM: no message can be playing any more"),
        pytest.param(Fate.READY, row("AA", 200, 120), id="AA: no message can be playing any more"),
        pytest.param(Fate.READY, row("AL", 60, 0), id="AL: the message has been left"),
        # Transfers
        pytest.param(Fate.NO_DISPOSITION, row("XFER", 60, 5), id="XFER: the agent's disposition follows"),
        pytest.param(Fate.NO_DISPOSITION, row("XFER", 60, 5, ""), id="XFER without comments"),
        pytest.param(Fate.READY, row("XFER", 60, 5, "REMOTE"), id="XFER of a remote agent is final"),
        pytest.param(Fate.READY, row("XFER", 1000, 900), id="XFER, wait over"),
        pytest.param(Fate.NO_DISPOSITION, row("INCALL", 60, 5, "REMOTE"), id="only XFER is final for remote agents"),
        # It never ends
        pytest.param(Fate.NOT_ENDED, row("LRERR", 28799, None), id="one second before giving up"),
        pytest.param(Fate.NEVER_ENDED, row("LRERR", 28800, None), id="given up"),
        pytest.param(Fate.NEVER_ENDED, row("SALE", 99999, None), id="given up whatever its status"),
        # Clocks
        pytest.param(Fate.NOT_ENDED, row("SALE", 60, -1), id="the end lies a second ahead"),
        pytest.param(Fate.NOT_ENDED, row("SALE", 28799, -99999), id="a wrong clock's end is waited for"),
        pytest.param(Fate.READY, row("SALE", 28800, -99999), id="a wrong clock's end holds no call for ever"),
        pytest.param(Fate.READY, row("DISPO", 28800, -99999), id="nor one in wrap-up"),
        pytest.param(Fate.READY, row("AA", 28800, -99999), id="nor one with a machine"),
        pytest.param(Fate.NOT_ENDED, row("SALE", -8, None), id="it starts ahead"),
    ],
)
def test_each_life_of_a_row_has_its_fate(decided: Fate, seen: Sighting) -> None:
    assert decided is fate(seen, NOW, RULES)


@pytest.mark.parametrize(
    ("decided", "seen"),
    [
        pytest.param(Fate.NOT_OURS, row("SALE", 700, 600), id="at the starting point"),
        pytest.param(Fate.READY, row("SALE", 700, 599), id="a second after it"),
        pytest.param(Fate.NO_DISPOSITION, row("INCALL", 700, 600), id="in wrap-up, whose end may still move"),
        pytest.param(Fate.NOT_OURS, row("INCALL", 1000, 900), id="in wrap-up for too long"),
        pytest.param(Fate.NEVER_ENDED, row("INCALL", 28800, None), id="never ended"),
    ],
)
def test_what_ended_by_the_starting_point_is_not_ours(decided: Fate, seen: Sighting) -> None:
    assert decided is fate(seen, NOW, RULES._replace(ended_after=NOW - 600))


@pytest.mark.parametrize("status", ["INCALL", "", "XFER", "AA", "AM"])
def test_without_a_wait_every_ended_call_can_go(status: str) -> None:
    assert fate(row(status, 60, 0), NOW, RULES._replace(wait_for_disposition=0)) is Fate.READY


@pytest.mark.parametrize(("decided", "ended"), [(Fate.MESSAGE_PLAYING, 59), (Fate.READY, 60)])
def test_a_message_is_waited_for_no_longer_than_a_disposition(decided: Fate, ended: int) -> None:
    assert decided is fate(row("AM", 90, ended), NOW, RULES._replace(wait_for_disposition=60))


def test_the_waiting_statuses_are_those_of_the_settings() -> None:
    rules = RULES._replace(waiting_statuses={"CALLBK"})
    assert fate(row("CALLBK", 60, 5), NOW, rules) is Fate.NO_DISPOSITION
    assert fate(row("DISPO", 60, 5), NOW, rules) is Fate.READY


SIGHTINGS = st.builds(
    row,
    status=st.sampled_from(["", "INCALL", "XFER", "AA", "AM", "AL", "SALE"]),
    began=st.integers(-10, 30000) | st.sampled_from([28799, 28800, 28801]),
    ended=st.none() | st.integers(-40000, 40001) | st.sampled_from([-1, 0, 119, 120, 899, 900, 39999, 40000]),
    comments=st.sampled_from(["", "AUTO", "REMOTE"]),
)


@given(seen=SIGHTINGS)
def test_a_call_that_can_go_has_ended_and_is_ours(seen: Sighting) -> None:
    if fate(seen, NOW, RULES) is Fate.READY:
        assert seen.end_epoch > RULES.ended_after


@given(seen=SIGHTINGS, later=st.integers(0, 40000))
def test_a_call_that_can_go_and_has_ended_can_still_go_later(seen: Sighting, later: int) -> None:
    if fate(seen, NOW, RULES) is Fate.READY and seen.end_epoch <= NOW:
        assert fate(seen, NOW + later, RULES) is Fate.READY


@given(seen=SIGHTINGS, later=st.integers(0, 40000))
def test_no_call_is_watched_for_ever(seen: Sighting, later: int) -> None:
    ends_at = max(seen.start_epoch + RULES.give_up_after, seen.end_epoch + RULES.wait_for_disposition)
    assert fate(seen, ends_at + later, RULES) not in WAITING


@given(seen=SIGHTINGS)
def test_a_disposition_that_an_agent_can_change_goes_only_when_the_wait_is_over(seen: Sighting) -> None:
    if fate(seen, NOW, RULES) is Fate.READY and seen.status in ("", "INCALL"):
        assert min(seen.end_epoch + 900, seen.start_epoch + 28800) <= NOW


WHOLE = Call(
    uniqueid="1729771200.123",
    lead_id=1234567,
    list_id=999,
    campaign_id="CAMPAIGN",
    call_date="2024-10-24 12:00:00",
    start_epoch=1729771200,
    end_epoch=1729771245,
    length_in_sec=45,
    status="SALE",
    phone_code="1",
    phone_number="5551234567",
    user="agent001",
    comments="AUTO",
    user_group="AGENTS",
    term_reason="CALLER",
    alt_dial="MAIN",
    called_count=3,
)
EMPTY = Call("1729771200.123", 0, *([None] * 15))


def test_the_payload_holds_every_field_in_its_json_type() -> None:
    assert payload(WHOLE, {}) == {
        "uniqueid": "1729771200.123",
        "leadId": "1234567",
        "listId": "999",
        "campaignId": "CAMPAIGN",
        "phoneNumber": "5551234567",
        "phoneCode": "1",
        "disposition": "SALE",
        "result": "answered",
        "duration": 45,
        "agentId": "agent001",
        "userGroup": "AGENTS",
        "termReason": "CALLER",
        "comments": "AUTO",
        "altDial": "MAIN",
        "calledCount": 3,
        "callDate": "2024-10-24 12:00:00",
        "startEpoch": 1729771200,
        "endEpoch": 1729771245,
        "timestamp": 1729771245,
    }


def test_null_is_sent_as_null_and_no_field_is_left_out() -> None:
    sent = json.loads(json.dumps(payload(EMPTY, {})))
    assert sent.keys() == payload(WHOLE, {}).keys()
    assert {key: value for key, value in sent.items() if value is not None} == {
        "uniqueid": "1729771200.123",
        "leadId": "0",
        "result": "completed",
    }


def test_zero_and_the_empty_string_are_not_null() -> None:
    sent = payload(WHOLE._replace(list_id=0, length_in_sec=0, called_count=0, status="", comments=""), {})
    fields = ("listId", "duration", "calledCount", "disposition", "comments")
    assert [sent[field] for field in fields] == ["0", 0, 0, "", ""]


def test_a_negative_length_is_sent_as_vicidial_wrote_it() -> None:
    assert payload(WHOLE._replace(length_in_sec=-2), {})["duration"] == -2


def test_an_override_changes_the_result_and_not_the_disposition() -> None:
    sent = payload(WHOLE._replace(status="XFER"), {"XFER": "answered"})
    assert (sent["result"], sent["disposition"]) == ("answered", "XFER")


@pytest.mark.parametrize(
    ("part", "uniqueid"),
    [
        ("1729771200", "1729771200.123"),
        pytest.param("1729771200", "1729771200.001234567", id="a made-up id with the lead behind the dot"),
        pytest.param("1", "1.2.3", id="two dots"),
        pytest.param("1729771200", "1729771200", id="no dot"),
        pytest.param("", "", id="empty"),
    ],
)
def test_the_stem_is_what_stands_before_the_first_dot(part: str, uniqueid: str) -> None:
    assert part == stem(uniqueid)


def test_a_whole_call_is_sighted_as_a_poll_would_read_it() -> None:
    seen = Sighting("1729771200.123", 1234567, 1729771100, 1729771245, "SALE", "AUTO")
    assert seen == sighting_of(WHOLE, start_epoch=1729771100)


def test_a_whole_call_of_nulls_is_sighted_with_zeros_and_empty_strings() -> None:
    assert Sighting("1729771200.123", 0, 5, 0, "", "") == sighting_of(EMPTY, start_epoch=5)


# A payload read back

TEXTS = st.none() | st.text(st.characters())
NUMBERS = st.none() | st.integers()
CALLS = st.builds(
    Call,
    uniqueid=st.text(st.characters()),
    lead_id=st.integers(),
    list_id=NUMBERS,
    campaign_id=TEXTS,
    call_date=TEXTS,
    start_epoch=NUMBERS,
    end_epoch=NUMBERS,
    length_in_sec=NUMBERS,
    status=TEXTS,
    phone_code=TEXTS,
    phone_number=TEXTS,
    user=TEXTS,
    comments=TEXTS,
    user_group=TEXTS,
    term_reason=TEXTS,
    alt_dial=TEXTS,
    called_count=NUMBERS,
)


@given(call=CALLS)
@example(call=WHOLE)
@example(call=EMPTY)
def test_a_payload_gives_back_the_call_that_it_was_made_of(call: Call) -> None:
    assert call == call_of(payload(call, {}))
    assert call == call_of(json.loads(json.dumps(payload(call, {"SALE": "dropped"}))))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = sorted(payload(EMPTY, {}))


@given(
    changed=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4),
    missing=st.sets(st.sampled_from(FIELDS)),
    more=JSON,
)
def test_any_json_object_is_a_call_or_no_payload(changed: dict[str, object], missing: set[str], more: object) -> None:
    """Whatever an editor makes of a payload; a call that comes of it is one that can be sent."""
    edited = {field: value for field, value in payload(WHOLE, {}).items() if field not in missing}
    with suppress(KeyError, TypeError, ValueError):
        call = call_of({**edited, **changed, "more": more})
        assert call == call_of(payload(call, {}))


@given(value=st.dictionaries(st.text(), JSON))
def test_an_object_that_is_no_payload_is_refused(value: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        call_of(value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("phoneNumber", 5551234567, id="a number where a text belongs"),
        pytest.param("duration", "45", id="a text where a number belongs"),
        pytest.param("duration", 45.5, id="a fraction"),
        pytest.param("duration", True, id="true is no number"),
        pytest.param("endEpoch", float("nan"), id="not a number at all"),
        pytest.param("leadId", None, id="a call without a lead"),
        pytest.param("leadId", "", id="an empty lead"),
        pytest.param("leadId", 7, id="a lead that is no text"),
        pytest.param("listId", "", id="an empty list"),
        pytest.param("uniqueid", 1.5, id="an id that became a number"),
        pytest.param("disposition", ["SALE"], id="a list"),
        pytest.param("comments", {}, id="an object"),
    ],
)
def test_a_field_of_another_type_makes_no_call(field: str, value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        call_of({**payload(WHOLE, {}), field: value})


@pytest.mark.parametrize("field", [field for field in FIELDS if field not in ("result", "timestamp")])
def test_a_field_that_is_missing_makes_no_call(field: str) -> None:
    with pytest.raises(KeyError, match=field):
        call_of({name: value for name, value in payload(WHOLE, {}).items() if name != field})


def test_what_is_derived_from_other_fields_is_not_read() -> None:
    """The result follows from the disposition, by the overrides in force when the call is sent."""
    edited = {**payload(WHOLE, {}), "result": "dropped", "timestamp": 5}
    assert payload(WHOLE, {}) == payload(call_of(edited), {})
