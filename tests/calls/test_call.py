import json
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vicisync.calls.call import Call, CallRow, call_of, payload, row_of, stem

WHOLE = Call(
    uniqueid="1729771200.123", lead_id=1234567, list_id=999, campaign_id="CAMPAIGN", call_date="2024-10-24 12:00:00",
    start_epoch=1729771200, end_epoch=1729771245, length_in_sec=45, status="SALE", phone_code="1",
    phone_number="5551234567", user="agent001", comments="AUTO", user_group="AGENTS", term_reason="CALLER",
    alt_dial="MAIN", called_count=3,
)  # fmt: skip
EMPTY = Call("1729771200.123", 0, *([None] * 15))


def test_the_payload_holds_every_field_in_its_json_type() -> None:
    assert payload(WHOLE, {}) == {
        "uniqueid": "1729771200.123", "leadId": "1234567", "listId": "999", "campaignId": "CAMPAIGN",
        "phoneNumber": "5551234567", "phoneCode": "1", "disposition": "SALE", "result": "answered", "duration": 45,
        "agentId": "agent001", "userGroup": "AGENTS", "termReason": "CALLER", "comments": "AUTO", "altDial": "MAIN",
        "calledCount": 3, "callDate": "2024-10-24 12:00:00", "startEpoch": 1729771200, "endEpoch": 1729771245,
        "timestamp": 1729771245,
        "customerPhone": "5551234567", "talkTime": 45,
    }  # fmt: skip


def test_null_is_sent_as_null_and_no_field_is_left_out() -> None:
    sent = json.loads(json.dumps(payload(EMPTY, {})))
    assert sent.keys() == payload(WHOLE, {}).keys()
    filled = {key: value for key, value in sent.items() if value is not None}
    assert filled == {"uniqueid": "1729771200.123", "leadId": "0", "result": "completed"}


def test_zero_and_the_empty_string_are_not_null() -> None:
    sent = payload(WHOLE._replace(list_id=0, length_in_sec=0, called_count=0, status="", comments=""), {})
    fields = ("listId", "duration", "calledCount", "disposition", "comments")
    assert [sent[field] for field in fields] == ["0", 0, 0, "", ""]


def test_a_negative_length_is_sent_as_0() -> None:
    """DID Optimizer answers 500 to it for ever."""
    sent = payload(WHOLE._replace(length_in_sec=-2), {})
    assert (0, 0) == (sent["duration"], sent["talkTime"])


def test_a_call_without_an_end_is_dated_by_its_start() -> None:
    assert WHOLE.start_epoch == payload(WHOLE._replace(end_epoch=None), {})["timestamp"]


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
    seen = CallRow("1729771200.123", 1234567, 1729771100, 1729771245, "SALE", "AUTO", "agent001", "CAMPAIGN")
    assert seen == row_of(WHOLE, start_epoch=1729771100)


def test_a_whole_call_of_nulls_is_sighted_with_zeros_and_empty_strings() -> None:
    assert CallRow("1729771200.123", 0, 5, 0, "", "") == row_of(EMPTY, start_epoch=5)


# A payload read back

TEXTS = st.none() | st.text(st.characters())
NUMBERS = st.none() | st.integers()
CALLS = st.builds(
    Call, uniqueid=st.text(st.characters()), lead_id=st.integers(), list_id=NUMBERS, campaign_id=TEXTS,
    call_date=TEXTS, start_epoch=NUMBERS, end_epoch=NUMBERS, length_in_sec=NUMBERS, status=TEXTS, phone_code=TEXTS,
    phone_number=TEXTS, user=TEXTS, comments=TEXTS, user_group=TEXTS, term_reason=TEXTS, alt_dial=TEXTS,
    called_count=NUMBERS,
)  # fmt: skip


@given(call=CALLS)
@example(call=WHOLE)
@example(call=EMPTY)
def test_a_payload_gives_back_the_call_that_it_was_made_of(call: Call) -> None:
    as_sent = call._replace(length_in_sec=max(0, call.length_in_sec)) if call.length_in_sec is not None else call
    assert as_sent == call_of(payload(call, {}))
    assert as_sent == call_of(json.loads(json.dumps(payload(call, {"SALE": "dropped"}))))


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
        sent = call._replace(length_in_sec=call.length_in_sec and max(0, call.length_in_sec))
        assert sent == call_of(payload(call, {}))


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


@pytest.mark.parametrize("field", sorted({*FIELDS} - {"result", "timestamp", "customerPhone", "talkTime"}))
def test_a_field_that_is_missing_makes_no_call(field: str) -> None:
    with pytest.raises(KeyError, match=field):
        call_of({name: value for name, value in payload(WHOLE, {}).items() if name != field})


def test_what_is_derived_from_other_fields_is_not_read() -> None:
    """The result follows from the disposition, by the overrides in force when the call is sent."""
    edited = {**payload(WHOLE, {}), "result": "dropped", "timestamp": 5, "customerPhone": "1", "talkTime": 9}
    assert payload(WHOLE, {}) == payload(call_of(edited), {})
