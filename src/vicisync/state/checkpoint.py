"""The checkpoint: how far the table has been looked through, what is watched, what was lately handled. Pure.

Its text is tab-separated, one fact a line, and starts with what an operator wants to know::

    end_epoch     1729771200  2024-10-24 12:00:00  1203 lines, crc32 a2edfbc8     newest end delivered
    ended_after   1729767600                                calls that ended at or before this are not ours
    looked_until  1729771260                                the newest start among the calls seen
    polled        1729771290                                when the table was last looked through to its end
    forgotten     1729770540                                delivered calls that started before this are not below
    refused       1729778490  1729771290                    the database's clock, not believed, and this machine's
    unjournalled  1729767600                                a run has not written the journal yet, see `Journal.begin`
    watching      <uniqueid> <lead_id> <start_epoch> <reason> [payload]
    delivered     <uniqueid> <start_epoch> <lead_id> [crc32]    kept while a poll can bring it back
    rejected      <uniqueid> <start_epoch> <lead_id> [crc32]    likewise
    twin          <uniqueid> <start_epoch> <lead_id>            likewise: a second row of a call
    left_out      <uniqueid> <start_epoch> <lead_id>            likewise: of a campaign that is not sent

A run appends ``delivered`` and ``rejected`` lines as it goes; a later line outdates an earlier ``watching``. The first
line proves the lines that were there before, itself included, and each appended one proves itself.
"""

import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote, unquote

from vicisync.calls.call import stem
from vicisync.calls.readiness import TO_SEND, TRIED, Watched, lag
from vicisync.calls.times import LATEST, local, parse_timestamp


class Handled(NamedTuple):
    """What is remembered of a call that was delivered or rejected."""

    start_epoch: int
    lead_id: int | None  # None where the line was written without it
    outcome: str = "delivered"  # or another of `OUTCOMES`: the word that its line begins with


OUTCOMES = ("delivered", "rejected", "twin", "left_out")


class Refusal(NamedTuple):
    """Two clocks at the moment when the database's was not believed; epochs."""

    database: int
    machine: int


@dataclass
class Checkpoint:
    """What one run leaves for the next. Epochs in seconds; calls by uniqueid, oldest news first."""

    end_epoch: int
    ended_after: int
    looked_until: int
    watching: dict[str, Watched] = field(default_factory=dict)
    handled: dict[str, Handled] = field(default_factory=dict)
    polled: int = 0  # when the table was last looked through to its end
    forgotten: int = 0  # handled calls that started before this have been forgotten
    refusal: Refusal | None = None
    unjournalled: int | None = None  # while the journal lacks calls that are handled: an end up to which it may ever
    version: tuple[int, ...] | None = field(default=None, init=False, compare=False)  # of the file it was read from

    def knows(self, uniqueid: str) -> bool:
        """Return whether a row with this id has been seen, and is watched or handled."""
        return uniqueid in self.watching or uniqueid in self.handled

    def lag(self, now: int) -> int:
        """Return the lag at the epoch ``now`` as far as the file alone tells, in seconds: at most so much."""
        return lag(now, [max(self.looked_until, self.polled), *self.deliverable_starts()])

    def all_sent_until(self) -> int:
        """Return an epoch up to which all that ended has been delivered, as far as the file alone tells."""
        starts = [*self.deliverable_starts(), *(call.start_epoch for call in self.watching.values() if call.payload)]
        looked_until = max(self.looked_until, self.polled)
        return max(self.ended_after, min(self.end_epoch, looked_until, *(start - 1 for start in starts)))

    def deliverable_starts(self) -> Iterator[int]:
        """Yield the start of each watched call that could go, as far as the file alone tells."""
        return (call.start_epoch for call in self.watching.values() if call.reason in (TO_SEND, *TRIED))

    def forget_before(self, since: int) -> None:
        """Forget handled calls that no poll since then can meet again, nor the search for a rewritten one's stem."""
        self.forgotten = max(self.forgotten, since)
        stems = {stem(uniqueid) for uniqueid in self.watching}
        old = [uniqueid for uniqueid, call in self.handled.items() if call.start_epoch < since]
        for uniqueid in old:
            if stem(uniqueid) not in stems:
                del self.handled[uniqueid]


def starting_at(epoch: int, give_up_after: int) -> Checkpoint:
    """Return the checkpoint that delivers what ended after ``epoch``, begun at most ``give_up_after`` s before that."""
    return Checkpoint(end_epoch=epoch, ended_after=epoch, looked_until=max(0, epoch - give_up_after))


class Damaged(ValueError):
    """The text is no checkpoint; ``str()`` says where and why."""


def parse(text: str, give_up_after: int) -> Checkpoint:
    """Read a checkpoint, or the single line that operators of the old Perl script write by hand.

    A last line that was appended and lacks its newline was torn by a kill and is ignored. Raises Damaged for anything
    else that was not written so: a guess could skip calls.
    """
    if "\t" not in text:  # to try it as a time would cost an idle run more than all the rest of this
        with suppress(ValueError):
            return starting_at(parse_timestamp(text), give_up_after)
    if not text.strip("\0"):
        raise Damaged("it is empty" if not text else "it holds nothing but NUL bytes")
    epochs: dict[str, int] = {}
    refusal: Refusal | None = None
    watching: dict[str, Watched] = {}
    handled: dict[str, Handled] = {}
    for number, line in enumerate(_proven(text.split("\n")[:-1]), 1):
        word, *values = line.split("\t")
        try:
            if word in OUTCOMES:
                uniqueid, handled[uniqueid] = _handled(word, *values)
                watching.pop(uniqueid, None)
            elif word == "watching":
                uniqueid, watching[uniqueid] = _watched(*values)
            elif word == "refused":
                refusal = Refusal(*map(_number, values))
            elif word in (*_EPOCHS, *_MORE_EPOCHS):
                epochs[word] = _number(values[0])
            else:
                raise ValueError(word)
        except (ValueError, IndexError, TypeError) as error:  # TypeError: more values than it has, or fewer
            raise _not_a_checkpoint_s(number, line) from error
    if missing := [word for word in _EPOCHS if word not in epochs]:
        raise Damaged(f"it lacks {' and '.join(missing)}")
    return Checkpoint(**epochs, watching=watching, handled=handled, refusal=refusal)


