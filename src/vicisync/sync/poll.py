"""The poll: which calls can go now, in the order of their turn; all others are watched, or are none of our business."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from vicisync.calls.call import Call, CallRow, call_of, payload, row_of
from vicisync.calls.clocks import CLOCK_TOLERANCE, Verdict, has_walked, verdict
from vicisync.calls.readiness import TO_SEND, TRIED, UNANSWERED, Watched, lag
from vicisync.calls.times import zoned
from vicisync.did_optimizer.attempt import Attempt
from vicisync.errors import CURE, CheckpointError, DatabaseError
from vicisync.report import MANY, Report
from vicisync.settings.settings import Settings
from vicisync.state.checkpoint import Refusal
from vicisync.state.identity import follow, new_calls
from vicisync.state.store import Store
from vicisync.sync.sorting import Sorting
from vicisync.vicidial.call_log import CallLog
from vicisync.vicidial.live_calls import live_leads
from vicisync.vicidial.pages import Page

MOST_KEPT = 50_000  # calls of which the checkpoint keeps what the API is to be told: 30 MB, written by each run


class Turn(NamedTuple):
    """Calls whose turn it is."""

    rows: list[CallRow]
    last_second: str = ""  # of the page that brought them; "" where no page comes after it
    failed_before: bool = False  # they failed in an earlier run


@dataclass
class Poll:
    """One poll of the table; what it finds goes into the store. Its methods raise DatabaseError and CheckpointError."""

    settings: Settings
    call_log: CallLog
    store: Store
    report: Report
    now: int  # the database's epoch
    machine: int  # this machine's
    is_over: Callable[[], bool] = lambda: False  # whether the run is over, and no further page is read
    has_looked: bool = False  # at the watched calls, at least
    looked_at_all: bool = False
    failed_before: int = 0  # calls that failed in earlier runs and can go now
    gone: list[str] = field(default_factory=list)  # watched calls whose rows are not there

    def __post_init__(self) -> None:
        of_run = self.settings, self.store, self.report, min(self.now, self.machine)
        self.sorting = Sorting(*of_run, lambda leads: live_leads(self.call_log, leads))

    def could_go(self) -> list[int]:
        """Return since when each call that can go and has not gone could have gone: epochs."""
        could_go = self.sorting.could_go_since.items()
        return [since for uniqueid, since in could_go if self.store.today(uniqueid) in self.store.checkpoint.watching]

    def lag(self) -> int:
        """Return how many seconds the oldest deliverable call has been waiting, of what was not looked at included."""
        checkpoint = self.store.checkpoint
        unseen = [] if self.looked_at_all else [max(checkpoint.looked_until, checkpoint.polled)]
        # What has ended by the database's clock, and not by this machine's, waits for that.
        held_up = [self.machine] if self._is_machine_behind() and checkpoint.watching else []
        if not self.has_looked:  # the clock was refused, or the table could not be read
            return checkpoint.lag(max(self.now, self.machine))
        return lag(self.now, [*unseen, *held_up, *self.could_go()])

    def _is_machine_behind(self) -> bool:
        return self.now - self.machine > CLOCK_TOLERANCE

    def calls(self, limit: int | None) -> Iterator[Attempt]:
        """Yield the calls that can go, whole, at most ``limit``; from then on each is watched until it is handled."""
        left = limit
        announced = False
        for turn in self.turns():
            if turn.rows and not announced:
                self._announce(turn)
                announced = True
            wanted = turn.rows[:left]
            for start in range(0, len(wanted), self.settings.batch_size):
                yield from self._whole(wanted[start : start + self.settings.batch_size], turn)
            if left is not None:
                left -= len(wanted)
            if len(wanted) < len(turn.rows):
                return

    def turns(self) -> Iterator[Turn]:
        """Yield the watched calls that can go and, page by page, the new ones; then those that have failed before."""
        since = self._begin_at()
        # By a longer overlap than yesterday's, what was handled and is forgotten would be sent again.
        first = max(since, self.store.checkpoint.forgotten)
        ready, failed = self._watched()
        self.failed_before, self.has_looked = len(failed), True
        for page in self.call_log.pages(since, self.store.checkpoint.knows):
            if self.is_over():
                return
            unknown, rewritten = new_calls(page.rows, page.present, self.store.checkpoint, first)
            for former, row in rewritten.items():
                self.store.rewritten(former, row.uniqueid)
            ready = [row for row in ready if row.uniqueid not in rewritten]
            self.sorting.seen(page.rows)
            ready += self._sorted(unknown)
            yield Turn(ready, "" if page.is_last else page.last_second)
            self._looked_through(page, unknown)
            ready = []
        yield Turn(failed, failed_before=True)
        self.looked_at_all = True
        self.store.checkpoint.polled, self.store.checkpoint.refusal = min(self.now, self.machine), None

    def _begin_at(self) -> int:
        """Return the epoch since which calls may have started that are not known, if the clocks can be believed."""
        checkpoint, overlap = self.store.checkpoint, self.settings.overlap
        seen = max(checkpoint.looked_until, checkpoint.ended_after)
        clocks = f"the database's clock says {zoned(self.now)}, this machine's {zoned(self.machine)}"
        found = verdict(seen, self.now, self.machine)
        if found is Verdict.TIME_IS_AHEAD:
            text = f"The checkpoint {self.settings.checkpoint_file} lies ahead, at {zoned(seen)}: {clocks}"
            raise CheckpointError(f"{text}; nothing was sent{CURE}vicisync reset-checkpoint")
        walks = checkpoint.refusal and has_walked(checkpoint.refusal, self.now, self.machine)
        if found is Verdict.DATABASE_IS_BEHIND:
            if not walks:
                checkpoint.refusal = Refusal(self.now, self.machine)
            text = f"The database's clock is wrong, or was: calls were seen until {zoned(seen)}, and {clocks}"
            raise DatabaseError(f"{text}; nothing sent, nothing forgotten{CURE}on both: timedatectl set-ntp true")
        if checkpoint.refusal and walks:
            again = checkpoint.refusal.database
            text = f"The database's clock went back; calls since {zoned(again - overlap)} are looked at again"
            self.report.warning(f"{text}, and some may be sent twice")
            checkpoint.forgotten, checkpoint.refusal = 0, None  # once: from then on, runs go on from one another
            self.store.looked(min(checkpoint.looked_until, again), overlap)
        if self._is_machine_behind():
            text = f"This machine's clock is behind, and calls wait until it says, too, that they have ended: {clocks}"
            self.report.warning(f"{text}{CURE}on both: timedatectl set-ntp true")
        return min(checkpoint.looked_until, self.now) - overlap

    def _watched(self) -> tuple[list[CallRow], list[CallRow]]:
        """Find the watched calls again; return those that can go, and those that have failed before, poison last."""
        watching = dict(self.store.checkpoint.watching)
        leads = {uniqueid: watched.lead_id for uniqueid, watched in watching.items()}
        found, self.gone = follow(*self.call_log.again(leads, self.now // 60), self.store.checkpoint)
        for uniqueid in self.gone:
            if call := _kept(uniqueid, watching[uniqueid]):
                found[uniqueid] = row_of(call, watching[uniqueid].start_epoch)
            elif self._is_old(watching[uniqueid]):
                self.report.gone(uniqueid, watching[uniqueid])
                self.store.drop(uniqueid)
        for uniqueid, row in found.items():
            if row.uniqueid != uniqueid:
                self.store.rewritten(uniqueid, row.uniqueid)
        before = {row.uniqueid: watching[uniqueid] for uniqueid, row in found.items()}
        can_go = self._sorted(found.values())
        # Their turn did not come in an outage; whole ones are large, and the rest of a backlog stands in the table.
        left = [row for row in can_go if before[row.uniqueid].reason == TO_SEND and not before[row.uniqueid].payload]
        self._keep(left[: max(0, MOST_KEPT - sum(bool(each.payload) for each in watching.values()))])
        failed = [row for row in can_go if before[row.uniqueid].reason in TRIED]
        # Of poison, one is tried alone. What fails is put last by the store, so that none stands in the others' way.
        failed.sort(key=lambda row: before[row.uniqueid].failed_runs > 0)
        return [row for row in can_go if before[row.uniqueid].reason not in TRIED], failed

    def _is_old(self, watched: Watched) -> bool:
        return self.store.checkpoint.looked_until - watched.start_epoch >= self.settings.give_up_after

    def gone_in_vain(self) -> Iterator[Call]:
        """Yield the calls whose rows are gone and that did not get through for as long as a call is watched."""
        for uniqueid in self.gone:
            watched = self.store.checkpoint.watching.get(uniqueid)
            if watched and watched.reason in TRIED and self._is_old(watched) and (call := _kept(uniqueid, watched)):
                yield call

    def _sorted(self, rows: Iterable[CallRow]) -> list[CallRow]:
        """Sort rows as they were found; keep of those that have ended and wait what the API is to be told."""
        can_go = self.sorting.polled(list(rows), {*self.gone})
        self._keep(self.sorting.to_keep)
        self.sorting.to_keep.clear()
        return can_go

    def _keep(self, rows: Iterable[CallRow]) -> None:
        for call in self.call_log.whole([row.uniqueid for row in rows if not self._is_kept(row)]):
            self.store.keep(call.uniqueid, payload(call, self.settings.dispositions))

    def _is_kept(self, row: CallRow) -> bool:
        call = _kept(row.uniqueid, self.store.checkpoint.watching[row.uniqueid])
        return call is not None and row_of(call, row.start_epoch) == row

    def _announce(self, turn: Turn) -> None:
        found = self.failed_before + (0 if turn.failed_before else len(turn.rows))
        self.report.opening(self.store.checkpoint.end_epoch, found, self.behind(turn))
        for security_warning in self.settings.security_warnings():
            self.report.warning(security_warning)

    def behind(self, turn: Turn) -> int:
        """Return how many rows come after those of a turn: up to `MANY`, or one more where there are more."""
        return self.call_log.count_after(turn.last_second, MANY + 1) if turn.last_second else 0

    def _whole(self, rows: list[CallRow], turn: Turn) -> Iterator[Attempt]:
        """Read a batch whole, and yield what can still go: since the poll, a call may have changed."""
        watching = self.store.checkpoint.watching
        batch = {row.uniqueid: row for row in rows if row.uniqueid in watching}  # else rewritten since
        self.store.make_ready()
        calls = self.call_log.whole(list(batch))
        gone = batch.keys() - {call.uniqueid for call in calls}
        calls += [call for uniqueid in batch if uniqueid in gone and (call := _kept(uniqueid, watching[uniqueid]))]
        can_go = self.sorting.sorted(row_of(call, batch[call.uniqueid].start_epoch) for call in calls)
        ready = {row.uniqueid for row in can_go}
        for call in calls:
            if call.uniqueid in ready:
                watched = watching[call.uniqueid]
                failed_after, is_perhaps_stored = 0 if turn.failed_before else None, watched.reason == UNANSWERED
                yield Attempt(call, failed_after, watched.failed_runs > 0, perhaps_stored=is_perhaps_stored)

    def _looked_through(self, page: Page, first_seen: Iterable[CallRow]) -> None:
        """Note how late a start has been seen: what the table has shown, not what the clock says.

        Rows that a lock, a backup or a replica holds back come later, however long that takes. Rows known before do
        not count, since a dialer whose clock is ahead would carry it on; nor does what lies behind the page.
        """
        looked_until = self.store.checkpoint.looked_until
        until = min(self.now, max((row.start_epoch for row in first_seen), default=0))
        if until > looked_until and not page.is_last:
            until = min(until, self.call_log.epoch_of(page.last_second)) - self.call_log.ahead(page)
        self.store.looked(max(until, looked_until), self.settings.overlap)


def _kept(uniqueid: str, watched: Watched) -> Call | None:
    """Return a call as it was kept for the case that its row is gone, by its id of today; None where it was not."""
    try:
        return call_of(json.loads(watched.payload))._replace(uniqueid=uniqueid) if watched.payload else None
    except (KeyError, TypeError, ValueError):  # of another version of vicisync
        return None
