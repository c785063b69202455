"""The ledger: what became of each call, in memory and on disk in step.

Several workers report to it at once. What it has returned from is written; what is not written yet is looked at again
by the next run.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from vicisync.calls.call import Call, CallRow
from vicisync.calls.readiness import Readiness
from vicisync.state.checkpoint import FAILED, TO_SEND, Checkpoint, Handled, Watched, handled_line
from vicisync.state.checkpoint_file import CheckpointFile
from vicisync.state.identity import Followed, follow, new_calls
from vicisync.state.rejected import add_rejected


class Ledger:
    """The checkpoint of the run at work, with its file and the rejected file; all methods raise CheckpointError.

    A dry run's ledger has no ``file``: it remembers and writes nothing.
    """

    def __init__(self, checkpoint: Checkpoint, file: CheckpointFile | None, rejected_file: Path) -> None:
        self._checkpoint = checkpoint
        self._file = file
        self._rejected_file = rejected_file
        self._lock = threading.Lock()
        self._begun = False

    @property
    def end_epoch(self) -> int:
        """The newest end delivered."""
        return self._checkpoint.end_epoch

    @property
    def looked_until(self) -> int:
        """Every call that started before this epoch has been looked at."""
        return self._checkpoint.looked_until

    @property
    def ended_after(self) -> int:
        """Calls that ended at or before this epoch are not ours."""
        return self._checkpoint.ended_after

    def lag(self, now: int) -> int:
        """Return the seconds by which the oldest call that could go has not gone by the epoch ``now``."""
        with self._lock:
            return self._checkpoint.lag(now)

    def watching(self) -> dict[str, Watched]:
        """Return the watched calls; those that failed last come last."""
        with self._lock:
            return dict(self._checkpoint.watching)

    def knows_all(self, uniqueids: Iterable[str]) -> bool:
        """Return whether all rows with these ids have been seen."""
        with self._lock:
            return self._checkpoint.knows_all(uniqueids)

    def new_calls(self, rows: Iterable[CallRow], present: Collection[str], since: int) -> list[CallRow]:
        """Pick the rows of a page that have not been seen before; ``present`` are the ids of all that it has."""
        with self._lock:
            unknown, rewritten = new_calls(rows, present, self._checkpoint, since)
            for former, row in rewritten.items():
                was = self._checkpoint.delivered if former in self._checkpoint.delivered else self._checkpoint.rejected
                was[row.uniqueid] = was.pop(former)
        return unknown

    def follow(
        self, watching: Mapping[str, Watched], rows: Iterable[CallRow], same_lead_rows: Iterable[CallRow]
    ) -> Followed:
        """Find watched calls again; those that bear another id by now are watched under that one."""
        with self._lock:
            followed = follow(watching, rows, same_lead_rows, self._checkpoint)
            for uniqueid, row in followed.found.items():
                if row.uniqueid != uniqueid:
                    self._checkpoint.watching[row.uniqueid] = self._checkpoint.watching.pop(uniqueid)
        return followed

    def watch(self, row: CallRow, reason: Readiness) -> None:
        """Keep an eye on a call that cannot go yet."""
        self._watch(row, reason.value)

    def about_to_send(self, batch: Iterable[CallRow]) -> None:
        """Note that the turn of these calls has come, so that they stay watched until they are handled.

        The first time, make sure that the disk has room to record what comes of it.
        """
        with self._lock:
            if self._file and not self._begun:
                self._file.begin(self._checkpoint)
            self._begun = True
        for row in batch:
            self._watch(row, TO_SEND)

    def _watch(self, row: CallRow, reason: str) -> None:
        with self._lock:
            before = self._checkpoint.watching.get(row.uniqueid)
            failed_runs = before.failed_runs if before else 0
            self._checkpoint.watching[row.uniqueid] = Watched(row.lead_id, row.start_epoch, reason, failed_runs)

    def drop(self, uniqueid: str) -> None:
        """Watch a call no longer: it is gone, not ours, or never ends."""
        with self._lock:
            self._checkpoint.watching.pop(uniqueid, None)

    def delivered(self, call: Call) -> None:
        """Record that the API has stored a call."""
        with self._lock:
            self._handled("delivered", call.uniqueid, self._checkpoint.delivered)
            self._checkpoint.end_epoch = max(self._checkpoint.end_epoch, call.end_epoch or 0)

    def rejected(self, call: Call, why: str, payload: Mapping[str, object]) -> None:
        """Put a call into the rejected file, then record that."""
        with self._lock:
            if self._file:
                add_rejected(self._rejected_file, why, payload)
            self._handled("rejected", call.uniqueid, self._checkpoint.rejected)

    def _handled(self, word: str, uniqueid: str, handled: dict[str, Handled]) -> None:
        """Record in the file first: memory outlives no kill."""
        watched = self._checkpoint.watching[uniqueid]
        handled_call = Handled(watched.start_epoch, watched.lead_id)
        try:
            if self._file:
                self._file.append(handled_line(word, uniqueid, handled_call))
        finally:
            handled[uniqueid] = handled_call
            del self._checkpoint.watching[uniqueid]

    def failed(self, uniqueid: str) -> None:
        """Note that a call did not get through; it goes to the end of the line."""
        with self._lock:
            watched = self._checkpoint.watching.pop(uniqueid)
            self._checkpoint.watching[uniqueid] = watched._replace(reason=FAILED)

    def count_failed_run(self, uniqueid: str) -> int:
        """Count that a call failed in a run in which others passed; give in how many runs that has happened."""
        with self._lock:
            watched = self._checkpoint.watching[uniqueid]
            self._checkpoint.watching[uniqueid] = watched._replace(failed_runs=watched.failed_runs + 1)
            return watched.failed_runs + 1

    def looked(self, until: int, overlap: int) -> None:
        """Note that every call that started before the epoch ``until`` has been looked at, and save.

        Where that is nothing new, neither is there anything to save: a later run would look at the same rows again.
        """
        with self._lock:
            if until == self._checkpoint.looked_until:
                return
            self._checkpoint.looked_until = until
            self._checkpoint.forget_before(until - overlap)
        self.save()

    def save(self) -> None:
        """Replace the checkpoint's file by what is known now."""
        with self._lock:
            if self._file:
                self._file.save(self._checkpoint)
