"""A call: what is read of it, and what the API is told. Pure.

The facts about rows come from VICIdial 2.14's own scripts; the field names and
JSON types from DID Optimizer's documentation of ``POST /api/v1/call-results``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from vicisync.calls.dispositions import result_of


class CallRow(NamedTuple):
    """What a poll reads of a row: who, when, whether ended, which status. SQL's NULL is '' or 0."""

    uniqueid: str
    lead_id: int
    start_epoch: int
    end_epoch: int
    status: str
    comments: str


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
    return CallRow(
        call.uniqueid, call.lead_id, start_epoch, call.end_epoch or 0, call.status or "", call.comments or ""
    )


def stem(uniqueid: str) -> str:
    """Return the part of a uniqueid that survives VICIdial's rewriting of it: the second the channel was created."""
    return uniqueid.partition(".")[0]


def payload(call: Call, overrides: Mapping[str, str]) -> dict[str, str | int | None]:
    """Return the JSON object that DID Optimizer is POSTed; ``overrides`` map statuses to results."""
    return {
        "uniqueid": call.uniqueid,
        "leadId": _text(call.lead_id),
        "listId": _text(call.list_id),
        "campaignId": call.campaign_id,
        "phoneNumber": call.phone_number,
        "phoneCode": call.phone_code,
        "disposition": call.status,
        "result": result_of(call.status, overrides),
        "duration": call.length_in_sec,
        "agentId": call.user,
        "userGroup": call.user_group,
        "termReason": call.term_reason,
        "comments": call.comments,
        "altDial": call.alt_dial,
        "calledCount": call.called_count,
        "callDate": call.call_date,
        "startEpoch": call.start_epoch,
        "endEpoch": call.end_epoch,
        "timestamp": call.end_epoch,
    }


def call_of(payload: Mapping[str, object]) -> Call:
    """Return the call that a payload was made of; raise KeyError, TypeError or ValueError for anything else."""

    def text(field: str) -> str | None:
        value = payload[field]
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{field} must be a text")
        return value

    def number(field: str) -> int | None:
        value = payload[field]
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise TypeError(f"{field} must be a number")
        return value

    list_id = text("listId")
    return Call(
        uniqueid=text("uniqueid") or "",
        lead_id=int(text("leadId") or ""),
        list_id=None if list_id is None else int(list_id),
        campaign_id=text("campaignId"),
        call_date=text("callDate"),
        start_epoch=number("startEpoch"),
        end_epoch=number("endEpoch"),
        length_in_sec=number("duration"),
        status=text("disposition"),
        phone_code=text("phoneCode"),
        phone_number=text("phoneNumber"),
        user=text("agentId"),
        comments=text("comments"),
        user_group=text("userGroup"),
        term_reason=text("termReason"),
        alt_dial=text("altDial"),
        called_count=number("calledCount"),
    )


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)
