"""The lives of calls: what VICIdial writes into vicidial_log, and into its two tables of who is still on the line.

A life is plain data: the statements that VICIdial would send, each with its time, and what must come of it. The ways
of a row are those of VICIdial 2.14 (SVN 3884). All times are epoch seconds, all durations seconds. Every life takes its
durations as parameters, so that a test can press hours into seconds. ``rehearsal.dialer`` acts lives out.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

HEARTBEAT_COUNTS = 300  # seconds that an agent without a heartbeat, whose browser is closed, still has his lead


class Step(NamedTuple):
    """One statement of VICIdial's, and when it is sent."""

    at: float
    sql: str
    params: tuple[object, ...]
    is_log: bool = True
    """Whether it writes vicidial_log; else one of the live tables."""
    after_release: bool = False
    """Whether the live tables have just let go of the lead, so that only this statement shows how the call ended."""


class Final(NamedTuple):
    """What exactly one POST must say of a call."""

    uniqueid: str
    status: str


@dataclass(frozen=True)
class Life:
    """One call from its first row to its last change."""

    name: str
    steps: tuple[Step, ...]
    final: Final | None
    """What must be delivered; None for a call that never ends."""
    over_at: float
    """From when on its row stays as it is, and nobody has its lead."""
    also: tuple[str, ...] = ()
    """Ids under which the one POST may arrive instead, because the row bore them while it looked final."""
    extra: tuple[str, ...] = ()
    """Ids of further rows of the call, which are no calls."""
    closed: tuple[str, float] | None = None
    """An agent whose browser was closed, and when; his lead stays his, but his heartbeat stops."""


def stretched(life: Life, gap: float) -> Life:
    """Return the life with ``gap`` seconds between the moment when the live tables let go and the row that shows it.

    VICIdial writes them in this order, and a lock on vicidial_list can hold up what comes in between.
    """
    steps, not_before = [], 0.0
    for step in life.steps:
        if step.is_log:  # statements about one row stay in their order
            not_before = max(not_before, step.at + (gap if step.after_release else 0))
            step = step._replace(at=not_before)
        steps.append(step)
    return replace(life, steps=tuple(steps), over_at=life.over_at + gap)


@dataclass(frozen=True)
class Call:
    """Who calls whom: the columns that stay the same all through a life."""

    at: int
    """The second the channel was created, which is the part before the dot of its uniqueid."""
    number: int
    """Unlike any other call's; the part after the dot."""
    lead_id: int = 1
    list_id: int | None = 1001
    campaign_id: str = "CAMP01"
    phone_code: str = "1"
    phone_number: str = "2125550100"
    user: str = "6666"
    """The agent, who has no other call meanwhile."""
    user_group: str = "AGENTS"
    alt_dial: str = "MAIN"
    called_count: int | None = 1
    """None: the table is older than VICIdial 2.8 and has no such column."""

    @property
    def uniqueid(self) -> str:
        return f"{self.at}.{self.number}"


_numbers = itertools.count(1)
FIRST_LEAD = 500_000


def new_call(at: float, lead_id: int | None = None) -> Call:
    """Return a call to a lead of its own, or to ``lead_id``, unlike any other in this process."""
    number = next(_numbers)
    lead = FIRST_LEAD + number if lead_id is None else lead_id
    return Call(int(at), number, lead_id=lead, phone_number=phone_number_of(lead), user=f"agent{number}")


def phone_number_of(lead: int) -> str:
    return f"{201 + lead % 700}555{lead % 10000:04d}"


