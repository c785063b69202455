"""When a call can go: decisions over a row as a poll reads it, by what VICIdial 2.14's own scripts do. Pure."""

from collections.abc import Collection, Iterable
from enum import Enum
from typing import NamedTuple

from vicisync.calls.call import CallRow

MESSAGE_STATUSES = frozenset({"AA", "AM"})
"""A machine answered: AA comes with an end 3 s ahead, AM while the message plays, and AL when it has been left."""

LONGEST_MESSAGE = 120  # seconds past its end that a call stays AA or AM before no message can be playing any more


class Readiness(Enum):
    """What is to be done with a row as it stands now."""

    READY = "ready"
    NOT_ENDED = "not_ended"
    NO_DISPOSITION = "no_disposition"
    MESSAGE_PLAYING = "message_playing"
    NOT_OURS = "not_ours"
    NEVER_ENDED = "never_ended"


# Why a call is watched until it can go.
WAITING = frozenset({Readiness.NOT_ENDED, Readiness.NO_DISPOSITION, Readiness.MESSAGE_PLAYING})
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


class Rules(NamedTuple):
    """What decides a call's readiness; times in seconds, ``ended_after`` an epoch."""

    waiting_statuses: Collection[str]
    wait_for_disposition: int
    give_up_after: int
    ended_after: int


def readiness(row: CallRow, now: int, rules: Rules) -> Readiness:
    """Return what is to be done with a row at ``now``, the database's epoch.

    It can go once it has ended with a disposition that nothing will change, or once the wait for that is over.
    """
    old = now - row.start_epoch >= rules.give_up_after
    if not row.end_epoch:
        return Readiness.NEVER_ENDED if old else Readiness.NOT_ENDED
    if row.end_epoch > now and not old:  # AA's end lies ahead; a wrong clock must not hold a call for ever
        return Readiness.NOT_ENDED
    waited = now - row.end_epoch
    if old and waited < 0:
        waited = rules.wait_for_disposition
    if waited < rules.wait_for_disposition and _awaits_disposition(row, rules.waiting_statuses):
        return Readiness.NO_DISPOSITION
    if waited < min(LONGEST_MESSAGE, rules.wait_for_disposition) and row.status in MESSAGE_STATUSES:
        return Readiness.MESSAGE_PLAYING
    return Readiness.READY if row.end_epoch > rules.ended_after else Readiness.NOT_OURS


def _awaits_disposition(row: CallRow, waiting_statuses: Collection[str]) -> bool:
    if row.status == "XFER" and row.comments == "REMOTE":
        return False  # a remote agent has no screen to change it on
    return not row.status or row.status in waiting_statuses


def lag(now: int, could_go_since: Iterable[int]) -> int:
    """Return how many seconds the oldest deliverable call has been waiting; ``could_go_since`` has an epoch of each."""
    return max(0, now - min(could_go_since, default=now))
