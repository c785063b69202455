"""What people read of a run: on a terminal, or in the log with a time stamp before each line.

The words are those of the Perl script's log, since operators grep for them: ``Summary:``, ``failed:``, ``❌``.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Protocol, TextIO

from vicisync.calls.call import Call, CallRow
from vicisync.calls.times import LOCAL, local

BACKLOG = 500
"""Calls above which a terminal shows a bar: more than anyone reads."""

REASONS = {
    "not_ended": "not ended yet",
    "no_disposition": "no disposition yet",
    "message_playing": "a message is playing",
    "to_send": "not sent yet",
    "failed": "did not get through",
}
"""The checkpoint's reasons for waiting, in words."""

_CLEAR_LINE = "\r\x1b[K"


class Verbosity(IntEnum):
    """How much a run says."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


@dataclass
class Tally:
    """What a run did, counted as it goes."""

    delivered: int = 0
    duplicates: int = 0
    """Of the delivered ones, those that the API knew already."""
    failed: int = 0
    """Tried and not delivered, whether to be tried again or rejected."""
    rejected: int = 0
    gone: int = 0
    never_ended: int = 0
    waiting: int = 0
    lag: int = 0
    """Seconds by which the oldest call that could go has not gone."""
    poll_seconds: float = 0.0
    """Spent on the database."""


def counted(number: int, what: str) -> str:
    """Return a number of things, one of them in the singular."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Show text of others so that it can neither steer a terminal nor forge a line of the log."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)


class WatchedCall(Protocol):
    """What is told of a call that is watched."""

    @property
    def reason(self) -> str:
        """A key of `REASONS`."""

    @property
    def failed_runs(self) -> int:
        """Runs in which it failed while others passed."""

    @property
    def start_epoch(self) -> int:
        """When it began."""


class ProgressBar(Protocol):
    """What a terminal shows of a backlog."""

    def update(self, n_steps: int) -> None:
        """Move on by calls that are through."""

    def render_finish(self) -> None:
        """Leave the bar as it stands."""


