"""The journal: what was sent of each call, when, and what the API said; it proves that nothing is missing.

It decides about no call of a run, and what is wrong with it costs a warning. A run that was killed has left word in the
checkpoint, and the next one adds what that still holds. Of what else it may lack (delivered before it was begun or
while it could not be written, left out by a reset) it knows the stretches, by the calls' ends.
"""

import errno
import os
import shlex
import time
from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vicisync.calls.call import Call
from vicisync.errors import CURE
from vicisync.state.checkpoint import Checkpoint
from vicisync.state.files import DISK_FULL, check_folder, make_in_place, make_room, size_of

if TYPE_CHECKING:  # sqlite3 takes longer to import than an idle run has
    from sqlite3 import Connection

AT_ONCE = 1000  # calls of a transaction, and of the memory that they take until then
ROOM_LEFT = 4 * 1024 * 1024  # bytes of the disk that stay free for what matters more, the checkpoint
PATIENCE = 5.0  # seconds for which another that writes is waited for

# In the order of sending, so that the table and its one index grow, and are cut, at their ends.
_TABLES = """
CREATE TABLE IF NOT EXISTS calls (
    uniqueid TEXT NOT NULL UNIQUE, lead INTEGER, campaign TEXT, phone TEXT, started INTEGER, ended INTEGER,
    disposition TEXT, duration INTEGER, sent INTEGER, rejected INTEGER, words TEXT);
CREATE TABLE IF NOT EXISTS known (name TEXT PRIMARY KEY, epoch INTEGER);
CREATE TABLE IF NOT EXISTS left_out (after INTEGER, until INTEGER);
"""
_ADD = "INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ADD_KNOWN = f"""INSERT {_ADD} ON CONFLICT (uniqueid) DO UPDATE
                SET rejected = excluded.rejected, duration = NULL, words = NULL WHERE rejected = 2"""  # noqa: S608
_CARRY_ON = "UPDATE known SET epoch = ? WHERE name IN ('ended_after', 'lacking')"
_OLDEST = "FROM calls WHERE rowid IN (SELECT rowid FROM calls ORDER BY rowid LIMIT ?) AND sent < ?"
_FORGET = f"DELETE {_OLDEST}"
# What ended when the newest of these was sent may be lacking, whatever the clock says later, or journal_days.
_FORGOTTEN = f"""UPDATE known SET epoch = max(epoch, (SELECT ifnull(max(sent), 0) {_OLDEST}))
                 WHERE name = 'complete_after'"""  # noqa: S608 -- of the text above


class Outcome(IntEnum):
    """What came of a call, as the column ``rejected`` has it."""

    DELIVERED = 0
    REJECTED = 1
    UNANSWERED = 2  # sent by reconcile or retry-rejected, and the answer was lost: it may be stored


class Entry(NamedTuple):
    """What the journal holds of a call; where the run that sent it was killed, what was sent is not known (None)."""

    uniqueid: str
    lead_id: int | None
    campaign_id: str | None
    phone_number: str | None
    start_epoch: int | None
    end_epoch: int | None
    disposition: str | None
    duration: int | None  # seconds; with None, nothing is known of what was sent
    sent: int  # epoch; at the latest then
    outcome: int  # an `Outcome`
    words: str | None  # the API's


class Journal:
    """The journal as a run writes it, which holds the lock; nothing where ``path`` is None.

    ``checkpoint`` is the run's own, as it stands at any moment; without it, only calls are added.
    """

    def __init__(self, path: Path | None, days: int = 0, checkpoint: Checkpoint | None = None) -> None:
        self._path, self._days, self._checkpoint = path, days, checkpoint
        self._is_behind = checkpoint is not None and checkpoint.unjournalled is not None  # by an earlier run
        self._pending: list[Entry] = []
        self._connection: Connection | None = None
        self.problem = ""  # why it could not be written, cure included

    def begin(self) -> None:
        """Leave word in the checkpoint, before calls are sent, that the journal lacks some from now on."""
        checkpoint = self._checkpoint
        if self._path and checkpoint and checkpoint.unjournalled is None:
            # Fresh: since the first run, or a reset, nothing was delivered, and a new journal is complete from there.
            is_fresh = not any(_known_of(checkpoint, 0)) and checkpoint.end_epoch == checkpoint.ended_after
            goes_on = is_fresh or self._is_there()
            checkpoint.unjournalled = checkpoint.ended_after if goes_on else int(time.time())

    def _is_there(self) -> bool:
        return self._path is not None and size_of(self._path) > 0

    def carry_on(self) -> None:
        """Note that the checkpoint was lost, and is a new one: what ended before it was not left out on purpose."""
        if (checkpoint := self._checkpoint) and self._is_there():
            self._do(lambda connection: connection.execute(_CARRY_ON, (checkpoint.ended_after,)))
            self.close()

    def note(self, call: Call, words: str, outcome: Outcome = Outcome.DELIVERED) -> None:
        """Note what came of a call."""
        if self._path:
            ids = call.uniqueid, call.lead_id, call.campaign_id, call.phone_number, call.start_epoch, call.end_epoch
            sent = call.status, max(0, call.length_in_sec or 0), int(time.time())
            self._pending.append(Entry(*ids, *sent, outcome, words))
            if len(self._pending) >= AT_ONCE:
                self.write()

    def write(self, *, last: bool = False) -> None:
        """Write what was noted, and what an earlier run left; ``last``: close it. Sets ``problem`` where it cannot.

        With nothing to write, it does not even import sqlite3.
        """
        checkpoint = self._checkpoint
        if self._pending or self._is_behind:
            self._is_behind = not self._do(self._write)
        if last:
            self.close()
        self._pending.clear()
        if not checkpoint or checkpoint.unjournalled is None:
            return
        if self.problem:
            checkpoint.unjournalled = int(time.time())  # of what ended until now, it may never get all
        elif last:
            checkpoint.unjournalled = None

    def close(self) -> None:
        """Let go of the file; what was written is on the disk then."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def _do(self, act: Callable[["Connection"], object]) -> bool:
        """Do something in one transaction; return whether it was done, else ``problem`` says why."""
        if not self._path or self.problem:
            return False
        try:
            import sqlite3

            self._connection = self._connection or open_journal(self._path, ROOM_LEFT)
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                act(self._connection)
        except (ImportError, OSError, ValueError) as error:  # both of the import, too; ValueError: what is no text
            self.problem = problem_of(self._path, error)
        except sqlite3.Error as error:
            self.problem = problem_of(self._path, error)
        return not self.problem

    def _write(self, connection: "Connection") -> None:
        now, checkpoint = int(time.time()), self._checkpoint
        if checkpoint:
            _keep_account(connection, checkpoint, now)
        connection.executemany(f"INSERT OR REPLACE {_ADD}", self._pending)
        if checkpoint and self._is_behind:
            connection.executemany(_ADD_KNOWN, _known_of(checkpoint, now))
        oldest = 2 * len(self._pending) + 100, now - self._days * 86400
        connection.execute(_FORGOTTEN, oldest)
        connection.execute(_FORGET, oldest)


