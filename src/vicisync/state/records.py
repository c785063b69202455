"""The journal for whoever asks: what became of these calls, and of which ends it may lack some."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vicisync.calls.call import stem
from vicisync.errors import CheckpointError
from vicisync.state.checkpoint import Checkpoint
from vicisync.state.journal import ROOM_LEFT, Entry, Outcome, left_out_since, open_journal, problem_of

if TYPE_CHECKING:
    from sqlite3 import Connection


class Records:
    """What the journal holds, for whoever asks; one that is not there, or None, holds nothing. Raises CheckpointError.

    ``checkpoint`` tells of a reset since it was written.
    """

    def __init__(self, path: Path | None, checkpoint: Checkpoint | None, *, room: bool = False) -> None:
        self._room = ROOM_LEFT if room else 0  # where it is about to be written, too
        self._path = path
        self._connection: Connection | None = None
        self.complete_after: int | None = None  # of what ended after this, all is in it but what lies in `left_out`
        self.left_out: list[tuple[int, int]] = []
        if known := dict(self._read("SELECT name, epoch FROM known")):
            self.complete_after = known["complete_after"]
            self.left_out = list(self._read("SELECT after, until FROM left_out"))
            self.left_out += left_out_since(known, checkpoint) if checkpoint else []

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection:
            self._connection.close()

    def may_lack(self, end_epoch: int) -> bool:
        """Return whether a call that ended then may have been handled, or left out, without standing in it."""
        is_before = self.complete_after is None or end_epoch <= self.complete_after
        return is_before or any(after < end_epoch <= until for after, until in self.left_out)

    def of_calls(self, uniqueids: Sequence[str]) -> dict[str, Entry]:
        """Return what it holds of these calls, by id."""
        found: dict[str, Entry] = {}
        for start in range(0, len(uniqueids), 500):
            ids = uniqueids[start : start + 500]
            found |= {each.uniqueid: each for each in self._entries(f"uniqueid IN ({', '.join('?' * len(ids))})", ids)}
        return found

    def same_stem(self, uniqueid: str, lead_id: int) -> list[Entry]:
        """Return what was handled of a lead under ids that begin alike: behind the dot, VICIdial may rewrite them."""
        values = f"{stem(uniqueid)}.", f"{stem(uniqueid)}/", lead_id, Outcome.UNANSWERED
        return self._entries("uniqueid > ? AND uniqueid < ? AND lead = ? AND rejected < ?", values)

    def last_of(self, lead_or_phone: str, most: int) -> list[Entry]:
        """Return the last calls of a lead or phone, the newest first; all are read through, as no index has these."""
        lead = int(lead_or_phone) if lead_or_phone.isdecimal() and len(lead_or_phone) < 12 else None
        return self._entries("phone = ? OR lead = ? ORDER BY rowid DESC LIMIT ?", (lead_or_phone, lead, most))

    def _entries(self, where: str, values: Iterable[object]) -> list[Entry]:
        rows = self._read(f"SELECT * FROM calls WHERE {where}", values)  # noqa: S608 -- the wheres above
        return [Entry._make(row) for row in rows]

    def _read(self, sql: str, values: Iterable[object] = ()) -> list[Any]:
        if not self._path:
            return []
        try:
            import sqlite3

            self._path.stat()  # exists() of Python 3.14 takes a folder that may not be entered for no file
            self._connection = self._connection or open_journal(self._path, self._room)
            return self._connection.execute(sql, tuple(values)).fetchall()
        except FileNotFoundError:
            return []
        except (ImportError, OSError, ValueError) as error:
            raise CheckpointError(problem_of(self._path, error)) from error
        except sqlite3.Error as error:
            raise CheckpointError(problem_of(self._path, error)) from error
