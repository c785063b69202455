"""The run: look, wait or send, remember."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from vicisync.calls.call import CallRow, row_of
from vicisync.calls.times import local
from vicisync.did_optimizer.delivery import Delivery, Session, StopSignal
from vicisync.errors import CheckpointError
from vicisync.report import Report, Tally
from vicisync.settings.security import security_warnings
from vicisync.settings.settings import Settings
from vicisync.state.checkpoint import FAILED, Checkpoint, starting_at
from vicisync.state.checkpoint_file import CheckpointFile, read_checkpoint, read_old_checkpoint
from vicisync.state.identity import sort_out
from vicisync.state.ledger import Ledger
from vicisync.sync.monitoring import Monitoring
from vicisync.vicidial.call_log import CallLog, Page

FIRST_RUN_LOOKS_BACK = 3600
"""Seconds before now after which calls of the very first run must have ended."""

CLOCK_TOLERANCE = 60
"""Seconds that the database's clock may step back unnoticed; VICIdial itself tolerates 8."""


def run(
    settings: Settings,
    report: Report,
    stop: StopSignal,
    open_session: Callable[[], Session],
    *,
    dry_run: bool = False,
    limit: int | None = None,
) -> Tally:
    """Deliver the calls that can go, at most ``limit``, and remember those that cannot yet.

    A dry run reads the same and writes nothing; what ``open_session`` gives it sends nothing. Raises a VicisyncError
    where the run could not do all, after saving what it did.
    """
    began = time.monotonic()
    tally = Tally()
    with ExitStack() as stack:
        file = None
        if not dry_run:
            file = stack.enter_context(CheckpointFile(settings.checkpoint_file))
            stack.enter_context(Monitoring(settings, report, tally))
        checkpoint = read_checkpoint(settings.checkpoint_file, settings.give_up_after)
        if checkpoint:
            tally.lag = checkpoint.lag(int(time.time()))  # the database's clock may be out of reach
        call_log = stack.enter_context(CallLog(settings))
        now = call_log.now()
        ledger = Ledger(checkpoint or _first_checkpoint(settings, now, report), file, settings.rejected_file)
        deadline = began + (settings.max_runtime or float("inf"))
        delivery = Delivery(settings, open_session, ledger, report, tally, stop, deadline)
        ended_by: BaseException | None = None
        looked_at_all = False
        try:
            with delivery:
                looked_at_all = _Look(settings, call_log, ledger, report, tally, delivery, now, limit).look_and_send()
        except Exception as error:  # noqa: BLE001 -- raised below, when what was done has been saved and told
            ended_by = error
        ended_by = ended_by or delivery.error
        if not isinstance(ended_by, CheckpointError):
            ledger.save()
        watching = ledger.watching()
        tally.waiting = len(watching)
        tally.lag = ledger.lag(now)
        tally.poll_seconds = call_log.seconds
        report.waiting(watching)
        report.end(
            ledger.end_epoch,
            watching,
            tally,
            time.monotonic() - began,
            ended_well=ended_by is None,
            looked_at_all=looked_at_all and not delivery.has_left_any,
            rejected_file=settings.rejected_file,
        )
        if ended_by:
            raise ended_by
    return tally


def _first_checkpoint(settings: Settings, now: int, report: Report) -> Checkpoint:
    old = read_old_checkpoint(settings.old_checkpoint_file, settings.give_up_after)
    if old:
        report.note(
            f"📅 First run: going on where the old script stopped, {local(old.ended_after)} says"
            f" {settings.old_checkpoint_file}; where its cron line is still there, calls will be sent twice"
        )
        return old
    first = starting_at(now - FIRST_RUN_LOOKS_BACK, settings.give_up_after)
    report.note(f"📅 First run: delivering what ended after {local(first.ended_after)}, an hour ago")
    return first