class _Script:
    """Writes a life down, statement by statement, in the order in which VICIdial sends them.

    What gives the lead away comes before the row, as VICIdial empties its live tables first.
    """

    def __init__(self, call: Call, start: float) -> None:
        self.call = call
        self.start = start
        """When the customer answers, or the row begins."""
        self.uniqueid = call.uniqueid
        self.status = ""
        self.steps: list[Step] = []
        self._released_at = 0.0

    def _log(self, at: float, sql: str, *params: object) -> None:
        self.steps.append(Step(at, sql, params, after_release=at == self._released_at))

    def _live(self, at: float, sql: str, *params: object) -> None:
        self.steps.append(Step(at, sql, params, is_log=False))

    def row(self, at: float, status: str, *, end: float | None = None, **other: object) -> None:
        """Insert the call's row, or one beside it; ``other`` holds what differs from an unanswered call's columns."""
        call, start = self.call, self.start
        length = None if end is None else int(end) - int(start)
        count = {} if call.called_count is None else {"called_count": call.called_count}
        columns: dict[str, object] = {
            "uniqueid": call.uniqueid, "lead_id": call.lead_id, "list_id": call.list_id,
            "campaign_id": call.campaign_id, "start_epoch": int(start), "end_epoch": None if end is None else int(end),
            "length_in_sec": length, "status": status, "phone_code": call.phone_code,
            "phone_number": call.phone_number, "user": "VDAD", "comments": "AUTO", "processed": "N",
            "user_group": None, "term_reason": "NONE", "alt_dial": call.alt_dial, **count, **other,
        }  # fmt: skip
        self.status = self.status or status
        # call_date is the local time of the start, as the database's machine sees it.
        places = ", ".join(["%s"] * len(columns))
        sql = f"INSERT INTO vicidial_log ({', '.join(columns)}, call_date) VALUES ({places}, FROM_UNIXTIME(%s))"
        self._log(at, sql, *columns.values(), columns["start_epoch"])

    def change(self, at: float, status: str = "", *, end: float | None = None, **columns: object) -> None:
        """Update the row, with an end and its length where there is one."""
        if status:
            columns["status"] = self.status = status
        if end is not None:
            columns |= {"end_epoch": int(end), "length_in_sec": int(end) - int(self.start)}
        sql = f"UPDATE vicidial_log SET {', '.join(f'{name} = %s' for name in columns)} WHERE uniqueid = %s"
        self._log(at, sql, *columns.values(), self.uniqueid)
        self.uniqueid = str(columns.get("uniqueid", self.uniqueid))

    def up(self, at: float, status: str = "SENT", kind: str = "OUT") -> None:
        """Have the call on the line; a closer's part of it is of another kind."""
        sql = (
            "INSERT INTO vicidial_auto_calls (uniqueid, lead_id, campaign_id, status, call_type, server_ip, call_time,"
            " last_update_time) VALUES (%s, %s, %s, %s, %s, '10.0.0.1', NOW(), NOW())"
        )
        self._live(at, sql, self.call.uniqueid, self.call.lead_id, self.call.campaign_id, status, kind)

    def down(self, at: float, kind: str = "OUT") -> None:
        """Have the call off the line."""
        sql = "DELETE FROM vicidial_auto_calls WHERE uniqueid = %s AND call_type = %s"
        self._live(at, sql, self.call.uniqueid, kind)
        self._released_at = at

    def agent(self, at: float, status: str, lead_id: int | None = None, user: str = "") -> None:
        """Log the agent in, or change his state: with the call's lead before him, unless told otherwise."""
        call, user = self.call, user or self.call.user
        lead_id = call.lead_id if lead_id is None else lead_id
        sql = (
            "REPLACE INTO vicidial_live_agents (live_agent_id, user, status, lead_id, campaign_id, uniqueid, server_ip,"
            " last_update_time) VALUES (CRC32(%s), %s, %s, %s, %s, %s, '10.0.0.1', NOW())"
        )
        self._live(at, sql, user, user, status, lead_id, call.campaign_id, self.uniqueid if lead_id else "")
        if not lead_id:
            self._released_at = at

    def free(self, at: float, user: str = "") -> None:
        """Have the agent without a lead."""
        self.agent(at, "READY", 0, user)

    def log_out(self, at: float) -> None:
        self._live(at, "DELETE FROM vicidial_live_agents WHERE user = %s", self.call.user)
        self._released_at = at

    def life(self, name: str) -> Life:
        """Return the life; its last step so far is the last change."""
        over_at = max(step.at for step in self.steps)
        return Life(name, tuple(self.steps), Final(self.uniqueid, self.status), over_at)


def _rewritten_id(call: Call) -> str:
    """Return another id for the call's row: a different channel of the same second."""
    others = (f"{call.at}.{number}" for number in _numbers)
    return next(other for other in others if other != call.uniqueid)


def _answered(call: Call, ring: float, connect: float, comments: str = "AUTO") -> _Script:
    """Have the customer answer, and an agent take the call."""
    script = _Script(call, start := call.at + ring)
    script.up(call.at)
    script.row(start, "QUEUE", comments=comments)
    script.agent(start, "QUEUE")
    script.agent(start + connect, "INCALL")
    script.change(start + connect, "INCALL", user=call.user, user_group=call.user_group)
    return script


def _hung_up(script: _Script, at: float, hangs_up: float, status: str, rewritten: bool = False) -> float:
    """Have the customer hang up (the row ends as it is), and the agent later (it ends anew); return when."""
    script.down(at)
    script.change(at, end=at, term_reason="CALLER")
    gone = at + hangs_up
    script.agent(gone, "PAUSED")
    new_id = {"uniqueid": _rewritten_id(script.call)} if rewritten else {}
    script.change(gone, status, end=gone, **new_id)
    return gone


