"""A call: what is read of it (VICIdial 2.14), and what the API is told (DID Optimizer's setup guide). Pure."""

import re
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, NamedTuple

from vicisync.calls.dispositions import result_of


class CallRow(NamedTuple):
    """What a poll reads of a row: who, when, whether ended, which status. SQL's NULL is '' or 0."""

    uniqueid: str
    lead_id: int
    start_epoch: int
    end_epoch: int
    status: str
    comments: str
    user: str = ""
    campaign: str = ""


class Call(NamedTuple):
    """A finished call, whole; None is SQL's NULL. Types as PyMySQL gives them."""

    uniqueid: str
    lead_id: int
    list_id: int | None
    campaign_id: str | None
    call_date: str | None  # local wall time, YYYY-MM-DD HH:MM:SS
    start_epoch: int | None
    end_epoch: int | None
    length_in_sec: int | None
    status: str | None
    phone_code: str | None
    phone_number: str | None
    user: str | None
    comments: str | None
    user_group: str | None
    term_reason: str | None
    alt_dial: str | None
    called_count: int | None  # no such column before VICIdial 2.8


def row_of(call: Call, start_epoch: int) -> CallRow:
    """Return a whole call as a poll would have read it; ``start_epoch`` as the poll decided it."""
    texts = call.status or "", call.comments or "", call.user or "", call.campaign_id or ""
    return CallRow(call.uniqueid, call.lead_id, start_epoch, call.end_epoch or 0, *texts)


def alike(row: CallRow) -> tuple[int, int, str]:
    """Return what the rows of one call share, of which VICIdial sometimes writes two: lead, end and stem."""
    return row.lead_id, row.end_epoch, stem(row.uniqueid)


def stem(uniqueid: str) -> str:
    """Return the part of a uniqueid that survives VICIdial's rewriting of it: the second the channel was created."""
    return uniqueid.partition(".")[0]


def without_numbers(text: str) -> str:
    """Return words of others, such as the API's, without what in them may be a phone number."""
    return re.sub(r"\d{7,}", "…", text)


_FIELDS = {
    "uniqueid": "uniqueid",
    "leadId": "lead_id",
    "listId": "list_id",
    "campaignId": "campaign_id",
    "phoneNumber": "phone_number",
    "phoneCode": "phone_code",
    "disposition": "status",
    "duration": "length_in_sec",
    "agentId": "user",
    "userGroup": "user_group",
    "termReason": "term_reason",
    "comments": "comments",
    "altDial": "alt_dial",
    "calledCount": "called_count",
    "callDate": "call_date",
    "startEpoch": "start_epoch",
    "endEpoch": "end_epoch",
}
"""DID Optimizer's fields, each with its column."""

_columns_of = attrgetter(*_FIELDS.values())

_NUMBERS = frozenset({"duration", "calledCount", "startEpoch", "endEpoch"})
"""The fields that are JSON numbers; all others are strings, those of ids that VICIdial counts up included."""


def payload(call: Call, overrides: Mapping[str, str]) -> dict[str, str | int | None]:
    """Return the JSON object that DID Optimizer is POSTed; ``overrides`` map statuses to results."""
    sent: dict[str, str | int | None] = dict(zip(_FIELDS, _columns_of(call), strict=True))
    for field in ("leadId", "listId"):
        sent[field] = None if sent[field] is None else str(sent[field])
    if call.length_in_sec is not None:  # DID Optimizer answers 500 for ever to a negative one
        sent["duration"] = max(0, call.length_in_sec)
    sent |= {"customerPhone": call.phone_number, "talkTime": sent["duration"]}  # else its newest fills in wrong ones
    return {**sent, "result": result_of(call.status, overrides), "timestamp": call.end_epoch or call.start_epoch}


def call_of(payload: Mapping[str, object]) -> Call:
    """Return the call that a payload was made of; raise KeyError, TypeError or ValueError for anything else."""
    values: dict[str, Any] = {}
    for field, column in _FIELDS.items():
        value = payload[field]
        kind = int if field in _NUMBERS else str
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise TypeError(f"{field} must be a {'number' if kind is int else 'text'}")
        values[column] = int(value) if value is not None and column in ("lead_id", "list_id") else value
    if values["uniqueid"] is None or values["lead_id"] is None:
        raise ValueError("a call has a uniqueid and a lead")
    return Call(**values)
