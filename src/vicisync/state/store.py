"""What became of each call, in memory and on disk in step: the checkpoint's file and the rejected file.

What a method has returned from is written; what is not yet, the next run looks at again. A crash leaves the old
checkpoint or the new one, plus whole appended lines and perhaps one torn last line, which the reader ignores; a loss of
power may take the lines of a second with it.
"""

import json
import os
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from vicisync.calls.call import CallRow
from vicisync.calls.clocks import CLOCK_TOLERANCE
from vicisync.calls.readiness import FAILED, UNANSWERED, Watched
from vicisync.calls.times import local
from vicisync.errors import CURE, CheckpointError
from vicisync.state.checkpoint import Checkpoint, Handled, appended_line, render
from vicisync.state.files import DISK_FULL, Version, close, fsync_folder, put_in_place, version_of, why, write_whole
from vicisync.state.journal import Journal
from vicisync.state.lock import lock
from vicisync.state.rejected import add_delivered, add_rejected, read_rejected
from vicisync.state.reserve import Reserve

SYNC_INTERVAL = 1.0  # seconds after which the disk is to remember what was appended meanwhile


class Store:
    """The checkpoint of the run at work, which holds the lock; its methods raise CheckpointError.

    Where ``path`` is None (a dry run, `vicisync status`), it remembers and writes nothing.
    """

    def __init__(
        self, checkpoint: Checkpoint, path: Path | None, rejected_file: Path, journal: Journal | None = None
    ) -> None:
        self.checkpoint = checkpoint  # as it stands now; what it holds of calls is changed here alone
        self.journal = journal or Journal(None)
        self._path = path
        self._rejected_file = rejected_file
        self._today: dict[str, str] = {}  # ids by the former one
        self._fd = -1
        self._size, self._saved = 0, b""
        self._synced_at = 0.0  # a monotonic time
        self._version = checkpoint.version  # what the file has to be like for this run to write it
        if path and self._version is None:
            with suppress(OSError):
                self._version = _version_at(path)
        self.reserve = Reserve(path)
        self._rejected: Collection[str] | None = None

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.journal.close()
        self.reserve.release()
        if self._fd >= 0:
            close(self._fd)

    def rewritten(self, former: str, uniqueid: str) -> None:
        """Know a call by the id that VICIdial has given it since, also where its answer comes under the former one."""
        self._today.pop(uniqueid, None)
        self._today[former] = uniqueid
        for calls in (self.checkpoint.watching, self.checkpoint.handled):
            if former in calls:
                calls[uniqueid] = calls.pop(former)  # type: ignore[assignment]

    def today(self, uniqueid: str) -> str:
        """Return the id of today of a call that this run has known by a former one."""
        while uniqueid in self._today:
            uniqueid = self._today[uniqueid]
        return uniqueid

    def watch(self, row: CallRow, reason: str, since: int = 0) -> None:
        """Keep looking a call up until it is handled; ``reason`` is why it has not gone yet."""
        before = self.checkpoint.watching.get(row.uniqueid)
        failed_runs, payload = (before.failed_runs, before.payload) if before else (0, "")
        watched = Watched(row.lead_id, row.start_epoch, reason, failed_runs, since, payload)
        self.checkpoint.watching[row.uniqueid] = watched

    def keep(self, uniqueid: str, payload: Mapping[str, object]) -> None:
        """Keep what the API is to be told of a watched call, should its row be gone by then."""
        watched = self.checkpoint.watching[uniqueid]
        self.checkpoint.watching[uniqueid] = watched._replace(payload=json.dumps(payload))

    def drop(self, uniqueid: str) -> None:
        """Watch a call no longer: it is gone, not ours, or never ends."""
        self.checkpoint.watching.pop(uniqueid, None)

    def set_aside(self, row: CallRow, why: str) -> None:
        """Note that a row is never sent: it is a "twin", the second one of a call, or "left_out" with its campaign."""
        self.checkpoint.watching.pop(row.uniqueid, None)
        self.checkpoint.handled[row.uniqueid] = Handled(row.start_epoch, row.lead_id, why)

    def delivered(self, uniqueid: str, end_epoch: int) -> None:
        """Record that the API has stored a call, in the rejected file too where that has it since before a reset."""
        self._handled(uniqueid, "delivered")
        with suppress(CheckpointError):  # whoever needs the rejected file says so
            if self._rejected is None:
                self._rejected = ()
                self._rejected = read_rejected(self._rejected_file).calls if self._path else ()
            if uniqueid in self._rejected:
                add_delivered(self._rejected_file, uniqueid)
        self.checkpoint.end_epoch = max(self.checkpoint.end_epoch, end_epoch)

    def rejected(self, uniqueid: str, why: str, payload: Mapping[str, object]) -> None:
        """Put a call into the rejected file, then record that."""
        if self._path:
            add_rejected(self._rejected_file, why, payload)
        self._handled(uniqueid, "rejected")

    def _handled(self, uniqueid: str, outcome: str) -> None:
        """Record it in the file first: memory outlives no kill."""
        uniqueid = self.today(uniqueid)
        watched = self.checkpoint.watching[uniqueid]
        handled = Handled(watched.start_epoch, watched.lead_id, outcome)
        try:
            if self._path:
                self._append(self._path, appended_line(uniqueid, handled))
        finally:
            self.checkpoint.handled[uniqueid] = handled
            del self.checkpoint.watching[uniqueid]

    def failed(self, uniqueid: str, payload: Mapping[str, object], *, perhaps_stored: bool = False) -> None:
        """Note that a call did not get through, as far as is known; in later runs it comes last."""
        uniqueid = self.today(uniqueid)
        watched = self.checkpoint.watching.pop(uniqueid)
        reason = UNANSWERED if perhaps_stored else FAILED
        self.checkpoint.watching[uniqueid] = watched._replace(reason=reason, payload=json.dumps(payload))

    def count_failed_run(self, uniqueid: str) -> int:
        """Count a run in which a call failed while others passed; return how many such runs there have been."""
        uniqueid = self.today(uniqueid)
        watched = self.checkpoint.watching[uniqueid]
        self.checkpoint.watching[uniqueid] = watched._replace(failed_runs=watched.failed_runs + 1)
        return watched.failed_runs + 1

    def looked(self, until: int, overlap: int) -> None:
        """Note that a start as late as the epoch ``until`` has been seen, and save what is new by that."""
        if until != self.checkpoint.looked_until:
            self.checkpoint.looked_until = until
            self.journal.write()  # before what stands in the checkpoint alone is forgotten
            self.checkpoint.forget_before(until - overlap - CLOCK_TOLERANCE)
            self.save()

    def save(self) -> None:
        """Replace the file by the whole checkpoint in one step, safe against a loss of power."""
        if not self._path:
            return
        text = render(self.checkpoint).encode("ascii")
        if text == self._saved and self._size == len(text):
            return  # an idle run has nothing to add to what it saved after its poll
        try:
            fd = put_in_place(self._path, text, before=self._before_it_is_in_place)
            # From here on, what is appended goes into the file that is there, also where its folder cannot be synced.
            former, self._fd, self._size, self._saved = self._fd, fd, len(text), text
            self._synced_at = time.monotonic()
            self._note_version()
            if former >= 0:
                close(former)
            fsync_folder(self._path.parent)
        except OSError as error:
            said = why(error, self._path, "What was delivered stays recorded in it as it was appended")
            raise CheckpointError(f"Cannot save the checkpoint {self._path}: {said}") from error

    def _before_it_is_in_place(self, fd: int) -> None:
        lock(fd)
        self._check_untouched()

    def _check_untouched(self) -> None:
        """Raise CheckpointError where the file is not as this run knows it: what somebody has put there is meant."""
        if not self._path or (found := _version_at(self._path)) == (self._version or None):
            return
        text = f"The checkpoint {self._path} was {'replaced' if found else 'removed'} while this run was at work"
        if found:
            kept = "It is kept, and the next run goes on from it; what this one delivered may be sent again"
            raise CheckpointError(f"{text}. {kept}")
        left = min(self.checkpoint.end_epoch, self.checkpoint.looked_until, *self.checkpoint.deliverable_starts()) - 1
        cure = f"to go on where this one was: vicisync reset-checkpoint --to '{local(left)}'"
        raise CheckpointError(f"{text}. The next run begins as the first one did{CURE}{cure}")

    def _note_version(self) -> None:
        status = os.fstat(self._fd)
        self._version = status.st_ino, self._size, status.st_mtime_ns  # the size that it has if nobody else wrote

    def make_ready(self) -> None:
        """Make ready to record answers, before calls are sent: a disk that has no room for them is found here."""
        if not self.reserve.is_held:
            self.journal.begin()
            self.save()
            self.reserve.hold()

    def _append(self, path: Path, line: str) -> None:
        """Add one line, at once. On a full disk the reserve makes room for it, and CheckpointError ends the run."""
        try:
            self._check_untouched()
            self._write(line.encode("ascii"))
            if time.monotonic() - self._synced_at >= SYNC_INTERVAL:
                os.fdatasync(self._fd)
                self._synced_at = time.monotonic()
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise CheckpointError(f"Cannot write the checkpoint {path}: {error.strerror}") from error
            self.reserve.release()
            with suppress(OSError):  # no room even now: this one call will be sent again
                self._write(line.encode("ascii"))
            said = why(error, path, "The calls in flight were recorded, no more were sent")
            raise CheckpointError(f"No room for the checkpoint {path}: {said}") from error

    def _write(self, data: bytes) -> None:
        try:
            write_whole(self._fd, data)
            self._size += len(data)
        except OSError:
            with suppress(OSError):  # where a part was written, it must not stand before the next line
                os.ftruncate(self._fd, self._size)
            raise
        finally:
            self._note_version()


def _version_at(path: Path) -> Version | None:
    try:
        return version_of(path.lstat())
    except FileNotFoundError:
        return None