def _decided(script: _Script, at: float, status: str) -> None:
    """Have the agent pick his disposition."""
    script.free(at)
    script.change(at, status)


def agent_call(
    call: Call,
    *,
    status: str = "SALE",
    ring: float = 8,
    connect: float = 1,
    talk: float = 90,
    hangs_up: float = 3,
    wrap_up: float = 20,
    rewritten: bool = False,
    wrap_up_status: str = "DISPO",
) -> Life:
    """A call that reaches an agent.

    The customer hangs up after ``talk`` (the row ends, still INCALL), the agent ``hangs_up`` later (it ends anew,
    DISPO, or ALTNUM where he may dial another number of the lead, perhaps with another uniqueid) and picks a
    disposition after ``wrap_up`` more; the end stays.
    """
    script = _answered(call, ring, connect)
    gone = _hung_up(script, script.start + connect + talk, hangs_up, wrap_up_status, rewritten)
    _decided(script, gone + wrap_up, status)
    return script.life("agent call")


def alternate_numbers(call: Call, *, talk: float = 30, dials: float = 4, wrap_up: float = 20) -> tuple[Life, Life]:
    """Two numbers of a lead, one after the other: ALTNUM stays for ever on all but the last."""
    script = _answered(call, 8, 1)
    gone = _hung_up(script, script.start + 1 + talk, 3, "ALTNUM")
    other = replace(new_call(gone + dials, call.lead_id), user=call.user, alt_dial="ALT")
    last = agent_call(other, status="NI", wrap_up=wrap_up)
    return replace(script.life("alternate number left"), over_at=other.at + 8), last


def hot_key(
    call: Call, *, status: str = "NI", ring: float = 8, connect: float = 1, talk: float = 30, hangs_up: float = 1
) -> Life:
    """The agent picks the disposition by a key while talking: the final status comes before the end."""
    script = _answered(call, ring, connect)
    decided = script.start + connect + talk
    _decided(script, decided, status)
    script.down(decided + hangs_up)
    script.change(decided + hangs_up, end=decided + hangs_up, term_reason="AGENT")
    return script.life("hot key")


def hot_key_after_hangup(
    call: Call,
    *,
    status: str = "DNC",
    ring: float = 8,
    connect: float = 1,
    talk: float = 30,
    decides: float = 4,
    hangs_up: float = 1,
    rewritten: bool = True,
) -> Life:
    """The customer hangs up, the agent presses the hot key, and VICIdial ends the call anew: ``hangs_up`` later.

    In between the row looks final under its first uniqueid, so that the one POST may carry that one (and that end).
    """
    script = _answered(call, ring, connect)
    customer_gone = script.start + connect + talk
    agent_gone = customer_gone + decides + hangs_up
    script.down(customer_gone)
    script.change(customer_gone, end=customer_gone, term_reason="CALLER")
    _decided(script, customer_gone + decides, status)
    script.change(agent_gone, end=agent_gone, uniqueid=_rewritten_id(call) if rewritten else call.uniqueid)
    return replace(script.life("hot key after hang-up"), also=(call.uniqueid,) if rewritten else ())


def manual_failure(
    call: Call,
    *,
    status: str = "AB",
    becomes: str = "B",
    ring: float = 3,
    ends: float = 8,
    wrap_up: float = 10,
    swept: bool = False,
) -> Life:
    """An agent dials by hand, and it fails; ``ends`` later he gives up, and then picks his disposition.

    Where the dialer ``swept`` up what nobody answered, it writes the agent's name, and no comments.
    """
    script = _Script(call, failed := call.at + ring)
    script.agent(call.at, "INCALL")
    script.up(call.at)
    script.down(failed)
    whose = {"user": call.user, "comments": None} if swept else {"comments": "MANUAL"}
    script.row(failed, status, end=failed, **whose)
    gone = failed + ends
    script.change(gone, end=gone, user=call.user, user_group=call.user_group, term_reason="AGENT")
    _decided(script, gone + wrap_up, becomes)
    return script.life("manual dial that fails")


def voicemail_left(call: Call, *, talk: float = 12, message: float = 40) -> Life:
    """The agent has a message played to a machine and goes: A first, then AA to AL, and the end as it is hung up."""
    script = _answered(call, 8, 1)
    gone = script.start + 1 + talk
    script.free(gone)
    script.change(gone, "A", end=gone, term_reason="AGENT")
    script.change(gone + 2, "AA", end=gone + 5)
    script.change(gone + 4, "AM")
    script.change(gone + message - 2, "AL")
    script.down(gone + message)
    script.change(gone + message, end=gone + message)
    return script.life("voicemail left by the agent")


