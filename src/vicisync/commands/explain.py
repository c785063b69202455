"""``vicisync explain``: what became of a call, what a run would do with it now, and why."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple, TypeVar

from vicisync.calls.call import Call, CallRow
from vicisync.calls.readiness import LONGEST_MESSAGE, ROW_IS_WRITTEN, Readiness, left_out_by
from vicisync.calls.times import LATEST, zoned
from vicisync.errors import CheckpointError, DatabaseError
from vicisync.report import REASONS, counted, signed
from vicisync.settings.settings import Settings
from vicisync.state.checkpoint import Checkpoint
from vicisync.state.journal import Entry, Outcome
from vicisync.state.load import read_checkpoint
from vicisync.state.records import Records
from vicisync.state.rejected import reasons
from vicisync.sync.outlook import outlook
from vicisync.sync.reconciling import Books, Ended, Standing
from vicisync.vicidial import statements
from vicisync.vicidial.call_log import CallLog
from vicisync.vicidial.live_calls import live_leads

MOST = 20  # calls of a lead or a phone that are shown

_WAITS = {
    Readiness.READY: "It goes with the next run",
    Readiness.NOT_ENDED: "It waits for its end; if none comes, it is given up at {given_up}",
    Readiness.NO_DISPOSITION: "It waits for its disposition, as {status} is not final; at {due} it goes at the latest",
    Readiness.MESSAGE_PLAYING: "It waits, as a message may be playing; at {played} it goes at the latest",
    Readiness.HELD: "It waits: {holder}",
    Readiness.RELEASED: "It waits: lead {lead} has just been let go, and VICIdial may not have written the row yet",
    Readiness.NOT_OURS: "It is not ours: it ended by {ended_after}, where the checkpoint begins",
    Readiness.NEVER_ENDED: "It is given up: it has not ended in {hours:g} h",
    None: "It is not over, and no run looks at it any more; once it is, vicisync reconcile --send sends it",
}
"""What a run would do now, and why."""

_BECAME = {
    Standing.DELIVERED: "✅ It is delivered, as it stands there",
    Standing.REJECTED: "⚠ It is rejected; when what was wrong is mended: vicisync retry-rejected",
    Standing.MISSING: "⚠ It is missing, and no run looks at it any more; to send it: {reconcile} --send",
    Standing.CHANGED: "⚠ It has changed since it was sent; to send it as it is: {reconcile} --send --corrections",
    Standing.NOT_IN_JOURNAL: "⚠ It is not in the journal: sent before that was begun, left out by a reset, or not ours",
    Standing.TWIN: "✅ It is the second row of a call that is sent by its first, as VICIdial writes some",
}

_OUTCOMES = ("✓ Delivered", "✗ Rejected", "⚠ Perhaps stored, as the answer was lost, sent")  # by `Outcome`
Say = Callable[[str], None]
_Told = TypeVar("_Told")


class _Known(NamedTuple):
    """Whatever can be asked; None where it cannot."""

    settings: Settings
    checkpoint: Checkpoint | None
    records: Records
    call_log: CallLog | None
    now: int

    def ended(self, calls: list[Call], rows: dict[str, CallRow]) -> dict[str, Ended]:
        """Return what became of those calls that have ended, by id."""
        if not self.call_log:
            return {}
        books = Books(self.settings, self.checkpoint, self.records, self.call_log, self.now)
        return {each.call.uniqueid: each for each in books.hold_against(rows, calls)}


def explain(settings: Settings, what: str, say: Say) -> bool:
    """Tell of a uniqueid, a lead or a phone number all that is known; return whether that is anything.

    A number may be written as people do, ``(748) 555-0347``; a uniqueid has a dot. What cannot be asked is told, and
    costs its part of the answer only; raises DatabaseError where nothing is left.
    """
    what = what.encode("ascii", "ignore").decode().strip()  # what is copied may hold signs that nobody sees
    if what.count(".") != 1 and re.fullmatch(r"[\s()+.-]*\d[\d\s()+.-]*", what):
        what = re.sub(r"\D", "", what)
    with ExitStack() as stack:
        known, troubles = _opened(settings, stack)
        told: list[str] = []
        is_known = _explain_call(known, what, told.append) or ("." not in what and _list(known, what, told.append))
    if not is_known and not told:
        told.append(f"⚠ No call, lead or phone number {what} is known, neither in vicidial_log nor here")
    for trouble in troubles:
        if isinstance(trouble, DatabaseError) and not is_known:
            raise trouble
        told[:0] = signed(str(trouble), "⚠")
    for line in told:
        say(line)
    return is_known


def _opened(settings: Settings, stack: ExitStack) -> tuple[_Known, list[CheckpointError | DatabaseError]]:
    troubles: list[CheckpointError | DatabaseError] = []

    def asked(ask: Callable[[], _Told]) -> _Told | None:
        try:
            return ask()
        except (CheckpointError, DatabaseError) as error:
            troubles.append(error)
            return None

    checkpoint = asked(lambda: read_checkpoint(settings.checkpoint_file, settings.give_up_after))
    records = asked(lambda: stack.enter_context(Records(settings.journal_file, checkpoint))) or Records(None, None)
    call_log = asked(lambda: stack.enter_context(CallLog(settings)))
    now = (call_log and asked(call_log.now)) or 0
    return _Known(settings, checkpoint, records, call_log if now else None, now), troubles


def _explain_call(known: _Known, uniqueid: str, say: Say) -> bool:
    settings, checkpoint, _, call_log, _ = known
    calls = call_log.whole([uniqueid]) if call_log else []
    row = next(_rows(known, statements.BY_UNIQUEID, [uniqueid]), None)
    sent = known.records.of_calls([uniqueid]).get(uniqueid)
    handled = checkpoint.handled.get(uniqueid) if checkpoint else None
    watched = checkpoint.watching.get(uniqueid) if checkpoint else None
    why = reasons(settings.rejected_file).get(uniqueid)
    if not (calls or sent or handled or watched or why):
        return False
    ended = known.ended(calls, {uniqueid: row}).get(uniqueid) if calls and row else None
    sent = sent or (ended.sent if ended else None)
    for call in calls:
        who = f"lead {call.lead_id}, {call.campaign_id or '-'}/{call.phone_number or '-'}, agent {call.user or '-'}"
        say(f"📞 {uniqueid}: {who} → {call.status or 'no status'} ({call.length_in_sec or 0}s)")
    if row:
        say(f"📅 Started {zoned(row.start_epoch)}, {f'ended {zoned(row.end_epoch)}' if row.end_epoch else 'not ended'}")
    elif call_log:
        say(f"📞 {uniqueid}: there is no row of it any more")
    if sent:
        say(_of_entry(sent, uniqueid))
    elif handled and handled.outcome != "left_out":
        say(f"✓ A run has {handled.outcome} it lately" if handled.outcome != "twin" else "✓ It is another call's twin")
    if why:
        say(f"✗ Rejected: {why}")
    if watched:
        runs = f", in {counted(watched.failed_runs, 'run')} while others passed" if watched.failed_runs else ""
        say(f"⏳ It is watched: {REASONS.get(watched.reason, 'did not get through')}{runs}")
    if call_log:
        say(_of_now(known, row, ended))
    return True


def _of_now(known: _Known, row: CallRow | None, ended: Ended | None) -> str:
    """Return what a run would do now, and what a person can."""
    if row is None:
        return "⏳ Nothing can be sent but what is watched with its payload: the row would have to come back"
    if setting := left_out_by(row.campaign, known.settings.rules(0, 0)):
        campaign = row.campaign or "(none)"
        return f"✅ It is not ours: campaign {campaign} is left out by {setting} ({known.settings.sources[setting]})"
    if ended and ended.standing is Standing.DELIVERED and (ended.sent is None or ended.sent.duration is None):
        return "✅ It is delivered; what was sent of it is not known"
    if ended and ended.standing in _BECAME:
        end = row.end_epoch or row.start_epoch
        there = f"vicisync reconcile --from '{zoned(end)}' --to '{zoned(end + 1)}'"
        return _BECAME[ended.standing].format(reconcile=there)
    if not (known.checkpoint and known.call_log):
        return "⏳ No run has been yet: the first one decides"
    settings, now = known.settings, known.now
    decided = outlook(settings, known.call_log, known.checkpoint, row, now)
    watched = known.checkpoint.watching.get(row.uniqueid)
    released = watched.since if watched and decided is Readiness.RELEASED else 0
    if 0 < released <= now - ROW_IS_WRITTEN:
        decided = Readiness.NO_DISPOSITION
    agent = decided is Readiness.HELD and (live_leads(known.call_log, [row.lead_id]) or {}).get(row.lead_id)
    holder = f"{agent} still has lead {row.lead_id} before him" if agent else f"lead {row.lead_id} is on the line"
    words = _WAITS[decided].format(
        given_up=zoned(row.start_epoch + settings.give_up_after),
        status=row.status or "no status",
        due=zoned(max(row.end_epoch, released) + settings.wait_for_disposition),
        played=zoned(row.end_epoch + LONGEST_MESSAGE),
        holder=holder,
        lead=row.lead_id,
        ended_after=zoned(known.checkpoint.ended_after),
        hours=settings.give_up_after / 3600,
    )
    return f"⏳ {words}"


def _of_entry(sent: Entry, uniqueid: str) -> str:
    former = f", as {sent.uniqueid}" if sent.uniqueid != uniqueid else ""
    outcome, came = _OUTCOMES[sent.outcome], "what came" if sent.outcome == Outcome.UNANSWERED else "the API said"
    said = f"; {came}: {sent.words}" if sent.words else ""
    if sent.duration is None:
        what = "what was sent is not known: that run was killed before it wrote it down"
        return f"{outcome}{former} by {zoned(sent.sent)}; {what}"
    return f"{outcome}{former} {zoned(sent.sent)}: {sent.disposition or 'no status'} ({sent.duration}s){said}"


def _rows(known: _Known, sql: str, ids: list[str] | list[int]) -> Iterator[CallRow]:
    """Yield the rows of calls or leads, from the archive too."""
    if known.call_log and ids:
        found = known.call_log.read(sql, {"ids": ids})
        if not known.call_log.archive_lacks:  # which has copies, too, as they were when they were made
            found = known.call_log.read(statements.of_archive(sql), {"ids": ids}) + found
        yield from {row.uniqueid: row for row in map(CallRow._make, found)}.values()


def _list(known: _Known, lead_or_phone: str, say: Say) -> bool:
    """Tell of the last calls of a lead or a phone, a line each; return whether there are any."""
    leads = [int(lead_or_phone)] if lead_or_phone.isdecimal() and int(lead_or_phone) <= LATEST else []
    database, may_search = known.settings.db_name, True
    if known.call_log and lead_or_phone.isdecimal():
        try:
            found = known.call_log.read(statements.EXPLAIN_LEADS_OF_PHONE, {"phone": lead_or_phone})
            leads += [lead for (lead,) in found]
        except DatabaseError:
            may_search = False
            user, _, host = known.call_log.read(statements.ACCOUNT)[0][0].rpartition("@")
            say("⚠ The leads of a phone number cannot be asked for, so those of the journal have to do")
            say(f"   → as the database's root: GRANT SELECT ON {database}.vicidial_list TO '{user}'@'{host}';")
    entries = {each.uniqueid: each for each in known.records.last_of(lead_or_phone, MOST)}
    rows = {row.uniqueid: row for row in _rows(known, statements.EXPLAIN_BY_LEAD, leads)}
    starts = {entry.uniqueid: entry.start_epoch or 0 for entry in entries.values()}
    starts |= {row.uniqueid: row.start_epoch for row in rows.values()}
    newest = sorted(starts, key=lambda uniqueid: starts[uniqueid], reverse=True)[:MOST]
    calls = known.call_log.whole(newest) if known.call_log else []
    rows |= {row.uniqueid: row for row in _rows(known, statements.BY_UNIQUEID, [u for u in newest if u not in rows])}
    ended = known.ended([call for call in calls if call.uniqueid in rows], rows)
    whole = {call.uniqueid: call for call in calls}
    for uniqueid, begin in ((each, zoned(starts[each])) for each in newest):
        if call := whole.get(uniqueid):
            what = f"lead {call.lead_id}, {call.campaign_id or '-'}/{call.phone_number or '-'} → {call.status or '-'}"
            became = ended[uniqueid].standing.value if uniqueid in ended else "not ended"
            say(f"📞 {uniqueid}: {begin}, {what} ({call.length_in_sec or 0}s): {became}")
        else:
            say(f"📞 {uniqueid}: {begin}, lead {entries[uniqueid].lead_id}; {_of_entry(entries[uniqueid], uniqueid)}")
    if newest:
        say(f"→ to be told all of one: vicisync explain {newest[0]}")
    elif not may_search:
        phone = "vicidial_log cannot be searched by a phone number without that grant"
        say(f"⚠ No call or lead {lead_or_phone} is known, and {phone}: ask by uniqueid or lead")
    return bool(newest)