@dataclass
class _Look:
    """One look through the table, and what it works with."""

    settings: Settings
    call_log: CallLog
    ledger: Ledger
    report: Report
    tally: Tally
    delivery: Delivery
    now: int
    left: int | None
    """How many calls may still be sent; None is no limit."""

    def look_and_send(self) -> bool:
        """Go through the watched calls, then page by page through what is new, sending as it goes.

        False where the run is over before all has been looked at.
        """
        since = self._begin_at()
        ready, failed, poisoned = self._watched()
        announced = False
        for page in self.call_log.pages(since, self.ledger.knows_all):
            if self.delivery.is_over():
                return False
            ready += self._sorted(self.ledger.new_calls(page.rows, page.present, since))
            if not announced and (ready or failed):
                behind = self.call_log.count_after(page.last_second) if page.last_second else 0
                self.report.opening(self.ledger.end_epoch, len(ready) + len(failed) + len(poisoned), behind)
                for security_warning in security_warnings(self.settings):
                    self.report.warning(security_warning)
                announced = True
            if not self._send(ready):
                return False
            self._looked_through(page)
            ready = []
        # What failed before comes last and holds up nobody. What failed while others passed is tried in company only:
        # alone, it could not be told from an outage.
        if not self._send(failed, failed_before=True):
            return False
        if poisoned and self.delivery.has_passed_any() and not self._send(poisoned, failed_before=True):
            return False
        return not self.delivery.is_over()

    def _begin_at(self) -> int:
        back = self.ledger.looked_until - self.now
        if back > CLOCK_TOLERANCE:
            self.report.warning(
                f"The database's clock went back by {back} s; calls since {local(self.now - self.settings.overlap)}"
                " are looked at again, and some may be sent twice"
            )
            self.ledger.looked(self.now, self.settings.overlap)
        return self.ledger.looked_until - self.settings.overlap

    def _looked_through(self, page: Page) -> None:
        until = self.now
        if page.last_second:
            until = min(until, self.call_log.epoch_of(page.last_second))
            if until > self.ledger.looked_until:
                until -= self.call_log.ahead(page)
        self.ledger.looked(max(until, self.ledger.looked_until), self.settings.overlap)

    def _watched(self) -> tuple[list[CallRow], list[CallRow], list[CallRow]]:
        """Find the watched calls again; give those that can go.

        Apart from them, those that have failed before, and those that did so while others passed.
        """
        watching = self.ledger.watching()
        found, gone = self.ledger.follow(watching, *self.call_log.again(watching))
        for uniqueid in gone:
            self.tally.gone += 1
            self.report.gone(uniqueid, watching[uniqueid])
            self.ledger.drop(uniqueid)
        before = {row.uniqueid: watching[uniqueid] for uniqueid, row in found.items()}
        ready: list[CallRow] = []
        failed: list[CallRow] = []
        poisoned: list[CallRow] = []
        for row in self._sorted(found.values()):
            watched = before[row.uniqueid]
            (poisoned if watched.failed_runs else failed if watched.reason == FAILED else ready).append(row)
        return ready, failed, poisoned

    def _sorted(self, rows: Iterable[CallRow]) -> list[CallRow]:
        """Watch what has to wait and drop what needs nothing more; give what can go."""
        ready, waiting, never_ended, not_ours = sort_out(rows, self.now, self.settings.rules(self.ledger.ended_after))
        for row, reason in waiting:
            self.ledger.watch(row, reason)
        for row in never_ended:
            self.tally.never_ended += 1
            self.report.never_ended(row)
        for row in never_ended + not_ours:
            self.ledger.drop(row.uniqueid)
        return ready

    def _send(self, ready: list[CallRow], *, failed_before: bool = False) -> bool:
        """Hand over what can go, in batches; False when no more are taken."""
        wanted = ready if self.left is None else ready[: self.left]
        for start in range(0, len(wanted), self.settings.batch_size):
            batch = {row.uniqueid: row for row in wanted[start : start + self.settings.batch_size]}
            # From here on they are watched: one that is rewritten before it is read whole will be followed.
            self.ledger.about_to_send(batch.values())
            for call in self.call_log.whole(list(batch)):
                row = row_of(call, batch[call.uniqueid].start_epoch)
                # Read whole, a call may turn out to have changed since the poll.
                if self._sorted([row]) and not self.delivery.offer(call, failed_before=failed_before):
                    return False
        if self.left is not None:
            self.left -= len(wanted)
        return len(wanted) == len(ready)
