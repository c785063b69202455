"""When a call can go: decisions over a row as a poll reads it, by what VICIdial 2.14's own scripts do. Pure."""

import re
from collections.abc import Collection, Iterable
from enum import Enum
from typing import NamedTuple

from vicisync.calls.call import CallRow
from vicisync.calls.dispositions import folded

MESSAGE_STATUSES = frozenset({"AA", "AM", "UNKAM"})
"""A machine answered: AA comes with an end 3 s ahead, AM or UNKAM while the message plays, then AL or UNKAL."""

LONGEST_MESSAGE = 120  # seconds past its end that a call stays so before no message can be playing any more
_MANUAL_FAILURE = re.compile(r"AB|ADC|ADCT|ADCCAR|DNCCAR|HUC\d+|NA|DROP|PDROP")
"""What a manual dial that fails ends with at once; seconds later the agent chooses his own disposition."""

NO_AGENT = ("", "VDAD", "VDCL")  # what stands in the place of an agent's name where there is none
ROW_IS_WRITTEN = 60
"""Seconds after which VICIdial has written a row that it was about to write.

It empties its live tables first, and a lock can hold the row up for seconds; runs come by the minute.
"""

LONGEST_HELD = 14400  # seconds after a call's start from which on VICIdial itself writes no disposition any more


class Readiness(Enum):
    """What is to be done with a row as it stands now."""

    READY = "ready"
    NOT_ENDED = "not_ended"
    NO_DISPOSITION = "no_disposition"
    MESSAGE_PLAYING = "message_playing"
    HELD = "held"  # VICIdial still has its lead on the line, or before an agent
    RELEASED = "released"  # no more, but the row may not be written yet
    NOT_OURS = "not_ours"
    NEVER_ENDED = "never_ended"
    LEFT_OUT = "left_out"  # with its campaign


# Why a call is watched until it can go.
_DECIDED = {Readiness.READY, Readiness.NOT_OURS, Readiness.NEVER_ENDED, Readiness.LEFT_OUT}
WAITING = frozenset(set(Readiness) - _DECIDED)
TO_SEND = "to_send"  # reason of a watched call that could go and whose turn did not come, or was cut short
FAILED = "failed"  # of one that could go and did not get through; the file adds in how many runs others did
UNANSWERED = "unanswered"  # likewise, but its answer was lost: it may be stored
TRIED = (FAILED, UNANSWERED)


class Watched(NamedTuple):
    """A call that was seen and is not handled yet."""

    lead_id: int
    start_epoch: int
    reason: str  # the value of a `Readiness`, `TO_SEND`, `FAILED` or `UNANSWERED`
    failed_runs: int = 0  # runs in which this call failed while others passed
    since: int = 0  # epoch at which its lead was first found free, after it was held or without; 0 where it was not
    payload: str = ""  # what the API is to be told of it, as JSON, should its row be gone; "" while it has not ended


class Line(NamedTuple):
    """What VICIdial's live tables say of a call."""

    is_known: bool = False  # whether they can be believed; else the row alone decides
    is_held: bool = False  # whether its lead is on the line or before an agent, and this is the lead's newest call
    released: int = 0  # epoch at which the lead was found free, having been held
    free: int = 0  # epoch at which it was first found free, not having been seen held


NOT_ASKED = Line()


class Rules(NamedTuple):
    """What decides a call's readiness; times in seconds, ``ended_after`` and ``looked_until`` epochs."""

    waiting_statuses: Collection[str]
    wait_for_disposition: int
    give_up_after: int
    ended_after: int
    looked_until: int
    campaigns: Collection[str] = ()  # whose calls alone are sent, where there are any
    exclude_campaigns: Collection[str] = ()  # whose calls are not


def readiness(row: CallRow, now: int, rules: Rules, line: Line = NOT_ASKED) -> Readiness:
    """Return what is to be done with a row at ``now``, the earlier of the two clocks.

    It can go once it has ended with a disposition that nothing will change, or once the wait for that is over.
    """
    if left_out_by(row.campaign, rules):
        return Readiness.LEFT_OUT
    old = rules.looked_until - row.start_epoch >= rules.give_up_after
    if line.is_held:
        return Readiness.HELD
    if 0 <= now - line.released < ROW_IS_WRITTEN:
        return Readiness.RELEASED
    ours = (row.end_epoch or row.start_epoch) > rules.ended_after
    # A lead that nobody has before him for so long gets no disposition any more, and no end.
    is_left = line.is_known and not line.released and line.free > 0 and now - line.free >= ROW_IS_WRITTEN
    if not row.end_epoch:
        # What the agent's dial left may be what he chose, too, and nothing will tell any more.
        is_chosen = old and row.user not in NO_AGENT and folded(row.status) not in ("", *rules.waiting_statuses)
        if is_chosen or (_has_final_status(row, rules) and (old or is_left or line.released)):
            return Readiness.READY if ours else Readiness.NOT_OURS
        return Readiness.NEVER_ENDED if old else Readiness.NOT_ENDED
    if row.end_epoch > now and not old:  # AA's end lies ahead; a wrong clock must not hold a call for ever
        return Readiness.NOT_ENDED
    waited = now - max(row.end_epoch, line.released)
    waited = rules.wait_for_disposition if old and waited < 0 else waited
    if waited < rules.wait_for_disposition and not is_left and awaits_disposition(row, rules):
        return Readiness.RELEASED if line.released else Readiness.NO_DISPOSITION
    if waited < min(LONGEST_MESSAGE, rules.wait_for_disposition) and folded(row.status) in MESSAGE_STATUSES:
        return Readiness.MESSAGE_PLAYING
    return Readiness.READY if ours else Readiness.NOT_OURS


def left_out_by(campaign: str, rules: Rules) -> str:
    """Return the setting that leaves a campaign's calls out; "" where none does."""
    if folded(campaign) in rules.exclude_campaigns:
        return "exclude_campaigns"
    return "campaigns" if rules.campaigns and folded(campaign) not in rules.campaigns else ""


def has_ended(row: CallRow, rules: Rules) -> bool:
    """Return whether a row's call has ended, or looks so: then the live tables have a say."""
    return bool(row.end_epoch) or _has_final_status(row, rules)


def _has_final_status(row: CallRow, rules: Rules) -> bool:
    """Return whether an agent's final status stands there: where the browser finds no row, nothing sets its end."""
    return row.user not in NO_AGENT and not awaits_disposition(row, rules)


def awaits_disposition(row: CallRow, rules: Rules) -> bool:
    """Return whether what stands in the place of a row's disposition is none yet."""
    status = folded(row.status)
    if status == "XFER" and row.comments == "REMOTE":
        return False  # a remote agent has no screen to change it on
    # Without comments: nobody answered his manual dial in time; DROP: the customer's side went first, at his message.
    by_agent = row.user not in NO_AGENT and (status == "DROP" or not row.comments)
    has_failed = _MANUAL_FAILURE.fullmatch(status) and (by_agent or row.comments == "MANUAL")
    return bool(has_failed) or not status or status in rules.waiting_statuses


def lag(now: int, could_go_since: Iterable[int]) -> int:
    """Return how many seconds the oldest deliverable call has been waiting; ``could_go_since`` has an epoch of each."""
    return max(0, now - min(could_go_since, default=now))
