"""The run: ask what can go, send it, record what came of it."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from vicisync.calls.call import Call, payload
from vicisync.calls.clocks import FIRST_RUN_TOLERANCE
from vicisync.calls.times import zoned
from vicisync.did_optimizer.answer import Answer, Meaning
from vicisync.did_optimizer.delivery import Delivery, StopSignal
from vicisync.did_optimizer.workers import Session
from vicisync.errors import CURE, CheckpointError, DatabaseError
from vicisync.report import Report, Tally
from vicisync.settings.settings import Settings
from vicisync.state.checkpoint import Checkpoint, starting_at
from vicisync.state.journal import Journal, Outcome
from vicisync.state.last_run import last_good_run
from vicisync.state.load import read_checkpoint
from vicisync.state.lock import locked
from vicisync.state.old_checkpoint import OLD_CHECKPOINT_MAX_AGE, read_old_checkpoint
from vicisync.state.store import Store
from vicisync.sync.monitoring import Monitoring
from vicisync.sync.poll import Poll
from vicisync.vicidial.call_log import CallLog

FIRST_RUN_LOOKS_BACK = 3600  # seconds before now after which calls of the very first run must have ended
FAILED_RUNS_TO_REJECT = 10  # in which a call fails while others pass: the API answers 500 to some rows for ever


def run(
    settings: Settings,
    report: Report,
    stop_signal: StopSignal,
    open_session: Callable[[], Session],
    *,
    dry_run: bool = False,
    limit: int | None = None,
    machine_clock: Callable[[], float] = time.time,
) -> Tally:
    """Deliver the calls that can go, at most ``limit``, and remember those that cannot yet; a dry run writes nothing.

    ``machine_clock`` returns this machine's epoch, beside which the database's is held.

    Raises a VicisyncError where the run could not do all, after saving what it did.
    """
    began = time.monotonic()
    deadline = began + (settings.max_runtime or float("inf"))
    with _opened(settings, report, machine := int(machine_clock()), dry_run=dry_run) as (call_log, store, now):
        delivery = Delivery(settings, open_session, stop_signal, deadline, report.note)
        poll = Poll(settings, call_log, store, report, now, machine, delivery.is_over)

        for call, answer in delivery.answers(poll.calls(limit)):
            with delivery.stopped_by_errors():
                record(settings, store, call, answer, now)
                report_answer(report, call, answer)
        error = delivery.error
        if not isinstance(error, CheckpointError):
            reject_poison(settings, delivery, store, report)
            reject_gone(settings, poll, store, report)
            store.journal.write(last=True)
            store.save()
        else:
            store.journal.write()
        if store.journal.problem:
            report.warning(store.journal.problem)
        tally, end_epoch, watching = report.tally, store.checkpoint.end_epoch, store.checkpoint.watching
        tally.lag, tally.perhaps_twice = poll.lag(), delivery.perhaps_twice
        tally.seconds, tally.poll_seconds = time.monotonic() - began, call_log.seconds
        report.end(end_epoch, watching, ended_well=error is None, looked_at_all=poll.looked_at_all)
        if error:
            raise error
    return report.tally


@contextmanager
def _opened(settings: Settings, report: Report, machine: int, *, dry_run: bool) -> Iterator[tuple[CallLog, Store, int]]:
    """Open the database and the state, which others are kept away from; yield them, with the database's epoch."""
    with ExitStack() as stack:
        if not dry_run:
            stack.enter_context(locked(settings.checkpoint_file))
            stack.enter_context(Monitoring(settings, report))
        checkpoint = read_checkpoint(settings.checkpoint_file, settings.give_up_after)
        if checkpoint:
            # Should the database be out of reach, this is what is known.
            report.tally.lag, report.tally.waiting = checkpoint.lag(machine), len(checkpoint.watching)
        call_log = stack.enter_context(CallLog(settings))
        now = call_log.now()
        if not checkpoint:
            checkpoint = _first_checkpoint(settings, now, machine, report)
            checkpoint.version = ()  # of no file: one that somebody has written since is not written over
        path, journal_file = (None, None) if dry_run else (settings.checkpoint_file, settings.journal_file)
        journal = Journal(journal_file, settings.journal_days, checkpoint)
        if checkpoint.version == ():
            journal.carry_on()
        store = stack.enter_context(Store(checkpoint, path, settings.rejected_file, journal))
        if store.reserve.was_left:
            twice = f"up to {settings.concurrency} of them may be stored twice"
            report.warning(f"The run before was killed while it sent calls; {twice}")
        yield call_log, store, now


