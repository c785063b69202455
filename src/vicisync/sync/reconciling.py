"""Reconciling: what became of the calls that ended in a stretch of time, by the table and by what was written down."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from vicisync.calls.call import Call, CallRow, alike
from vicisync.calls.dispositions import folded
from vicisync.calls.readiness import LONGEST_HELD, WAITING, Readiness, awaits_disposition, left_out_by, readiness
from vicisync.settings.settings import Settings
from vicisync.state.checkpoint import Checkpoint
from vicisync.state.journal import Entry, Outcome
from vicisync.state.records import Records
from vicisync.state.rejected import read_rejected
from vicisync.sync.outlook import looks_since
from vicisync.vicidial.call_log import CallLog
from vicisync.vicidial.live_calls import live_leads


class Standing(Enum):
    """What became of a call that has ended."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    WAITING = "waiting"  # a run sees to it
    MISSING = "missing"
    CHANGED = "changed since"  # delivered, with another disposition or duration than it has now
    NOT_IN_JOURNAL = "not in the journal"  # handled before it was begun, perhaps, or left out by a reset
    TWIN = "second row"  # of a call that is counted by its first
    LEFT_OUT = "left out"  # with its campaign


NOT_COUNTED = (Standing.TWIN, Standing.LEFT_OUT)
_WOULD_BE_SENT = (Standing.MISSING, Standing.CHANGED)
_OUTCOMES = {"delivered": Standing.DELIVERED, "rejected": Standing.REJECTED, "twin": Standing.TWIN}


class Ended(NamedTuple):
    """A call that has ended, with what was sent of it, as far as that is known."""

    call: Call
    standing: Standing
    sent: Entry | None = None

    @property
    def is_unanswered(self) -> bool:
        """Whether it was sent before, and the answer was lost."""
        return self.sent is not None and self.sent.outcome == Outcome.UNANSWERED


class Books:
    """What is written down of calls, against which their rows are held; ``now`` is the database's epoch."""

    def __init__(
        self, settings: Settings, checkpoint: Checkpoint | None, records: Records, call_log: CallLog, now: int
    ) -> None:
        self._checkpoint, self._records, self._call_log, self._now = checkpoint, records, call_log, now
        self._rejected = read_rejected(settings.rejected_file).calls
        self._rules = settings.rules(0, now)
        self._next_since = looks_since(settings, checkpoint) if checkpoint else now

    def hold_against(self, rows: Mapping[str, CallRow], calls: Sequence[Call]) -> Iterator[Ended]:
        """Yield the calls that have ended, of ``rows`` that include theirs and all of the same seconds.

        What would be sent waits while VICIdial has its lead. Raises DatabaseError.
        """
        found = list(self._held_against(rows, calls))
        to_ask = {each.call.lead_id for each in found if each.standing in _WOULD_BE_SENT}
        live = (live_leads(self._call_log, to_ask) if to_ask else None) or ()
        for each in found:
            is_held = each.call.lead_id in live and self._now - rows[each.call.uniqueid].start_epoch < LONGEST_HELD
            yield each._replace(standing=Standing.WAITING) if is_held and each.standing in _WOULD_BE_SENT else each

    def _held_against(self, rows: Mapping[str, CallRow], calls: Sequence[Call]) -> Iterator[Ended]:
        entries = self._records.of_calls([call.uniqueid for call in calls])
        first_of_call: dict[tuple[int, int, str], str] = {}
        for call in calls:
            row, sent = rows[call.uniqueid], entries.get(call.uniqueid)
            if left_out_by(row.campaign, self._rules):
                yield Ended(call, Standing.LEFT_OUT, sent)
                continue
            standing = (_by_journal(call, sent) if sent else None) or self._by_files(row)
            if standing in (None, Standing.WAITING) and (former := self._former(row)):
                sent, is_rewritten = former, former.start_epoch == row.start_epoch and former.uniqueid not in rows
                standing = _by_journal(call, former) if is_rewritten else Standing.TWIN
            standing = standing or self._by_row(row)
            if standing is Standing.CHANGED and (not row.end_epoch or awaits_disposition(row, self._rules)):
                # So VICIdial archives what it copies of a call that goes on, and keeps that.
                standing = Standing.DELIVERED
            if standing is Standing.CHANGED and self._is_seen_to(row):
                standing = Standing.WAITING
            is_first = first_of_call.setdefault(alike(row), row.uniqueid) == row.uniqueid or not row.end_epoch
            if standing in (Standing.MISSING, Standing.NOT_IN_JOURNAL) and not is_first:
                standing = Standing.TWIN
            if standing:
                yield Ended(call, standing, sent)

    def _by_files(self, row: CallRow) -> Standing | None:
        if row.uniqueid in self._rejected:
            return Standing.REJECTED
        if self._checkpoint and (handled := self._checkpoint.handled.get(row.uniqueid)):
            return _OUTCOMES.get(handled.outcome)  # None where it was left out, and is no more: no run sees to it
        # Some calls get an agent's final status, and never an end.
        is_over = row.end_epoch or readiness(row, self._now, self._rules) is Readiness.READY
        return Standing.WAITING if is_over and self._is_seen_to(row) else None

    def _is_seen_to(self, row: CallRow) -> bool:
        """Return whether a run sees to a call, perhaps again: it is watched, or the next run meets it."""
        if not (checkpoint := self._checkpoint) or row.uniqueid in checkpoint.handled:
            return False
        is_next = row.start_epoch >= self._next_since and (row.end_epoch or row.start_epoch) > checkpoint.ended_after
        return is_next or row.uniqueid in checkpoint.watching

    def _former(self, row: CallRow) -> Entry | None:
        """Return what was sent of a call under the id that it had before, or of the call whose second row it is."""
        alike = self._records.same_stem(row.uniqueid, row.lead_id)
        ends = (row.end_epoch,) if row.end_epoch else ()
        return next((each for each in alike if each.start_epoch == row.start_epoch or each.end_epoch in ends), None)

    def _by_row(self, row: CallRow) -> Standing | None:
        decided = readiness(row, self._now, self._rules)
        if decided is not Readiness.READY:
            return Standing.WAITING if row.end_epoch and decided in WAITING else None
        end = row.end_epoch or row.start_epoch
        return Standing.NOT_IN_JOURNAL if self._records.may_lack(end) else Standing.MISSING


def _by_journal(call: Call, sent: Entry) -> Standing | None:
    if sent.outcome != Outcome.DELIVERED:
        return Standing.REJECTED if sent.outcome == Outcome.REJECTED else None
    if sent.duration is None:
        return Standing.DELIVERED
    now = folded(call.status or ""), max(0, call.length_in_sec or 0)
    return Standing.DELIVERED if now == (folded(sent.disposition or ""), sent.duration) else Standing.CHANGED


def ended_between(
    call_log: CallLog, books: Books, begin: int, until: int, longest: int, is_over: Callable[[], bool]
) -> Iterator[Ended]:
    """Yield the calls that ended from the epoch ``begin`` to before ``until``, page by page; none lasts ``longest`` s.

    Raises DatabaseError and CheckpointError.
    """
    for page in call_log.pages(begin - longest, lambda _: False):
        rows = {row.uniqueid: row for row in page.rows}
        wanted = [row.uniqueid for row in page.rows if begin <= (row.end_epoch or row.start_epoch) < until]
        yield from books.hold_against(rows, call_log.whole(wanted))
        if is_over() or (rows and all(row.start_epoch >= until for row in page.rows)):
            return