class Report:
    """Writes a run's lines to ``stream``; the opening lines wait until there is something to tell.

    Where ``open_bar`` is given and the stream is a terminal, a backlog is shown as a bar instead of a line a call.
    """

    def __init__(
        self,
        stream: TextIO,
        verbosity: Verbosity = Verbosity.NORMAL,
        *,
        show_phone_numbers: bool = True,
        dry_run: bool = False,
        after_failure: str = "will try again",
        open_bar: Callable[[int], ProgressBar] | None = None,
    ) -> None:
        self._stream = stream
        self._verbosity = verbosity
        self._dry_run = dry_run
        self._after_failure = after_failure
        self._show_phone_numbers = show_phone_numbers
        self._stamped = not stream.isatty()
        self._open_bar = open_bar
        self._bar: ProgressBar | None = None

    def _say(self, line: str, at: Verbosity = Verbosity.NORMAL) -> None:
        if self._verbosity >= at:
            over_bar = _CLEAR_LINE if self._bar else ""
            stamp = time.strftime(f"{LOCAL} %z ") if self._stamped else ""
            with self._silent_on_error():
                # One write for the whole line, since several workers report at once.
                self._stream.write(f"{over_bar}{stamp}{printable(line)}\n")
                self._stream.flush()

    @contextmanager
    def _silent_on_error(self) -> Iterator[None]:
        """Go on without a log: its disk is full, or whoever read it has gone; calls are worth more than words."""
        try:
            yield
        except OSError as error:
            self._fall_silent(error)

    def _fall_silent(self, error: OSError) -> None:
        send_to_nowhere(self._stream)
        try:
            sys.stderr.write(f"❌ Cannot write what the run does: {error.strerror}; it goes on in silence\n")
            sys.stderr.flush()
        except OSError:  # both are one file, on one full disk
            send_to_nowhere(sys.stderr)

    def opening(self, end_epoch: int, found: int, behind: int) -> None:
        """Say that there are calls to send: ``found`` now, about ``behind`` more after those."""
        self._say("🚀 Starting call results sync...")
        self._say("✅ Connected to VICIdial database")
        self._say(f"📅 Last check: {local(end_epoch)}")
        more = f", and about {behind} rows more to look at" if behind else ""
        self._say(f"📞 Found {found} new call results{more}")
        if found + behind > BACKLOG and self._open_bar and not self._stamped and self._verbosity is Verbosity.NORMAL:
            with self._silent_on_error():
                self._bar = self._open_bar(found + behind)

    def note(self, line: str) -> None:
        """Say something that an operator wants to know of a run that goes on."""
        self._say(line)

    def warning(self, line: str) -> None:
        """Say something that an operator has to know, quiet or not."""
        self._say(f"⚠ {line}", Verbosity.QUIET)

    def delivered(self, call: Call, *, duplicate: bool) -> None:
        """Say that the API has stored a call; in a dry run, that it would be sent."""
        if self._bar:
            self._advance()
            return
        sign = "→ would send" if self._dry_run else "✓"
        self._say(f"{sign} {self._described(call)}{' (duplicate)' if duplicate else ''}")

    def _advance(self) -> None:
        if self._bar:
            with self._silent_on_error():
                self._bar.update(1)

    def failed(self, call: Call, why: str) -> None:
        """Say that a call did not get through this time."""
        self._say(f"✗ {call.uniqueid}: failed: {self._masked(why, call)}; {self._after_failure}", Verbosity.QUIET)
        self._advance()

    def rejected(self, call: Call, why: str) -> None:
        """Say that a call went into the rejected file."""
        self._say(f"✗ {call.uniqueid}: failed: {self._masked(why, call)}; rejected", Verbosity.QUIET)
        self._advance()

    def resending(self, calls: int) -> None:
        """Say how many rejected calls are sent again."""
        self._say(f"📞 Found {counted(calls, 'rejected call')}" if calls else "✅ No rejected calls")

    def resent(self, tally: Tally, remaining: int, seconds: float) -> None:
        """Sum up what became of the rejected calls."""
        if tally.delivered or tally.failed:
            self._summary(tally, seconds)
            self._say(f"💾 Left: {counted(remaining, 'rejected call')}" if remaining else "✅ None is left")

    def gone(self, uniqueid: str, watched: WatchedCall) -> None:
        """Say that a watched call's row was deleted before it could be sent."""
        self._say(f"⚠ {uniqueid}: gone from vicidial_log; it was watched: {_reason(watched)}")

    def never_ended(self, row: CallRow) -> None:
        """Say that a call is watched no longer, since it never ended."""
        self._say(f"⚠ {row.uniqueid}: never ended; given up, started {local(row.start_epoch)}")

    def waiting(self, watching: Mapping[str, WatchedCall]) -> None:
        """Say which calls wait, and why."""
        for uniqueid, watched in watching.items():
            self._say(
                f"… {uniqueid}: waiting: {_reason(watched)}; started {local(watched.start_epoch)}", Verbosity.VERBOSE
            )

    def end(
        self,
        end_epoch: int,
        watching: Mapping[str, WatchedCall],
        tally: Tally,
        seconds: float,
        *,
        ended_well: bool,
        looked_at_all: bool,
        rejected_file: Path,
    ) -> None:
        """Sum the run up, in one line where there was nothing to do."""
        if self._bar:
            with self._silent_on_error():
                self._bar.render_finish()
            self._bar = None
        did_something = bool(tally.delivered or tally.failed)
        if did_something and self._dry_run:
            would = f"{counted(tally.delivered, 'call')} would be sent"
            self._say(f"🔍 Dry run: {would}; nothing was sent, nothing was saved")
            return
        if did_something:
            self._summary(tally, seconds)
            self._say(f"💾 Saved checkpoint: {local(end_epoch)}")
        if not ended_well:
            return
        if tally.rejected:
            self._say(f"⚠ {counted(tally.rejected, 'call')} rejected: see {rejected_file}")
        elif not looked_at_all:
            self._say("⏳ There is more to look at; the next run goes on")
        elif did_something:
            self._say("✅ Sync completed successfully")
        else:
            reasons = Counter(_reason(watched) for watched in watching.values())
            waiting = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
            self._say(f"✅ Nothing new since {local(end_epoch)}{f'; waiting: {waiting}' if waiting else ''}")

    def _summary(self, tally: Tally, seconds: float) -> None:
        """Write the line that the seed's operators count by; what most runs have none of is said where there is any."""
        further = (
            (tally.duplicates, "duplicate" if tally.duplicates == 1 else "duplicates"),
            (tally.rejected, "rejected"),
            (tally.waiting, "waiting"),
            (tally.gone, "gone"),
            (tally.never_ended, "never ended"),
        )
        rest = ", ".join(f"{number} {what}" for number, what in further if number)
        self._say(
            f"📊 Summary: {tally.delivered} processed, {tally.failed} failed in {seconds:.2f}s"
            f"{f' ({rest})' if rest else ''}",
            Verbosity.QUIET,
        )

    def error(self, message: str) -> None:
        """Return what ended the run, each sentence behind the sign that operators grep for."""
        for line in message.splitlines():
            self._say(f"❌ {line}", Verbosity.QUIET)

    def _described(self, call: Call) -> str:
        shown = self._number(call)
        return (
            f"{call.uniqueid}: {call.campaign_id or '-'}/{shown or '-'} → {call.status or '-'}"
            f" ({call.length_in_sec or 0}s)"
        )

    def _masked(self, text: str, call: Call) -> str:
        """Leave of the call's number no more than may be shown; the API's words can hold it too."""
        return text.replace(call.phone_number, self._number(call)) if call.phone_number else text

    def _number(self, call: Call) -> str:
        number = call.phone_number or ""
        return number if self._show_phone_numbers else f"…{number[4:][-4:]}"


def _reason(watched: WatchedCall) -> str:
    words = REASONS.get(watched.reason, watched.reason)
    return f"{words} in {watched.failed_runs} runs" if watched.failed_runs else words


def send_to_nowhere(stream: TextIO) -> None:
    """Let what a stream still holds be flushed: Python would end with exit code 120 over words that it cannot write."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
