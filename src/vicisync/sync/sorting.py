"""Sorting: which of the calls that a poll has seen can go; all others are watched, or are none of our business."""

from collections.abc import Callable, Collection, Iterable, Set

from vicisync.calls.call import CallRow, alike
from vicisync.calls.readiness import (
    LONGEST_HELD,
    TO_SEND,
    TRIED,
    WAITING,
    Line,
    Readiness,
    Watched,
    has_ended,
    left_out_by,
    readiness,
)
from vicisync.report import Report
from vicisync.settings.settings import Settings
from vicisync.state.store import Store

_UNSEEN = Watched(0, 0, "")


class Sorting:
    """Sorts rows as they are at ``now``, an epoch; what comes of them goes into the store.

    ``live_leads`` returns which of some leads are on the line or before an agent, None where nobody can tell.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        report: Report,
        now: int,
        live_leads: Callable[[Collection[int]], Collection[int] | None],
    ) -> None:
        checkpoint = store.checkpoint
        self._rules = settings.rules(checkpoint.ended_after, checkpoint.looked_until)
        self._store, self._report, self._now, self._live_leads = store, report, now, live_leads
        self._overlap = settings.overlap
        self._polled_before = checkpoint.polled or checkpoint.looked_until
        self._lines: dict[str, Line] = {}  # by uniqueid
        self._first_of_call: dict[tuple[int, int, str], tuple[int, str]] = {}
        self.could_go_since: dict[str, int] = {}  # epoch, by uniqueid
        self.to_keep: list[CallRow] = []  # of calls that have ended and wait, should these be gone by then

    def seen(self, rows: Iterable[CallRow]) -> None:
        """Take note of rows, known or not: of those alike that are not left out, the first is a call."""
        for row in rows:
            if row.end_epoch and not left_out_by(row.campaign, self._rules):
                key, start = alike(row), (row.start_epoch, row.uniqueid)
                self._first_of_call[key] = min(start, self._first_of_call.get(key, start))

    def polled(self, rows: Collection[CallRow], gone: Set[str] = frozenset()) -> list[CallRow]:
        """Sort rows that a poll has found, asking who is live; return what can go.

        Of those that are ``gone``, as they were last seen, the live tables tell no more than that one is held, or was.
        """
        self.seen(rows)
        rows = [row for row in rows if not self._is_twin(row)]
        for row in rows:
            self._lines[row.uniqueid] = _line_of(self._watched(row))
        asked = [row for row in rows if self._may_go(row)]
        live = self._live_leads({row.lead_id for row in asked}) if asked else None
        if live is not None:
            newest = self._newest_of_leads(rows)
            for row in asked:
                is_newest = row.start_epoch == newest[row.lead_id]
                is_held = row.lead_id in live and is_newest and self._now - row.start_epoch < LONGEST_HELD
                line = self._asked(row, is_held=is_held, is_newest=is_newest)
                if row.uniqueid not in gone or line.is_held or line.released:
                    self._lines[row.uniqueid] = line
        return self.sorted(rows)

    def _is_twin(self, row: CallRow) -> bool:
        """Return whether a row is the second one of a call, which is handled by that."""
        is_twin = self._first_of_call.get(alike(row), (0, row.uniqueid))[1] != row.uniqueid
        if is_twin:
            self._store.set_aside(row, "twin")
        return is_twin

    def _may_go(self, row: CallRow) -> bool:
        decided = self._readiness(row, self._lines[row.uniqueid])
        # Of one in wrap-up, it has to be seen that its lead is held before it is seen released.
        may_go = decided in (Readiness.READY, Readiness.NO_DISPOSITION)
        return may_go or (decided is Readiness.NOT_ENDED and not row.end_epoch and has_ended(row, self._rules))

    def _newest_of_leads(self, rows: Iterable[CallRow]) -> dict[int, int]:
        """Return the start of the newest call that is known of each lead."""
        newest: dict[int, int] = {}
        calls: list[Watched | CallRow] = [*self._store.checkpoint.watching.values(), *rows]
        for call in calls:
            newest[call.lead_id] = max(call.start_epoch, newest.get(call.lead_id, 0))
        return newest

    def _asked(self, row: CallRow, *, is_held: bool, is_newest: bool) -> Line:
        before, line = self._watched(row), self._lines[row.uniqueid]
        if is_held:
            return Line(is_known=True, is_held=True)
        if not is_newest and row.end_epoch:  # nobody has it before him any more: ALTNUM stands there for ever
            return Line(is_known=True, free=min(row.end_epoch, self._now))
        if before.reason == Readiness.HELD.value:
            return Line(is_known=True, released=self._now)
        return line._replace(is_known=True, free=line.free or self._now)

    def sorted(self, rows: Iterable[CallRow]) -> list[CallRow]:
        """Watch what has to wait and drop what needs nothing more; return what can go."""
        return [row for row in rows if self._can_go(row)]

    def _can_go(self, row: CallRow) -> bool:
        line = self._lines[row.uniqueid]
        decided = self._readiness(row, line)
        since = self.could_go_since.pop(row.uniqueid, None)
        before = self._watched(row)
        tried = before.reason if before.reason in TRIED else ""
        if decided is Readiness.READY:
            # From here on it is watched: should VICIdial rewrite its id before its turn comes, it will be followed.
            self._store.watch(row, tried or TO_SEND, line.released or line.free)
            # One that had to wait could not go before the last poll, however long ago it ended; nor could one that is
            # as late as VICIdial writes some. What is later still was held back somewhere, and is late from its end.
            ended = row.end_epoch or row.start_epoch
            had_to_wait = before.reason not in ("", TO_SEND, *TRIED)
            is_written_late = before is _UNSEEN and self._polled_before - ended <= self._overlap
            waited = had_to_wait or is_written_late
            self.could_go_since[row.uniqueid] = since or (max(ended, self._polled_before) if waited else ended)
            return True
        if decided in WAITING:
            self._store.watch(row, tried or decided.value, line.released or line.free)
            if row.end_epoch:
                self.to_keep.append(row)
        elif decided is Readiness.LEFT_OUT:
            if before is not _UNSEEN:
                self._report.left_out(row)
            self._store.set_aside(row, "left_out")
        else:
            self._store.drop(row.uniqueid)
        if decided is Readiness.NEVER_ENDED and before is not _UNSEEN:
            self._report.never_ended(row)
        return False

    def _readiness(self, row: CallRow, line: Line) -> Readiness:
        return readiness(row, self._now, self._rules, line)

    def _watched(self, row: CallRow) -> Watched:
        return self._store.checkpoint.watching.get(row.uniqueid, _UNSEEN)


def _line_of(watched: Watched) -> Line:
    """Return what is remembered of a call's lead."""
    if watched.reason == Readiness.RELEASED.value:
        return Line(released=watched.since)
    # One that was tried could go, and the file keeps no time for it.
    return Line(free=watched.start_epoch if watched.reason in TRIED else watched.since)
