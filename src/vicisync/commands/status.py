"""How things stand: what `vicisync status` tells people, monitoring systems and programs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from vicisync.calls.readiness import FAILED, TO_SEND
from vicisync.calls.times import ago, local
from vicisync.errors import DatabaseError
from vicisync.report import REASONS, counted
from vicisync.settings.settings import Settings
from vicisync.state.checkpoint import Checkpoint
from vicisync.state.last_run import LastRun, last_run_file, read_last_run
from vicisync.state.load import read_checkpoint
from vicisync.state.lock import lock_holder
from vicisync.state.rejected import read_rejected
from vicisync.sync.poll import Backlog, backlog
from vicisync.vicidial.call_log import CallLog


@dataclass(frozen=True)
class Status:
    """Everything known without a run."""

    now: int
    """This machine's epoch."""
    checkpoint_file: Path
    checkpoint: Checkpoint | None
    """None before the first run."""
    backlog: Backlog | None
    """None where the database could not be asked, or there is no checkpoint."""
    database_error: str | None
    rejected_file: Path
    rejected: int
    """Calls in the rejected file."""
    running: str | None
    """Who holds the lock, and since when."""
    last_run: LastRun | None

    @property
    def lag(self) -> int | None:
        """Seconds by which the oldest call that could go is late; None before the first run.

        Without the database, an estimate from the checkpoint: what was not polled counts from the last poll.
        """
        if self.backlog:
            return self.backlog.lag
        return self.checkpoint.lag(self.now) if self.checkpoint else None

    @property
    def waiting(self) -> Counter[str]:
        """Watched calls by the checkpoint's reason."""
        return Counter(watched.reason for watched in (self.checkpoint.watching.values() if self.checkpoint else ()))

    @property
    def could_go(self) -> int:
        """Calls that could go now and have not gone."""
        if self.backlog:
            return self.backlog.calls
        return sum(self.waiting[reason] for reason in (TO_SEND, FAILED))

    def is_behind(self, max_lag: int) -> bool:
        """Return whether calls are late by more than ``max_lag`` seconds, or no run has ever been."""
        return self.lag is None or self.lag > max_lag


def status_of(settings: Settings) -> Status:
    """Gather it, from files and, where it answers, the database; raises CheckpointError where a file is no good."""
    checkpoint = read_checkpoint(settings.checkpoint_file, settings.give_up_after)
    found = None
    database_error = None
    if checkpoint:
        try:
            with CallLog(settings) as call_log:
                found = backlog(settings, call_log, checkpoint)
        except DatabaseError as error:
            database_error = str(error)
    return Status(
        now=int(time.time()),
        checkpoint_file=settings.checkpoint_file,
        checkpoint=checkpoint,
        backlog=found,
        database_error=database_error,
        rejected_file=settings.rejected_file,
        rejected=len(read_rejected(settings.rejected_file).calls),
        running=lock_holder(settings.checkpoint_file),
        last_run=read_last_run(last_run_file(settings.checkpoint_file)),
    )


def as_json(status: Status, max_lag: int | None) -> dict[str, object]:
    """Return it in the stable shape that the README documents; epochs and seconds, null where nothing is known."""
    checkpoint = status.checkpoint
    return {
        "now": status.now,
        "behind": None if max_lag is None else status.is_behind(max_lag),
        "lag_seconds": status.lag,
        "lag_is_estimated": status.backlog is None,
        "checkpoint": checkpoint
        and {
            "end_epoch": checkpoint.end_epoch,
            "ended_after": checkpoint.ended_after,
            "looked_until": checkpoint.looked_until,
        },
        "backlog": {"calls": status.could_go, "rows_behind": status.backlog and status.backlog.rows_behind},
        "waiting": {reason: status.waiting[reason] for reason in REASONS},
        "rejected": status.rejected,
        "running": status.running,
        "last_run": status.last_run and asdict(status.last_run),
        "database_error": status.database_error,
    }


def as_lines(status: Status, max_lag: int | None) -> Iterator[str]:
    """Tell it to a person, a fact a line, the sign in front as in a run's log."""
    if status.database_error:
        yield f"⚠ {status.database_error}; what follows is from files alone"
    if status.checkpoint is None or status.lag is None:
        yield f"⚠ No checkpoint yet in {status.checkpoint_file}: the first run makes it"
    else:
        yield (
            f"📅 Checkpoint: {local(status.checkpoint.end_epoch)}, the newest end delivered;"
            f" looked until {local(status.checkpoint.looked_until)}"
        )
        behind = max_lag is not None and status.is_behind(max_lag)
        estimated = " at most" if status.backlog is None else ""
        allowed = f", {max_lag} s allowed" if max_lag is not None else ""
        yield f"{'❌' if behind else '✅'} Lag: {status.lag} s{estimated}{allowed}"
        behind_page = status.backlog.rows_behind if status.backlog else 0
        more = f", and about {behind_page} rows more to look at" if behind_page else ""
        yield f"📞 Backlog: {counted(status.could_go, 'call')}{more}"
        waiting = [f"{status.waiting[reason]} {words}" for reason, words in REASONS.items() if status.waiting[reason]]
        yield f"⏳ Waiting: {', '.join(waiting) or 'none'}"
    if status.rejected:
        yield (
            f"⚠ Rejected: {counted(status.rejected, 'call')}; fix what {status.rejected_file} says,"
            " then: vicisync retry-rejected"
        )
    else:
        yield "✅ Rejected: none"
    if status.running:
        yield f"🚀 A run is at work: {status.running}"
    yield from _of_last_run(status.last_run, status.now)


def _of_last_run(last: LastRun | None, now: int) -> Iterator[str]:
    if last is None:
        yield "⚠ Last run: none is known"
        return
    yield (
        f"{'✅' if last.exit_code == 0 else '❌'} Last run: {local(last.ended)}, {ago(now - last.ended)} ago:"
        f" exit code {last.exit_code}, {last.delivered} processed, {last.failed} failed in {last.seconds:.2f}s"
    )
    if last.error:
        yield from (f"❌ {line}" for line in last.error.splitlines())
    if last.last_success is None:
        yield "❌ Last success: none yet"
    elif last.last_success != last.ended:
        yield f"⚠ Last success: {local(last.last_success)}, {ago(now - last.last_success)} ago"