def _known_of(checkpoint: Checkpoint, now: int) -> Iterator[Entry]:
    """Yield what the checkpoint knows of the calls that it holds as handled."""
    for uniqueid, (start_epoch, lead_id, outcome) in checkpoint.handled.items():
        if outcome in ("delivered", "rejected"):
            yield Entry(uniqueid, lead_id, None, None, start_epoch, None, None, None, now, outcome == "rejected", None)


def _keep_account(connection: "Connection", checkpoint: Checkpoint, now: int) -> None:
    """Write down which ends the journal may lack, and up to which none is left that could go."""
    known = dict(connection.execute("SELECT name, epoch FROM known"))
    lacking = _lacking(checkpoint)
    settled = min(checkpoint.end_epoch, checkpoint.looked_until, *checkpoint.deliverable_starts(), now) - 1
    complete_after = known.get("complete_after", lacking)
    if known and checkpoint.ended_after != known["ended_after"]:  # a reset: what ended after it is sent, or sent again
        complete_after = min(complete_after, checkpoint.ended_after)
        connection.execute("UPDATE left_out SET until = min(until, ?)", (checkpoint.ended_after,))
    connection.executemany("INSERT INTO left_out VALUES (?, ?)", left_out_since(known, checkpoint))
    facts = {"ended_after": checkpoint.ended_after, "lacking": lacking, "settled": settled}
    facts["complete_after"] = complete_after
    connection.executemany("INSERT OR REPLACE INTO known VALUES (?, ?)", facts.items())


def _lacking(checkpoint: Checkpoint) -> int:
    return max(checkpoint.unjournalled or 0, checkpoint.ended_after)


def left_out_since(known: dict[str, int], checkpoint: Checkpoint) -> list[tuple[int, int]]:
    """Return the stretch of ends that was skipped by a reset, or could not be written, since the journal was written.

    What had been settled by then was either in it or was known to be lacking.
    """
    lacking = _lacking(checkpoint)
    is_new = known and lacking > known["settled"] and lacking not in (known["ended_after"], known["lacking"])
    return [(known["settled"], lacking)] if is_new else []


def problem_of(path: Path, error: Exception) -> str:
    """Return what is wrong with the journal, with its cure."""
    name, said = shlex.quote(str(path)), (error.strerror if isinstance(error, OSError) else None) or str(error)
    is_damaged = any(words in said for words in ("malformed", "not a database", "no such", "has no column"))
    if isinstance(error, ImportError):  # as where somebody built it
        return f"Cannot use the journal {path}, as this Python has no sqlite3: {said}{CURE}give vicisync one that has"
    cure = f"{CURE}to begin a new one: mv {name} {name}.damaged" if is_damaged else "; no call waits for it"
    cure += f"{CURE}{make_room(path.parent)}" if getattr(error, "errno", 0) in DISK_FULL else ""
    return f"Cannot use the journal {path}: {said}{cure}"


def open_journal(path: Path, room: int = 0) -> "Connection":
    """Open it, made where there is none, if the disk has so many bytes of ``room``; raises OSError or sqlite3.Error.

    With a write-ahead log a transaction is there whole or not at all, and a reader keeps no run from writing; when all
    have closed it, it is one file again.
    """
    import sqlite3

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_folder(path.parent)
    make_in_place(path)
    disk = os.statvfs(path.parent)
    if disk.f_bavail * disk.f_frsize < room:
        raise OSError(errno.ENOSPC, f"its disk has less than {room >> 20} MiB left")
    connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    try:
        connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_TABLES}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
