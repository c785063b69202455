"""What people read of a run, in the words of the Perl script's log: they grep for Summary:, failed: and ❌."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TextIO

from vicisync.calls.call import Call, CallRow
from vicisync.calls.readiness import UNANSWERED, Watched
from vicisync.calls.times import local
from vicisync.errors import CURE
from vicisync.output import PATIENCE, Output, ProgressBar

MANY = 10_000  # rows behind a page, more than which are not counted
BACKLOG = 500  # calls above which a terminal shows a bar: more than anyone reads
REASONS = {
    "not_ended": "not ended yet",
    "no_disposition": "no disposition yet",
    "message_playing": "a message is playing",
    "held": "still on the line or with an agent",
    "released": "just left by the agent",
    "to_send": "not sent yet",
    "failed": "did not get through",
}
"""The checkpoint's reasons for waiting, in words."""
_WORDS = {**REASONS, UNANSWERED: "did not get through: the answer was lost"}


class Verbosity(IntEnum):
    """How much a run says."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


@dataclass
class Tally:
    """What a run did, counted as it goes."""

    delivered: int = 0
    duplicates: int = 0  # of the delivered ones, those that the API knew already
    failed: int = 0  # tried and not delivered, whether to be tried again or rejected
    rejected: int = 0
    perhaps_twice: int = 0  # sent again after a POST whose answer was lost
    gone: int = 0
    never_ended: int = 0
    waiting: int = 0
    lag: int = 0  # how long the oldest deliverable call has been waiting, in seconds
    seconds: float = 0.0  # that the run took
    poll_seconds: float = 0.0  # of those, spent on the database


def counted(number: int, what: str) -> str:
    """Return a number of things, one of them in the singular."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def signed(message: str, sign: str = "❌") -> list[str]:
    """Return the lines of an error: a sign before each sentence, and below it the command or line that mends it."""
    return [f"   {line}" if line.startswith("→") else f"{sign} {line}" for line in message.splitlines()]


