"""What could be delivered now and has not been: the look of a run, without what follows from it."""

from __future__ import annotations

from typing import NamedTuple

from vicisync.settings.settings import Settings
from vicisync.state.checkpoint import FAILED, TO_SEND, Checkpoint
from vicisync.state.identity import follow, new_calls, sort_out
from vicisync.vicidial.call_log import CallLog


class Backlog(NamedTuple):
    """The calls that could go: watched ones, and new ones as far as the first page of the table that has any."""

    calls: int
    rows_behind: int
    """Rows after that page, not looked at yet."""
    lag: int
    """Seconds since the oldest of the calls could have gone; 0 where there is none."""


def backlog(call_log: CallLog, checkpoint: Checkpoint, settings: Settings) -> Backlog:
    """Read the watched rows and look for new ones, as a run would; raises DatabaseError."""
    now = call_log.now()
    rules = settings.rules(checkpoint.ended_after)
    watching = checkpoint.watching
    found = follow(watching, *call_log.again(watching), checkpoint).found
    since = checkpoint.looked_until - settings.overlap

    # A call that was seen waiting could not go before the last look, however long ago it ended.
    could_go_since = []
    for uniqueid, row in found.items():
        if sort_out([row], now, rules).ready:
            was_due = watching[uniqueid].reason in (TO_SEND, FAILED)
            could_go_since.append(row.end_epoch if was_due else max(row.end_epoch, checkpoint.looked_until))
    taken = {row.uniqueid for row in found.values()}
    rows_behind = 0
    for page in call_log.pages(since, checkpoint.knows_all):  # on a busy site, the overlap fills the first ones
        unknown = new_calls(page.rows, page.present, checkpoint, since).unknown
        unseen_rows = [row for row in unknown if row.uniqueid not in taken]
        if ready := sort_out(unseen_rows, now, rules).ready:
            could_go_since += [row.end_epoch for row in ready]
            rows_behind = call_log.count_after(page.last_second) if page.last_second else 0
            break
    return Backlog(
        calls=len(could_go_since),
        rows_behind=rows_behind,
        lag=max(0, now - min(could_go_since, default=now)),
    )
