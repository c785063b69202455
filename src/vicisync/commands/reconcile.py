"""``vicisync reconcile``: prove for a stretch of time that nothing is missing, and send what is."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice

from vicisync.calls.call import Call, payload
from vicisync.calls.times import parse_when, zoned
from vicisync.did_optimizer.answer import Answer, Meaning
from vicisync.did_optimizer.attempt import Attempt
from vicisync.did_optimizer.delivery import Delivery, StopSignal
from vicisync.did_optimizer.workers import Session
from vicisync.errors import CURE, AlreadyRunning, CheckpointError, ConfigError, Stopped
from vicisync.report import Report, counted
from vicisync.settings.settings import Settings
from vicisync.state.journal import Journal, Outcome
from vicisync.state.load import read_checkpoint
from vicisync.state.lock import locked
from vicisync.state.records import Records
from vicisync.state.rejected import add_rejected
from vicisync.sync.reconciling import NOT_COUNTED, Books, Ended, Standing, ended_between
from vicisync.sync.run import report_answer
from vicisync.vicidial.call_log import CallLog

PATIENCE = 60.0  # seconds for which a run at work is waited for: cron starts one in the same minute
COUNTED = [standing for standing in Standing if standing not in NOT_COUNTED]
LISTED = 20  # calls that are listed of each kind, unless all are asked for


@dataclass(frozen=True)
class Wanted:
    """What is asked for: which calls by their ends (epochs, ``until`` excluded), and what to do with them."""

    begin: int
    until: int
    send: bool = False
    corrections: bool = False
    everything: bool = False
    limit: int | None = None
    dry_run: bool = False
    by: str | None = None
    verbose: bool = False

    @property
    def to_send(self) -> set[Standing]:
        """Return which calls are to be sent."""
        if not self.send:
            return set()
        if self.everything:
            return set(COUNTED) - {Standing.WAITING, Standing.REJECTED}
        return {Standing.MISSING, *([Standing.CHANGED] if self.corrections else [])}


def stretch(from_: str | None, to: str | None, now: float) -> tuple[int, int]:
    """Return the epochs that are meant, by default those of yesterday; raise ConfigError."""
    try:
        begin = parse_when("yesterday" if from_ is None else from_, now)
        until = parse_when(to if to is not None else "today" if from_ is None else "now", now)
    except ValueError as error:
        raise ConfigError([f"--from or --to: {error}"]) from error
    if begin >= until:
        raise ConfigError([f"--from {zoned(begin)} must lie before --to {zoned(until)}"])
    return begin, until


def reconcile(
    settings: Settings, wanted: Wanted, report: Report, stop_signal: StopSignal, open_session: Callable[[], Session]
) -> int:
    """Hold every call that ended in a stretch of time against the journal; return how many are missing in the end.

    Nothing is changed but by sending, which is written into the journal, never the checkpoint. Raises a VicisyncError.
    """
    began = time.monotonic()
    report.note(f"📅 Calls that ended from {zoned(wanted.begin)} to before {zoned(wanted.until)}")
    with ExitStack() as stack:
        counts = _told(wanted, report, _ended(settings, wanted, stack, stop_signal, room=False))
    missing = counts[Standing.MISSING]
    if stop_signal.number:
        raise Stopped(stop_signal.number)
    chosen = sum(counts[standing] for standing in wanted.to_send)
    if chosen:
        if again := chosen - missing:
            report.warning(f"{counted(again, 'call')} sent before will be sent again; servers of today count each anew")
        for security_warning in settings.security_warnings():
            report.warning(security_warning)
        with ExitStack() as stack:
            if not wanted.dry_run:
                _lock(settings, stack, stop_signal)
            missing -= _sent(settings, wanted, report, stop_signal, open_session, stack)
        report.tally.seconds = time.monotonic() - began
        report.resent(missing, "missing call")
    if missing:
        cure = f"to send them: vicisync reconcile --from '{zoned(wanted.begin)}' --to '{zoned(wanted.until)}' --send"
        report.warning(f"{counted(missing, 'call')} missing{CURE}{cure}")
    elif (unknown := counts[Standing.NOT_IN_JOURNAL]) and not wanted.everything:
        why = "not in the journal, from before it was begun or left out by a reset; --send --all sends them"
        report.note(f"⚠ Nothing is known to be missing, but nothing is known of {counted(unknown, 'call')}: {why}")
    else:
        report.note("✅ Nothing is missing")
    return missing


def _lock(settings: Settings, stack: ExitStack, stop_signal: StopSignal) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            stack.enter_context(locked(settings.checkpoint_file))
        except AlreadyRunning:  # noqa: PERF203 -- five times a second
            if time.monotonic() >= until or stop_signal.number:
                raise
            time.sleep(0.2)
        else:
            return


def _ended(
    settings: Settings, wanted: Wanted, stack: ExitStack, stop_signal: StopSignal, *, room: bool
) -> Iterator[Ended]:
    checkpoint = read_checkpoint(settings.checkpoint_file, settings.give_up_after)
    records = stack.enter_context(Records(settings.journal_file, checkpoint, room=room))
    call_log = stack.enter_context(CallLog(settings))
    books = Books(settings, checkpoint, records, call_log, call_log.now())
    longest = settings.give_up_after
    return ended_between(call_log, books, wanted.begin, wanted.until, longest, lambda: stop_signal.number != 0)


def _told(wanted: Wanted, report: Report, calls: Iterator[Ended]) -> Counter[Standing]:
    """Count the calls, tell which are missing or have changed, and sum up."""
    counts: Counter[tuple[str, Standing]] = Counter()
    total: Counter[Standing] = Counter()
    for each in calls:
        call, standing, sent = each
        total[standing] += 1
        if wanted.by:
            counts[(call.campaign_id if wanted.by == "campaign" else call.status) or "-", standing] += 1
        if standing in (Standing.MISSING, Standing.CHANGED) and (total[standing] <= LISTED or wanted.verbose):
            before = f"; sent as {sent.disposition or '-'} ({sent.duration}s)" if sent else ""
            before += ", but the answer was lost" if each.is_unanswered else ""
            report.listed(call, f"{standing.value}{before}")
    for standing in (Standing.MISSING, Standing.CHANGED):
        if total[standing] > LISTED and not wanted.verbose:
            report.note(f"… and {total[standing] - LISTED} more {standing.value}; to list all: -v")
    if wanted.by:
        widths = [len(standing.value) for standing in COUNTED]
        report.note("  ".join([f"{wanted.by:12}", *(standing.value for standing in COUNTED)]))
        for key in sorted({key for key, _ in counts}):
            numbers = (counts[key, standing] for standing in COUNTED)
            cells = (f"{number:{width}}" for number, width in zip(numbers, widths, strict=True))
            report.note("  ".join([f"{key:12}", *cells]))
    told = ", ".join(f"{total[standing]} {standing.value}" for standing in COUNTED)
    report.summary(f"📊 Summary: {counted(sum(total[standing] for standing in COUNTED), 'call')} ended: {told}")
    return total


def _sent(
    settings: Settings,
    wanted: Wanted,
    report: Report,
    stop_signal: StopSignal,
    open_session: Callable[[], Session],
    stack: ExitStack,
) -> int:
    """Send what is to be sent, and write down what came of it, call by call; return how many are missing no more."""
    calls = _ended(settings, wanted, stack, stop_signal, room=not wanted.dry_run)
    on_its_way: dict[str, Ended] = {}
    taken: set[str] = set()  # what is archived meanwhile is found a second time
    found = 0

    def attempts() -> Iterator[Attempt]:
        chosen = (each for each in calls if each.standing in wanted.to_send and each.call.uniqueid not in taken)
        for each in islice(chosen, wanted.limit):
            taken.add(each.call.uniqueid)
            on_its_way[each.call.uniqueid] = each
            yield Attempt(each.call, perhaps_stored=each.is_unanswered)

    journal = Journal(settings.journal_file if settings.journal_file.exists() else None, settings.journal_days)
    stack.callback(journal.close)
    delivery = Delivery(settings, open_session, stop_signal, float("inf"), report.note)
    for call, answer in delivery.answers(attempts()):
        with delivery.stopped_by_errors():
            before = on_its_way.pop(call.uniqueid)
            is_handled = answer.meaning in (Meaning.DELIVERED, Meaning.REJECTED) and not wanted.dry_run
            found += is_handled and before.standing is Standing.MISSING
            if is_handled or (answer.perhaps_stored and not before.sent):
                _write(settings, journal, call, answer)
            report_answer(report, call, answer)
    report.tally.perhaps_twice = delivery.perhaps_twice
    if delivery.error:
        report.resent()
        raise delivery.error
    return found


def _write(settings: Settings, journal: Journal, call: Call, answer: Answer) -> None:
    """Write down what came of a call before the next: a kill repeats what was in flight. Raises CheckpointError."""
    outcome: Outcome = getattr(Outcome, answer.meaning.name, Outcome.UNANSWERED)
    if outcome is Outcome.REJECTED:
        add_rejected(settings.rejected_file, answer.words, payload(call, settings.dispositions))
    journal.note(call, answer.words if outcome else answer.in_short, outcome)
    journal.write()
    if journal.problem:
        raise CheckpointError(f"No more is sent, since it would be sent again: {journal.problem}")