@dataclass
class Report:
    """Tells a run to the people who read ``stream``; on a terminal ``open_bar`` shows a backlog, not a line a call."""

    stream: TextIO
    verbosity: Verbosity = Verbosity.NORMAL
    show_phone_numbers: bool = True
    dry_run: bool = False
    after_failure: str = "will try again"
    open_bar: Callable[[Output, int], ProgressBar] | None = None
    rejected_file: Path | None = None
    tally: Tally = field(default_factory=Tally)  # what has been told so far, counted

    def __post_init__(self) -> None:
        self._output = Output(self.stream)

    def close(self) -> None:
        """Give whoever has stopped reading a last moment for what is not yet written."""
        self._output.flush(PATIENCE)

    def _say(self, line: str, at: Verbosity = Verbosity.NORMAL) -> None:
        if self.verbosity >= at:
            self._output.line(line)

    def opening(self, end_epoch: int, found: int, behind: int) -> None:
        """Tell that there are calls to send: ``found`` now, about ``behind`` more after those."""
        self._say("🚀 Starting call results sync...")
        self._say("✅ Connected to VICIdial database")
        self._say(f"📅 Last check: {local(end_epoch)}")
        about = f"more than {MANY}" if behind > MANY else f"about {behind}"
        more = f", and {about} rows more to look at" if behind else ""
        self._say(f"📞 Found {found} new call results{more}")
        if found + behind > BACKLOG and self.open_bar and self.verbosity is Verbosity.NORMAL:
            self._output.begin_bar(self.open_bar, found + behind)

    def note(self, line: str) -> None:
        """Tell something that an operator wants to know of a run that goes on."""
        self._say(line)

    def warning(self, line: str) -> None:
        """Tell something that an operator has to know, quiet or not, and below it what mends it."""
        what, *cure = line.split(CURE)  # nowhere else: what is told may have line ends of somebody else's
        self._say(f"⚠ {what}", Verbosity.QUIET)
        for each in cure:
            self._say(f"   → {each}", Verbosity.QUIET)

    def delivered(self, call: Call, *, duplicate: bool) -> None:
        """Tell that the API has stored a call; in a dry run, that it would be sent."""
        self.tally.delivered += 1
        self.tally.duplicates += duplicate
        if self._output.advance_bar():
            return
        sign = "→ would send" if self.dry_run else "✓"
        known = " (duplicate)" if duplicate else ""
        self._say(f"{sign} {call.uniqueid}: {self._what(call)}{known}")

    def _what(self, call: Call) -> str:
        who = f"{call.campaign_id or '-'}/{self._number(call) or '-'}"
        return f"{who} → {call.status or '-'} ({call.length_in_sec or 0}s)"

    def failed(self, call: Call, why: str) -> None:
        """Tell that a call did not get through this time."""
        self.tally.failed += 1
        self._say(f"✗ {call.uniqueid}: failed: {self._masked(why, call)}; {self.after_failure}", Verbosity.QUIET)
        self._output.advance_bar()

    def rejected(self, call: Call, why: str, *, has_failed: bool = False) -> None:
        """Tell that a call went into the rejected file; ``has_failed`` where its failing has been told before."""
        self.tally.rejected += 1
        self.tally.failed += not has_failed
        self._say(f"✗ {call.uniqueid}: failed: {self._masked(why, call)}; rejected", Verbosity.QUIET)
        self._output.advance_bar()

    def resent(self, remaining: int | None = None, what: str = "rejected call") -> None:
        """Sum up what became of calls that were sent again, of which so many remain; None: nobody has counted."""
        did_something = self.tally.delivered or self.tally.failed
        if did_something and self.dry_run:
            self._dry_summary()
        elif did_something:
            self._summary()
            if remaining is not None:
                self._say(f"💾 Left: {counted(remaining, what)}" if remaining else "✅ None is left")

    def listed(self, call: Call, words: str) -> None:
        """Tell of a call that somebody may want to look at."""
        self._say(f"⚠ {call.uniqueid}: {self._masked(words, call)}: {self._what(call)}")

    def summary(self, line: str) -> None:
        """Tell what is told quiet or not."""
        self._say(line, Verbosity.QUIET)

    def gone(self, uniqueid: str, watched: Watched) -> None:
        """Tell that a watched call's row was deleted before it could be sent."""
        self.tally.gone += 1
        self._say(f"⚠ {uniqueid}: gone from vicidial_log; it was watched: {_reason(watched)}")

    def left_out(self, row: CallRow) -> None:
        """Tell that a call is watched no longer, since its campaign is not sent any more."""
        self._say(f"⚠ {row.uniqueid}: not sent, as campaign {row.campaign or '(none)'} is left out; see dids.conf")

    def never_ended(self, row: CallRow) -> None:
        """Tell that a call is watched no longer, since it never ended."""
        self.tally.never_ended += 1
        self._say(f"⚠ {row.uniqueid}: never ended; given up, started {local(row.start_epoch)}")

    def end(self, end_epoch: int, watching: Mapping[str, Watched], *, ended_well: bool, looked_at_all: bool) -> None:
        """Tell which calls wait, and sum the run up: in one line where there was nothing to do."""
        tally = self.tally
        tally.waiting = len(watching)
        for uniqueid, watched in watching.items():
            since = f"started {local(watched.start_epoch)}"
            self._say(f"… {uniqueid}: waiting: {_reason(watched)}; {since}", Verbosity.VERBOSE)
        self._output.end_bar()
        did_something = bool(tally.delivered or tally.failed)
        if did_something and self.dry_run:
            self._dry_summary()
            return
        if did_something:
            self._summary()
            self._say(f"💾 Saved checkpoint: {local(end_epoch)}")
        if not ended_well:
            return
        if tally.rejected:
            self._say(f"⚠ {counted(tally.rejected, 'call')} rejected: see {self.rejected_file}")
        elif not looked_at_all:
            self._say("⏳ There is more to look at; the next run goes on")
        elif did_something:
            self._say("✅ Sync completed successfully")
        else:
            reasons = Counter(_reason(watched) for watched in watching.values())
            waiting = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
            self._say(f"✅ Nothing new since {local(end_epoch)}{f'; waiting: {waiting}' if waiting else ''}")

    def _dry_summary(self) -> None:
        calls = counted(self.tally.delivered, "call")
        self._say(f"🔍 Dry run: {calls} would be sent; nothing was sent, nothing was saved")

    def _summary(self) -> None:
        """Write the line that operators count by; what most runs have none of is told where there is any."""
        tally = self.tally
        further = {
            "duplicate" if tally.duplicates == 1 else "duplicates": tally.duplicates,
            "rejected": tally.rejected,
            "waiting": tally.waiting,
            "gone": tally.gone,
            "never ended": tally.never_ended,
        }
        rest = ", ".join(f"{number} {what}" for what, number in further.items() if number)
        numbers = f"{tally.delivered} processed, {tally.failed} failed in {tally.seconds:.2f}s"
        twice = f"; {tally.perhaps_twice} may have been stored twice (their answers were lost)"
        lost = twice if tally.perhaps_twice else ""
        self._say(f"📊 Summary: {numbers}{f' ({rest})' if rest else ''}{lost}", Verbosity.QUIET)

    def error(self, message: str) -> None:
        """Tell what ended the run, each sentence behind the sign that operators grep for, its cure below it."""
        for line in signed(message):
            self._say(line, Verbosity.QUIET)

    def _masked(self, text: str, call: Call) -> str:
        """Leave of the call's number no more than may be shown; the API's words can hold it too."""
        return text.replace(call.phone_number, self._number(call)) if call.phone_number else text

    def _number(self, call: Call) -> str:
        number = call.phone_number or ""
        return number if self.show_phone_numbers else f"…{number[4:][-4:]}"


def _reason(watched: Watched) -> str:
    words = _WORDS.get(watched.reason, watched.reason)
    return f"{words} in {counted(watched.failed_runs, 'run')}" if watched.failed_runs else words
