"""The poll: which calls can go now, in the order of their turn; all others are watched, or are none of our business."""

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from io import StringIO
from typing import NamedTuple

from vicisync.calls.call import CallRow, row_of
from vicisync.calls.readiness import TO_SEND, TRIED, UNANSWERED, WAITING, Readiness, lag, readiness
from vicisync.calls.times import local
from vicisync.did_optimizer.attempt import Attempt
from vicisync.report import MANY, Report
from vicisync.settings.settings import Settings
from vicisync.state.checkpoint import Checkpoint
from vicisync.state.identity import follow, new_calls
from vicisync.state.store import Store
from vicisync.vicidial.call_log import CallLog, Page

CLOCK_TOLERANCE = 60  # seconds that the database's clock may step back unnoticed; VICIdial itself tolerates 8


class Turn(NamedTuple):
    """Calls whose turn it is."""

    rows: list[CallRow]
    last_second: str | None = None  # of the page that brought them; None where no page comes after it
    failed_before: bool = False  # they failed in an earlier run


@dataclass
class Poll:
    """One poll of the table; what it finds goes into the store. Its methods raise DatabaseError and CheckpointError."""

    settings: Settings
    call_log: CallLog
    store: Store
    report: Report
    now: int  # the database's epoch
    is_over: Callable[[], bool] = lambda: False  # whether the run is over, and no further page is read
    looked_at_all: bool = False
    failed_before: int = 0  # calls that failed in earlier runs and can go now

    def __post_init__(self) -> None:
        self._polled_before = self.store.checkpoint.looked_until
        self._could_go_since: dict[str, int] = {}

    def waiting_since(self) -> list[int]:
        """Return since when each call that can go and has not gone could have gone: epochs, as `lag` takes them."""
        unseen = [] if self.looked_at_all else [self.store.checkpoint.looked_until]
        watching = self.store.checkpoint.watching
        return unseen + [since for uniqueid, since in self._could_go_since.items() if uniqueid in watching]

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
        ready, failed = self._watched()
        self.failed_before = len(failed)
        for page in self.call_log.pages(since, self.store.checkpoint.knows):
            if self.is_over():
                return
            unknown, rewritten = new_calls(page.rows, page.present, self.store.checkpoint, since)
            for former, row in rewritten.items():
                self.store.rewritten(former, row.uniqueid)
            ready += self._sorted(unknown)
            yield Turn(ready, page.last_second)
            self._looked_through(page)
            ready = []
        yield Turn(failed, failed_before=True)
        self.looked_at_all = True

    def _begin_at(self) -> int:
        """Return the epoch since which calls may have started that are not known."""
        looked_until = self.store.checkpoint.looked_until
        if looked_until - self.now > CLOCK_TOLERANCE:
            text = f"The database's clock went back by {looked_until - self.now} s; calls since"
            again = local(self.now - self.settings.overlap)
            self.report.warning(f"{text} {again} are looked at again, and some may be sent twice")
            self.store.looked(self.now, self.settings.overlap)
        return self.store.checkpoint.looked_until - self.settings.overlap

    def _watched(self) -> tuple[list[CallRow], list[CallRow]]:
        """Find the watched calls again; return those that can go, and those that have failed before, poison last."""
        watching = dict(self.store.checkpoint.watching)
        leads = {uniqueid: watched.lead_id for uniqueid, watched in watching.items()}
        found, gone = follow(*self.call_log.again(leads), self.store.checkpoint)
        for uniqueid in gone:
            self.report.gone(uniqueid, watching[uniqueid])
            self.store.drop(uniqueid)
        for uniqueid, row in found.items():
            if row.uniqueid != uniqueid:
                self.store.rewritten(uniqueid, row.uniqueid)
        before = {row.uniqueid: watching[uniqueid] for uniqueid, row in found.items()}
        can_go = self._sorted(found.values())
        failed = [row for row in can_go if before[row.uniqueid].reason in TRIED]
        # Of poison, one is tried alone. What fails is put last by the store, so that none stands in the others' way.
        failed.sort(key=lambda row: before[row.uniqueid].failed_runs > 0)
        return [row for row in can_go if before[row.uniqueid].reason not in TRIED], failed

    def _sorted(self, rows: Iterable[CallRow]) -> list[CallRow]:
        """Watch what has to wait and drop what needs nothing more; return what can go."""
        rules = self.settings.rules(self.store.checkpoint.ended_after)
        ready = []
        for row in rows:
            decided = readiness(row, self.now, rules)
            since = self._could_go_since.pop(row.uniqueid, None)
            if decided is Readiness.READY:
                before = self.store.checkpoint.watching.get(row.uniqueid)
                had_to_wait = before is not None and before.reason not in (TO_SEND, *TRIED)
                # One that had to wait could not go before the last poll, however long ago it ended.
                earliest = max(row.end_epoch, self._polled_before) if had_to_wait else row.end_epoch
                self._could_go_since[row.uniqueid] = since or earliest
                # From here on it is watched: should VICIdial rewrite its id before its turn comes, it will be followed.
                self.store.watch(row, before.reason if before and before.reason in TRIED else TO_SEND)
                ready.append(row)
            elif decided in WAITING:
                self.store.watch(row, decided.value)
            else:
                self.store.drop(row.uniqueid)
            if decided is Readiness.NEVER_ENDED:
                self.report.never_ended(row)
        return ready

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
        batch = {row.uniqueid: row for row in rows}
        self.store.make_ready()
        calls = self.call_log.whole(list(batch))
        ready = {row.uniqueid for row in self._sorted(row_of(call, batch[call.uniqueid].start_epoch) for call in calls)}
        for call in calls:
            if call.uniqueid in ready:
                watched = self.store.checkpoint.watching[call.uniqueid]
                failed_after = 0 if turn.failed_before else None
                yield Attempt(call, failed_after, watched.failed_runs > 0, watched.reason == UNANSWERED)

    def _looked_through(self, page: Page) -> None:
        """Note how far the table has been read."""
        looked_until = self.store.checkpoint.looked_until
        until = self.now
        if page.last_second:
            until = min(until, self.call_log.epoch_of(page.last_second))
            if until > looked_until:
                until -= self.call_log.ahead(page)
        self.store.looked(max(until, looked_until), self.settings.overlap)


class Backlog(NamedTuple):
    """The calls that could go: watched ones, and new ones as far as the first page of the table that has any."""

    calls: int
    rows_behind: int  # rows after that page, not looked at yet
    lag: int  # seconds that the oldest of these calls has been waiting


def backlog(settings: Settings, call_log: CallLog, checkpoint: Checkpoint) -> Backlog:
    """Return what a run would send now: a poll that changes nothing. Raises DatabaseError."""
    with StringIO() as nowhere:
        store = Store(deepcopy(checkpoint), None, settings.rejected_file)
        poll = Poll(settings, call_log, store, Report(nowhere), call_log.now())
        turn = next((turn for turn in poll.turns() if turn.rows), Turn([]))
        poll.looked_at_all = True  # what is behind the first page that has any is newer
    since = poll.waiting_since()
    return Backlog(len(since), poll.behind(turn), lag(poll.now, since))