_EPOCHS = ("end_epoch", "ended_after", "looked_until")
_MORE_EPOCHS = ("polled", "forgotten", "unjournalled")

_FIRST_LINE = re.compile(r"(end_epoch\t[0-9]+(?:\t[^\ta-z]*)?)(?:\t([0-9]{1,9}) lines, crc32 ([0-9a-f]{8}))?")


def _proven(lines: list[str]) -> list[str]:
    """Return the lines without what proves them, if that does; what version 1.0.0 wrote has no such proof."""
    if not lines:
        return lines
    if not (first := _FIRST_LINE.fullmatch(lines[0])):
        raise _not_a_checkpoint_s(1, lines[0])
    head, count, crc = first.groups()
    if count is None:
        return lines
    compacted = int(count)
    if len(lines) < compacted:
        raise Damaged(f"it is cut short: {len(lines)} of its {compacted} lines are there")
    if crc != _crc(head, *lines[1:compacted]):
        raise Damaged(f"its first {compacted} lines are not as they were written: their crc32 is not {crc}")
    appended = []
    for number, line in enumerate(lines[compacted:], compacted + 1):
        said, _, crc = line.rpartition("\t")
        if crc != _crc(said):
            raise _not_a_checkpoint_s(number, line)
        appended.append(said)
    return [head, *lines[1:compacted], *appended]


def _crc(*lines: str) -> str:
    return format(zlib.crc32("\n".join(lines).encode("ascii", "replace")), "08x")


def _not_a_checkpoint_s(number: int, line: str) -> Damaged:
    return Damaged(f"line {number} is not a checkpoint's: {line[:60]!r}")


def _handled(word: str, uniqueid: str, start_epoch: str, lead_id: str | None = None) -> tuple[str, Handled]:
    return unescaped(uniqueid), Handled(_number(start_epoch), None if lead_id is None else _number(lead_id), word)


def _watched(uniqueid: str, lead_id: str, start_epoch: str, reason: str, payload: str = "") -> tuple[str, Watched]:
    word, _, digits = reason.partition(":")
    number = _number(digits or "0")
    failed_runs, since = (number, 0) if word in TRIED else (0, number)
    return unescaped(uniqueid), Watched(_number(lead_id), _number(start_epoch), word, failed_runs, since, payload)


def _number(digits: str) -> int:
    number = int(digits)  # takes more than digits, such as 1_000
    if not (digits.isdigit() and digits.isascii()) or number > LATEST:
        raise ValueError(digits)
    return number


def render(checkpoint: Checkpoint) -> str:
    """Write a checkpoint as text; ``parse`` reads it back the same."""
    head = f"end_epoch\t{checkpoint.end_epoch}\t{local(checkpoint.end_epoch)}"
    lines = [f"ended_after\t{checkpoint.ended_after}", f"looked_until\t{checkpoint.looked_until}"]
    lines += [f"{word}\t{epoch}" for word in ("polled", "forgotten") if (epoch := getattr(checkpoint, word))]
    if checkpoint.refusal:
        lines.append("refused\t{}\t{}".format(*checkpoint.refusal))
    if checkpoint.unjournalled is not None:
        lines.append(f"unjournalled\t{checkpoint.unjournalled}")
    lines += [_watching_line(uniqueid, watched) for uniqueid, watched in checkpoint.watching.items()]
    lines += [_handled_line(uniqueid, handled) for uniqueid, handled in checkpoint.handled.items()]
    return "\n".join([f"{head}\t{1 + len(lines)} lines, crc32 {_crc(head, *lines)}", *lines, ""])


def _watching_line(uniqueid: str, watched: Watched) -> str:
    number = watched.failed_runs if watched.reason in TRIED else watched.since
    counted = f"{watched.reason}:{number}" if number else watched.reason
    line = f"watching\t{escaped(uniqueid)}\t{watched.lead_id}\t{watched.start_epoch}\t{counted}"
    return f"{line}\t{watched.payload}" if watched.payload else line


def appended_line(uniqueid: str, handled: Handled) -> str:
    """Return the line that is appended when a call was delivered or rejected."""
    line = _handled_line(uniqueid, handled)
    return f"{line}\t{_crc(line)}\n"


def _handled_line(uniqueid: str, handled: Handled) -> str:
    """Return the line, without its newline, that says a call was delivered or rejected."""
    line = f"{handled.outcome}\t{escaped(uniqueid)}\t{handled.start_epoch}"
    return line if handled.lead_id is None else f"{line}\t{handled.lead_id}"


_PLAIN = re.compile(r"[0-9.]+").fullmatch


def escaped(uniqueid: str) -> str:
    """Write any uniqueid without tabs, newlines or other surprises; digits and dots stay as they are."""
    # Nearly every id is plain, and some files have 5,000 of them.
    return uniqueid if _PLAIN(uniqueid) else quote(uniqueid, safe="", errors="surrogatepass")


def unescaped(text: str) -> str:
    """Read what ``escaped`` wrote."""
    return unquote(text, errors="surrogatepass") if "%" in text else text
