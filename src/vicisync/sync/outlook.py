"""The outlook of one call: what a run would do with its row now, found by a poll that changes nothing."""

from copy import deepcopy
from io import StringIO

from vicisync.calls.call import CallRow
from vicisync.calls.readiness import TO_SEND, Readiness
from vicisync.report import Report
from vicisync.settings.settings import Settings
from vicisync.state.checkpoint import Checkpoint
from vicisync.state.store import Store
from vicisync.sync.sorting import Sorting
from vicisync.vicidial.call_log import CallLog
from vicisync.vicidial.live_calls import live_leads


def outlook(settings: Settings, call_log: CallLog, checkpoint: Checkpoint, row: CallRow, now: int) -> Readiness:
    """Return what a run would decide about a row at the epoch ``now``. Raises DatabaseError."""
    with StringIO() as nowhere:
        copy, report = deepcopy(checkpoint), Report(nowhere)
        if before := copy.watching.get(row.uniqueid):
            is_released = before.reason in (Readiness.HELD.value, Readiness.RELEASED.value)
            copy.watching[row.uniqueid] = before if is_released else before._replace(reason=TO_SEND)
        store = Store(copy, None, settings.rejected_file)
        if Sorting(settings, store, report, now, lambda leads: live_leads(call_log, leads)).polled([row]):
            return Readiness.READY
        if watched := copy.watching.get(row.uniqueid):
            return Readiness(watched.reason)
        return Readiness.NEVER_ENDED if report.tally.never_ended else Readiness.NOT_OURS
