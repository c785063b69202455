"""The outlook: what a run would send now, or do with one call, found by a poll that changes nothing."""

from copy import deepcopy
from io import StringIO
from typing import NamedTuple

from vicisync.calls.call import CallRow
from vicisync.calls.readiness import TO_SEND, Readiness, Watched
from vicisync.report import Report
from vicisync.settings.settings import Settings
from vicisync.state.checkpoint import Checkpoint
from vicisync.state.store import Store
from vicisync.sync.poll import Poll, Turn
from vicisync.sync.sorting import Sorting
from vicisync.vicidial.call_log import CallLog
from vicisync.vicidial.live_calls import live_leads


def looks_since(settings: Settings, checkpoint: Checkpoint) -> int:
    """Return the start, an epoch, from which on the next run looks at calls that are not watched."""
    return max(checkpoint.looked_until - settings.overlap, checkpoint.forgotten)


def outlook(settings: Settings, call_log: CallLog, checkpoint: Checkpoint, row: CallRow, now: int) -> Readiness | None:
    """Return what a run would decide about a row at the epoch ``now``; None: none looks at it. Raises DatabaseError."""
    with StringIO() as nowhere:
        copy, report = deepcopy(checkpoint), Report(nowhere)
        before = copy.watching.get(row.uniqueid, Watched(row.lead_id, row.start_epoch, TO_SEND))
        is_released = before.reason in (Readiness.HELD.value, Readiness.RELEASED.value)
        copy.watching[row.uniqueid] = before if is_released else before._replace(reason=TO_SEND)
        store = Store(copy, None, settings.rejected_file)
        if Sorting(settings, store, report, now, lambda leads: live_leads(call_log, leads)).polled([row]):
            return Readiness.READY
        if watched := copy.watching.get(row.uniqueid):
            is_seen = row.uniqueid in checkpoint.watching or row.start_epoch >= looks_since(settings, checkpoint)
            return Readiness(watched.reason) if is_seen and row.uniqueid not in checkpoint.handled else None
        return Readiness.NEVER_ENDED if report.tally.never_ended else Readiness.NOT_OURS


class Backlog(NamedTuple):
    """The calls that could go: watched ones, and new ones as far as the first page of the table that has any."""

    calls: int
    rows_behind: int  # rows after that page, not looked at yet
    lag: int  # seconds that the oldest of these calls has been waiting


def backlog(settings: Settings, call_log: CallLog, checkpoint: Checkpoint, machine: int) -> Backlog:
    """Return what a run would send now, at this ``machine``'s epoch: a poll that changes nothing.

    Raises DatabaseError, and CheckpointError where its times cannot be believed.
    """
    with StringIO() as nowhere:
        store = Store(deepcopy(checkpoint), None, settings.rejected_file)
        poll = Poll(settings, call_log, store, Report(nowhere), call_log.now(), machine)
        turn = next((turn for turn in poll.turns() if turn.rows), Turn([]))
        poll.looked_at_all = True  # what is behind the first page that has any is newer
    return Backlog(len(poll.could_go()), poll.behind(turn), poll.lag())
