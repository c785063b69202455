"""``vicisync retry-rejected``: the rejected calls, sent again by the delivery of a run."""

import random
import time
from collections.abc import Callable
from contextlib import suppress

from vicisync.calls.readiness import left_out_by
from vicisync.did_optimizer.answer import Meaning
from vicisync.did_optimizer.attempt import Attempt
from vicisync.did_optimizer.delivery import Delivery, StopSignal
from vicisync.did_optimizer.workers import Session
from vicisync.errors import CheckpointError
from vicisync.report import Report, counted
from vicisync.settings.settings import Settings
from vicisync.state.journal import Journal, Outcome
from vicisync.state.lock import locked
from vicisync.state.records import Records
from vicisync.state.rejected import add_delivered, forget_delivered, read_rejected, reasons
from vicisync.sync.run import report_answer


def list_rejected(settings: Settings, report: Report) -> None:
    """Tell of every call of the rejected file when and why it was rejected. Raises CheckpointError."""
    calls, why = read_rejected(settings.rejected_file).calls, reasons(settings.rejected_file)
    for uniqueid, call in calls.items():
        report.listed(call, why.get(uniqueid, "sent again meanwhile"))
    report.summary(f"🔍 Dry run: {counted(len(calls), 'rejected call')}; nothing was sent, nothing was changed")


def _unanswered(settings: Settings, uniqueids: list[str]) -> set[str]:
    """Return the calls of which an answer was lost, as far as the journal tells."""
    with suppress(CheckpointError), Records(settings.journal_file, None) as records:  # told where it is written
        known = records.of_calls(uniqueids).values()
        return {each.uniqueid for each in known if each.outcome == Outcome.UNANSWERED}
    return set()


def retry_rejected(
    settings: Settings, report: Report, stop_signal: StopSignal, open_session: Callable[[], Session]
) -> int:
    """Send every call of the rejected file once more; return how many are left in it. Raises a VicisyncError.

    What gets through is noted line by line and taken out at the end: a kill repeats only what was in flight.
    """
    began = time.monotonic()
    with locked(settings.checkpoint_file):
        calls, unreadable = read_rejected(settings.rejected_file)
        rules = settings.rules(0, 0)
        left_out = {each.uniqueid for each in calls.values() if left_out_by(each.campaign_id or "", rules)}
        calls = {uniqueid: each for uniqueid, each in calls.items() if uniqueid not in left_out}
        for number in unreadable:
            report.warning(f"{settings.rejected_file} line {number} holds no call; left as it is")
        if left_out:
            count = counted(len(left_out), "rejected call")
            report.warning(f"{count} not sent: left out by campaigns or exclude_campaigns")
        if calls or not left_out:
            report.note(f"📞 Found {counted(len(calls), 'rejected call')}" if calls else "✅ No rejected calls")
        for security_warning in settings.security_warnings() if calls else ():
            report.warning(security_warning)
        deadline = began + (settings.max_runtime or float("inf"))
        delivery = Delivery(settings, open_session, stop_signal, deadline, report.note)
        # In any order: calls that can never be stored must not stand before all others each time.
        shuffled = random.sample(list(calls.values()), len(calls))
        unanswered = _unanswered(settings, list(calls))
        attempts = (Attempt(call, was_rejected=True, perhaps_stored=call.uniqueid in unanswered) for call in shuffled)
        journal = Journal(settings.journal_file if settings.journal_file.exists() else None, settings.journal_days)
        for call, answer in delivery.answers(attempts):
            with delivery.stopped_by_errors():
                if answer.meaning is Meaning.DELIVERED:
                    add_delivered(settings.rejected_file, call.uniqueid)
                    journal.note(call, answer.in_short)
                elif answer.perhaps_stored and call.uniqueid not in unanswered:
                    journal.note(call, answer.words, Outcome.UNANSWERED)
                journal.write()
                report_answer(report, call, answer)
        journal.write(last=True)
        forget_delivered(settings.rejected_file)  # also what a killed retry had noted
    if journal.problem:
        report.warning(journal.problem)
    remaining = len(calls) - report.tally.delivered
    report.tally.seconds, report.tally.perhaps_twice = time.monotonic() - began, delivery.perhaps_twice
    report.resent(remaining + len(left_out))
    if delivery.error:
        raise delivery.error
    return remaining