def record(settings: Settings, store: Store, call: Call, answer: Answer, now: int) -> None:
    """Write down what became of a call; ``now`` is the database's epoch. Raises CheckpointError."""
    if answer.meaning is Meaning.DELIVERED:
        store.delivered(call.uniqueid, min(call.end_epoch or 0, now))
        store.journal.note(call, answer.in_short)
    elif answer.meaning is Meaning.REJECTED:
        reject(settings, store, call, answer.words)
    else:
        sent = payload(call, settings.dispositions)
        store.failed(call.uniqueid, sent, perhaps_stored=answer.perhaps_stored)


def reject(settings: Settings, store: Store, call: Call, why: str) -> None:
    """Write down that a call can never be stored; raises CheckpointError."""
    store.rejected(call.uniqueid, why, payload(call, settings.dispositions))
    store.journal.note(call, why, Outcome.REJECTED)


def report_answer(report: Report, call: Call, answer: Answer) -> None:
    """Tell what became of a call."""
    if answer.meaning is Meaning.DELIVERED:
        report.delivered(call, duplicate=answer.duplicate)
    elif answer.meaning is Meaning.REJECTED:
        report.rejected(call, answer.words)
    else:
        report.failed(call, answer.words)


def reject_poison(settings: Settings, delivery: Delivery, store: Store, report: Report) -> None:
    """Reject what keeps failing while others pass; an API that is down or refuses us counts against no call."""
    for call, answer in delivery.failed_while_others_passed:
        if store.count_failed_run(call.uniqueid) >= FAILED_RUNS_TO_REJECT:
            why = f"failed in {FAILED_RUNS_TO_REJECT} runs while others passed; last: {answer.words}"
            reject(settings, store, call, why)
            report.rejected(call, why, has_failed=True)


def reject_gone(settings: Settings, poll: Poll, store: Store, report: Report) -> None:
    """Reject what has no row any more, and did not get through for as long as a call is watched."""
    for call in list(poll.gone_in_vain()):
        store.make_ready()
        why = f"gone from vicidial_log, and did not get through in {settings.give_up_after} s"
        reject(settings, store, call, why)
        report.rejected(call, why, has_failed=True)


def _first_checkpoint(settings: Settings, now: int, machine: int, report: Report) -> Checkpoint:
    """Return where the very first run begins: where the old script stopped, or an hour ago; tell why."""
    if abs(now - machine) > FIRST_RUN_TOLERANCE:
        text = f"The database's clock says {zoned(now)}, this machine's {zoned(machine)}: where to begin is not clear"
        raise DatabaseError(f"{text}{CURE}set the clocks, or name a time: vicisync reset-checkpoint --to 1h")
    path = settings.old_checkpoint_file
    old, words = read_old_checkpoint(path, settings.give_up_after)
    good_run = last_good_run(settings.checkpoint_file) or 0
    if now - good_run < OLD_CHECKPOINT_MAX_AGE and not (old and old.ended_after > good_run):
        first = starting_at(min(good_run, now - FIRST_RUN_LOOKS_BACK), settings.give_up_after)
        why = "the checkpoint is gone, and that is an hour before a run last ended well"
        report.warning(f"Delivering what ended after {zoned(first.ended_after)}: {why}; some may be sent twice")
        return first
    if old:
        says = f"{zoned(old.ended_after)} says {path} ({words})"
        twice = "where its cron line is still there, calls will be sent twice"
        report.note(f"📅 First run: going on where the old script stopped, {says}; {twice}")
        return old
    first = starting_at(now - FIRST_RUN_LOOKS_BACK, settings.give_up_after)
    why = f"; {path} {words}" if words else ""
    if good_run:
        why += f"; to go on where runs have been, vicisync reset-checkpoint --to '{zoned(good_run)}'"
    report.note(f"📅 First run: delivering what ended after {zoned(first.ended_after)}, an hour ago{why}")
    return first
