"""The ledger: what became of each call, in memory and on disk in step.

Several workers report to it at once. What it has returned from is written; what is not written yet is looked at again
by the next run.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from vicisync.call import Call, Fate, Sighting
from vicisync.checkpoint import FAILED, TO_SEND, Checkpoint, Dealt, Watched, dealt_line
from vicisync.checkpoint_file import CheckpointFile
from vicisync.rejected import add_rejected
from vicisync.watch import Followed, follow, newcomers


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
        """Give the seconds by which the oldest call that could go has not gone by the epoch ``now``."""
        with self._lock:
            return self._checkpoint.lag(now)

    def watching(self) -> dict[str, Watched]:
        """Give the watched calls; those that failed last come last."""
        with self._lock:
            return dict(self._checkpoint.watching)

    def knows_all(self, uniqueids: Iterable[str]) -> bool:
        """Say whether all rows with these ids have been seen."""
        with self._lock:
            return self._checkpoint.knows_all(uniqueids)

    def newcomers(self, rows: Iterable[Sighting], present: Collection[str], since: int) -> list[Sighting]:
        """Pick the rows of a page that have not been seen before; ``present`` are the ids of all that it has."""
        with self._lock:
            unknown, rewritten = newcomers(rows, present, self._checkpoint, since)
            for former, row in rewritten.items():
                was = self._checkpoint.delivered if former in self._checkpoint.delivered else self._checkpoint.rejected
                was[row.uniqueid] = was.pop(former)
        return unknown

    def follow(
        self, watching: Mapping[str, Watched], rows: Iterable[Sighting], relatives: Iterable[Sighting]
    ) -> Followed:
        """Find watched calls again; those that bear another id by now are watched under that one."""
        with self._lock:
            followed = follow(watching, rows, relatives, self._checkpoint)
            for uniqueid, row in followed.found.items():
                if row.uniqueid != uniqueid:
                    self._checkpoint.watching[row.uniqueid] = self._checkpoint.watching.pop(uniqueid)
        return followed

    def watch(self, row: Sighting, reason: Fate) -> None:
        """Keep an eye on a call that cannot go yet."""
        self._watch(row, reason.value)

    def about_to_send(self, batch: Iterable[Sighting]) -> None:
        """Note that the turn of these calls has come, so that they stay watched until they are dealt with.

        The first time, make sure that the disk has room to record what comes of it.
        """
        with self._lock:
            if self._file and not self._begun:
                self._file.begin(self._checkpoint)
            self._begun = True
        for row in batch:
            self._watch(row, TO_SEND)

    def _watch(self, row: Sighting, reason: str) -> None:
        with self._lock:
            before = self._checkpoint.watching.get(row.uniqueid)
            strikes = before.strikes if before else 0
            self._checkpoint.watching[row.uniqueid] = Watched(row.lead_id, row.start_epoch, reason, strikes)

    def drop(self, uniqueid: str) -> None:
        """Watch a call no longer: it is gone, not ours, or never ends."""
        with self._lock:
            self._checkpoint.watching.pop(uniqueid, None)

    def delivered(self, call: Call) -> None:
        """Record that the API has stored a call."""
        with self._lock:
            self._dealt("delivered", call.uniqueid, self._checkpoint.delivered)
            self._checkpoint.end_epoch = max(self._checkpoint.end_epoch, call.end_epoch or 0)

    def rejected(self, call: Call, why: str, payload: Mapping[str, object]) -> None:
        """Put a call into the rejected file, then record that."""
        with self._lock:
            if self._file:
                add_rejected(self._rejected_file, why, payload)
            self._dealt("rejected", call.uniqueid, self._checkpoint.rejected)

    def _dealt(self, word: str, uniqueid: str, dealt_with: dict[str, Dealt]) -> None:
        """Record in the file first: memory outlives no kill."""
        watched = self._checkpoint.watching[uniqueid]
        dealt = Dealt(watched.start_epoch, watched.lead_id)
        try:
            if self._file:
                self._file.append(dealt_line(word, uniqueid, dealt))
        finally:
            dealt_with[uniqueid] = dealt
            del self._checkpoint.watching[uniqueid]

    def failed(self, uniqueid: str) -> None:
        """Note that a call did not get through; it goes to the end of the line."""
        with self._lock:
            watched = self._checkpoint.watching.pop(uniqueid)
            self._checkpoint.watching[uniqueid] = watched._replace(reason=FAILED)

    def strike(self, uniqueid: str) -> int:
        """Count that a call failed in a run in which others passed; give in how many runs that has happened."""
        with self._lock:
            watched = self._checkpoint.watching[uniqueid]
            self._checkpoint.watching[uniqueid] = watched._replace(strikes=watched.strikes + 1)
            return watched.strikes + 1

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