def customer_goes_first(call: Call, *, talk: float = 20, wrap_up: float = 15) -> Life:
    """The agent leaves a message, the customer's side ends it: DROP with his name until he has picked A."""
    script = _answered(call, 8, 1)
    gone = script.start + 1 + talk
    script.down(gone)
    script.change(gone, "DROP", end=gone, term_reason="CALLER")
    _decided(script, gone + wrap_up, "A")
    return script.life("DROP, then A")


def call_menu(
    call: Call, *, status: str = "DROP", becomes: str = "OPTOUT", waits: float = 5, menu: float = 180
) -> Life:
    """A drop or a survey ends the row, while a menu goes on with the customer, who chooses there and hangs up."""
    script = _Script(call, call.at + 8)
    script.up(call.at)
    script.row(script.start, "QUEUE")
    dropped = script.start + waits
    script.change(dropped, status, end=dropped, term_reason="")
    gone = dropped + menu
    script.change(gone - 2, becomes)
    script.down(gone)
    script.change(gone, end=gone, term_reason="CALLER")
    return script.life("call menu")


def three_way(call: Call, *, talk: float = 58, wrap_up: float = 5, goes_on: float = 540) -> Life:
    """The agent leaves two others to each other and picks his disposition; the real end comes when they have done."""
    script = _answered(call, 8, 1)
    gone = script.start + talk
    script.agent(gone, "PAUSED")
    script.change(gone, "DISPO", end=gone, term_reason="AGENT")
    _decided(script, gone + wrap_up, "SALE")
    script.down(gone + goes_on)
    script.change(gone + goes_on, end=gone + goes_on, term_reason="CALLER")
    return script.life("three-way call")


def dropped_at_assignment(call: Call, *, talk: float = 30, wrap_up: float = 20) -> Life:
    """The call is dropped, and in the same second an agent gets it after all."""
    script = _Script(call, start := call.at + 8)
    script.up(call.at)
    script.row(start, "QUEUE")
    script.change(start + 1, "DROP", end=start + 1)
    script.agent(start + 2, "INCALL")
    script.change(start + 2, "INCALL", user=call.user, user_group=call.user_group)
    _decided(script, _hung_up(script, start + 2 + talk, 3, "DISPO") + wrap_up, "NI")
    return script.life("drop at assignment")


def leftover(
    call: Call,
    *,
    stuck: str = "DISPO",
    ring: float = 8,
    connect: float = 1,
    talk: float = 60,
    logs_out: float | None = 2,
) -> Life:
    """The agent goes without a disposition, by logging out or (None) with his browser: the row stays so for ever.

    INCALL: nobody was there to hang up after the customer; DISPO, DONEM, ALTNUM and XFER: somebody was.
    """
    script = _answered(call, ring, connect)
    gone = script.start + connect + talk
    script.down(gone)
    script.change(gone, "" if stuck == "INCALL" else stuck, end=gone, term_reason="AGENT")
    script.agent(gone, "PAUSED")  # the last that is heard of his screen
    if logs_out is None:
        life = script.life("browser closed")
        return replace(life, closed=(call.user, gone), over_at=gone + HEARTBEAT_COUNTS)
    script.log_out(gone + logs_out)
    return script.life("leftover")


def browser_closed(call: Call, **more: Any) -> Life:
    """The agent's browser is gone before a disposition was picked; ``more`` as of a `leftover`."""
    return leftover(call, **more, logs_out=None)


def no_answer(call: Call, *, ring: float = 26, status: str = "NA") -> Life:
    """Nobody answers, or the number is busy or dead, and the dialer notices at once."""
    script = _Script(call, now := call.at + ring)
    script.up(call.at)
    script.down(now)
    script.row(now, status, end=now)
    return script.life("no answer")


def busy_before_answer(call: Call, *, late: float = 120, status: str = "AB") -> Life:
    """AB, ADC or PDROP: the row appears ``late`` (up to 240 s) with start and end at the time of dialling."""
    script = _Script(call, call.at)
    script.up(call.at)
    script.down(call.at + min(3, late))
    script.row(call.at + late, status, end=call.at)
    return script.life("busy before answer")


def audit_of_missed(call: Call, *, late: float = 330) -> Life:
    """The audit finds a call that nobody logged, ``late`` (4 to 7 minutes) after it."""
    script = _Script(call, call.at)
    script.row(call.at + late, "NA", end=call.at, comments="AUTONA")
    return script.life("audit of missed")


def answering_machine(
    call: Call,
    *,
    ring: float = 12,
    ahead: float = 3,
    detected: float = 2,
    message: float | None = 30,
    statuses: tuple[str, str] = ("AM", "AL"),
) -> Life:
    """A machine answers: AA with the end ``ahead`` of now, AM while the ``message`` plays, then AL and a new end.

    While it plays, the end has passed already. Without a message (None) AA stays. UNKAM and UNKAL: of unknown cause.
    """
    script = _Script(call, start := call.at + ring)
    script.up(call.at)
    script.row(start, "AA", end=start + ahead)
    if message is None:
        script.down(start + ahead)
        return script.life("machine")
    played = start + detected + message
    script.change(start + detected, statuses[0])
    script.down(played)
    script.change(played, statuses[1], end=played)
    return script.life("machine with message")


def transfer(
    call: Call,
    *,
    status: str = "SALE",
    ring: float = 8,
    connect: float = 1,
    talk: float = 60,
    wrap_up: float = 25,
    closer: float = 0,
) -> Life:
    """The agent hands the customer on (XFER, ended now) and picks a disposition ``wrap_up`` later.

    A ``closer`` has the lead for so long after that.
    """
    script = _answered(call, ring, connect)
    handed_on = script.start + connect + talk
    script.down(handed_on)
    if closer:
        script.up(handed_on, "LIVE", "IN")
        script.agent(handed_on + 2, "INCALL", user=f"{call.user}c")
    script.agent(handed_on, "PAUSED")
    script.change(handed_on, "XFER", end=handed_on, term_reason="AGENT")
    _decided(script, handed_on + wrap_up, status)
    if closer:
        script.down(handed_on + closer, "IN")
        script.free(handed_on + closer + 10, f"{call.user}c")
    return script.life("transfer")


def hangs_up_on_the_way(call: Call, *, talk: float = 60, way: float = 10, wrap_up: float = 25) -> Life:
    """The customer hangs up before a closer has him: XFER, then DROP, which keeps the name of the agent."""
    script = _answered(call, 8, 1)
    handed_on = script.start + 1 + talk
    script.change(handed_on, "XFER", end=handed_on, term_reason="AGENT")
    script.down(handed_on + way)
    script.change(handed_on + way, "DROP", term_reason="CALLER")
    script.free(handed_on + wrap_up)
    return script.life("transfer, hung up on the way")


def remote_agent(call: Call, *, ring: float = 8, connect: float = 1, talk: float = 60) -> Life:
    """A remote agent takes the call on a telephone: XFER is final, for there is no screen to pick a disposition on."""
    script = _answered(call, ring, connect, comments="REMOTE")
    gone = script.start + connect + talk
    script.down(gone)
    script.free(gone)
    script.change(gone, "XFER", end=gone, term_reason="CALLER")
    return script.life("remote agent")


def never_ends(call: Call, *, status: str = "LRERR", ring: float = 8, connect: float = 1, talk: float = 30) -> Life:
    """A local channel that failed (LRERR), or a hang-up that was lost (INCALL): the end stays NULL for ever."""
    if status == "INCALL":
        script = _answered(call, ring, connect)
        gone = script.start + connect + talk
        script.down(gone)
        script.free(gone)
    else:
        script = _Script(call, call.at + ring)
        script.row(script.start, status)
    return replace(script.life("never ends"), final=None)


def no_end_written(call: Call, *, status: str = "SALE", talk: float = 60, wrap_up: float = 20) -> Life:
    """The browser's hang-up finds no row, so that the agent's disposition comes to one without an end."""
    script = _answered(call, 8, 1)
    script.down(script.start + 1 + talk)
    _decided(script, script.start + 1 + talk + wrap_up, status)
    return script.life("final status without an end")


def twins(
    call: Call, *, ring: float = 20, talk: float = 30, apart: float = 2, wrap_up: float = 20, deleted: float = 2400
) -> Life:
    """One call gets two rows, the later under a made-up id, with the same end; an hourly job deletes that one."""
    fake_id = f"{call.at}.{call.lead_id:09d}"
    script = _answered(call, ring, 0)
    gone = _hung_up(script, script.start + talk, 0, "DISPO")
    later = int(script.start + apart)
    script.row(gone, "NA", end=gone, uniqueid=fake_id, start_epoch=later, length_in_sec=int(gone) - later)
    _decided(script, gone + wrap_up, "SALE")
    life = script.life("twins")
    delete = Step(gone + deleted, "DELETE FROM vicidial_log WHERE uniqueid = %s", (fake_id,))
    return replace(life, steps=(*life.steps, delete), extra=(fake_id,))
