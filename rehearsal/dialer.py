"""VICIdial's part: calls that live in vicidial_log as VICIdial lets them live.

A life is plain data: the statements that VICIdial would send, each with its time, and what must come of it. The ways
of a row are those of VICIdial 2.14 (SVN 3884). All times are epoch seconds, all durations seconds. Every life takes its
durations as parameters, so that a test can press hours into seconds.

``Dialer`` acts lives out on a database, against a clock that the test turns or in real time; ``fill`` writes history.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import pymysql

if TYPE_CHECKING:
    from pymysql.connections import Connection
    from pymysql.cursors import Cursor

WAIT = 900.0  # seconds past its end after which a call is delivered under whatever status it has

DUPLICATE_KEY = 1062

# PyMySQL's and MariaDB's codes for a server that is not there, goes, or has gone in the middle of a statement:
# closed connection, shutdown in progress, connection killed, cannot connect, gone away, lost during query.
SERVER_GONE = frozenset({0, 1053, 1927, 2002, 2003, 2006, 2013})


class Step(NamedTuple):
    """One statement of VICIdial's, and when it is sent."""

    at: float
    sql: str
    params: tuple[object, ...]


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
    ends_at: int | None
    """The end_epoch under which it must be delivered."""
    settled_at: float | None
    """From when on it can be delivered so: the last change, or ``WAIT`` past the end where no disposition comes."""
    also: tuple[str, ...] = ()
    """Ids under which the one POST may arrive instead, because the row bore them while it looked final."""
    extra: tuple[str, ...] = ()
    """Ids of further rows of the call; they may be delivered too, once each, or not."""


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
    user_group: str = "AGENTS"
    alt_dial: str = "MAIN"
    called_count: int | None = 1
    """None: the table is older than VICIdial 2.8 and has no such column."""

    @property
    def uniqueid(self) -> str:
        return f"{self.at}.{self.number}"


_numbers = itertools.count(1)
_FIRST_LEAD = 500_000


def new_call(at: float, lead_id: int | None = None) -> Call:
    """Return a call to a lead of its own, or to ``lead_id``, unlike any other in this process."""
    number = next(_numbers)
    lead = _FIRST_LEAD + number if lead_id is None else lead_id
    return Call(int(at), number, lead_id=lead, phone_number=_phone_number(lead))


def random_call(rng: random.Random, at: float) -> Call:
    """Return a call such as a mid-sized call centre makes; one in twelve goes to a lead called before."""
    call = new_call(at)
    called_before = call.lead_id - rng.randint(200, 2000)
    lead = called_before if rng.random() < 1 / 12 and called_before > _FIRST_LEAD else call.lead_id
    return replace(
        call,
        lead_id=lead,
        phone_number=_phone_number(lead),
        list_id=rng.choice((1001, 1001, 1002, 99800123456789, None)),
        campaign_id=rng.choice(("SALES", "SALES", "SOLAR2", "7001", "CAMPAI08")),
        phone_code=rng.choice(("1", "1", "1", "44")),
        user=rng.choice(("6666", "1001", "1002", "agent007", "jdoe")),
        user_group=rng.choice(("AGENTS", "AGENTS", "NIGHT_SHIFT")),
        alt_dial=rng.choice(("MAIN", "MAIN", "NONE", "ALT", "ADDR3", "X1")),
        called_count=rng.choice((1, 1, 2, 3, 17)),
    )


def _phone_number(lead: int) -> str:
    return f"{201 + lead % 700}555{lead % 10000:04d}"


def _insert(at: float, call: Call, *, start: float, end: float | None, status: str, **other: object) -> Step:
    """Return the INSERT of the call's row; ``other`` holds the columns that differ from those of an unanswered call."""
    columns: dict[str, object] = {
        "uniqueid": call.uniqueid,
        "lead_id": call.lead_id,
        "list_id": call.list_id,
        "campaign_id": call.campaign_id,
        "start_epoch": int(start),
        "end_epoch": None if end is None else int(end),
        "length_in_sec": None if end is None else int(end) - int(start),
        "status": status,
        "phone_code": call.phone_code,
        "phone_number": call.phone_number,
        "user": "VDAD",
        "comments": "AUTO",
        "processed": "N",
        "user_group": None,
        "term_reason": "NONE",
        "alt_dial": call.alt_dial,
        **({} if call.called_count is None else {"called_count": call.called_count}),
        **other,
    }
    # call_date is the local time of the start, as the database's machine sees it.
    sql = (
        f"INSERT INTO vicidial_log ({', '.join(columns)}, call_date)"
        f" VALUES ({', '.join(['%s'] * len(columns))}, FROM_UNIXTIME(%s))"
    )
    return Step(at, sql, (*columns.values(), int(start)))


def _update(at: float, uniqueid: str, /, **columns: object) -> Step:
    settings = ", ".join(f"{name} = %s" for name in columns)
    sql = f"UPDATE vicidial_log SET {settings} WHERE uniqueid = %s"
    return Step(at, sql, (*columns.values(), uniqueid))


def _end(start: float, end: float) -> dict[str, object]:
    return {"end_epoch": int(end), "length_in_sec": int(end) - int(start)}


def _rewritten_id(call: Call) -> str:
    """Return another id for the call's row: a different channel of the same second."""
    others = (f"{call.at}.{number}" for number in _numbers)
    return next(other for other in others if other != call.uniqueid)


def _answered(call: Call, ring: float, connect: float, comments: str = "AUTO") -> tuple[float, list[Step]]:
    """Return when the customer answers, and the steps until an agent has the call."""
    start = call.at + ring
    return start, [
        _insert(start, call, start=start, end=None, status="QUEUE", comments=comments),
        _update(start + connect, call.uniqueid, status="INCALL", user=call.user, user_group=call.user_group),
    ]


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
    DISPO, perhaps with another uniqueid) and picks a disposition after ``wrap_up`` more; the end stays.
    """
    start, steps = _answered(call, ring, connect)
    customer_gone = start + connect + talk
    agent_gone = customer_gone + hangs_up
    decided = agent_gone + wrap_up
    uniqueid = _rewritten_id(call) if rewritten else call.uniqueid
    steps += [
        _update(customer_gone, call.uniqueid, term_reason="CALLER", **_end(start, customer_gone)),
        _update(agent_gone, call.uniqueid, uniqueid=uniqueid, status=wrap_up_status, **_end(start, agent_gone)),
        _update(decided, uniqueid, status=status),
    ]
    return Life("agent call", tuple(steps), Final(uniqueid, status), int(agent_gone), decided)


def alternate_number(call: Call, *, status: str = "NI", talk: float = 30, wrap_up: float = 20) -> Life:
    """An agent's call in alternate-number mode: ALTNUM instead of DISPO while the agent may dial the next number."""
    life = agent_call(call, status=status, talk=talk, wrap_up=wrap_up, wrap_up_status="ALTNUM")
    return replace(life, name="alternate number")


def campaign_status(call: Call, *, status: str = "HUC017", talk: float = 15, wrap_up: float = 5) -> Life:
    """An agent's call whose disposition is a code of its campaign only, or of VICIdial's that no table lists."""
    return replace(agent_call(call, status=status, talk=talk, wrap_up=wrap_up), name="campaign status")


def hot_key(
    call: Call, *, status: str = "NI", ring: float = 8, connect: float = 1, talk: float = 30, hangs_up: float = 1
) -> Life:
    """The agent picks the disposition by a key while talking: the final status comes before the end."""
    start, steps = _answered(call, ring, connect)
    decided = start + connect + talk
    gone = decided + hangs_up
    steps += [
        _update(decided, call.uniqueid, status=status),
        _update(gone, call.uniqueid, term_reason="AGENT", **_end(start, gone)),
    ]
    return Life("hot key", tuple(steps), Final(call.uniqueid, status), int(gone), gone)


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
    start, steps = _answered(call, ring, connect)
    customer_gone = start + connect + talk
    decided = customer_gone + decides
    agent_gone = decided + hangs_up
    uniqueid = _rewritten_id(call) if rewritten else call.uniqueid
    steps += [
        _update(customer_gone, call.uniqueid, term_reason="CALLER", **_end(start, customer_gone)),
        _update(decided, call.uniqueid, status=status),
        _update(agent_gone, call.uniqueid, uniqueid=uniqueid, **_end(start, agent_gone)),
    ]
    also = (call.uniqueid,) if rewritten else ()
    return Life("hot key after hang-up", tuple(steps), Final(uniqueid, status), int(agent_gone), agent_gone, also=also)


def browser_closed(
    call: Call, *, stuck: str = "DISPO", ring: float = 8, connect: float = 1, talk: float = 60, wait: float = WAIT
) -> Life:
    """The agent's browser is gone before a disposition was picked: the row stays ``stuck`` for ever.

    INCALL: nobody was there to hang up after the customer; DISPO and DONEM: somebody was.
    """
    start, steps = _answered(call, ring, connect)
    gone = start + connect + talk
    if stuck == "INCALL":
        steps.append(_update(gone, call.uniqueid, term_reason="CALLER", **_end(start, gone)))
    else:
        steps.append(_update(gone, call.uniqueid, status=stuck, term_reason="AGENT", **_end(start, gone)))
    return Life("browser closed", tuple(steps), Final(call.uniqueid, stuck), int(gone), int(gone) + wait)


def no_answer(call: Call, *, ring: float = 26, status: str = "NA") -> Life:
    """Nobody answers, or the number is busy or dead, and the dialer notices at once."""
    now = call.at + ring
    step = _insert(now, call, start=now, end=now, status=status)
    return Life("no answer", (step,), Final(call.uniqueid, status), int(now), now)


def busy_before_answer(call: Call, *, late: float = 120, status: str = "AB") -> Life:
    """AB, ADC or PDROP: the row appears ``late`` (up to 240 s) with start and end at the time of dialling."""
    step = _insert(call.at + late, call, start=call.at, end=call.at, status=status)
    return Life("busy before answer", (step,), Final(call.uniqueid, status), call.at, step.at)


def audit_of_missed(call: Call, *, late: float = 330) -> Life:
    """The audit finds a call that nobody logged, ``late`` (4 to 7 minutes) after it."""
    step = _insert(call.at + late, call, start=call.at, end=call.at, status="NA", comments="AUTONA")
    return Life("audit of missed", (step,), Final(call.uniqueid, "NA"), call.at, step.at)


def answering_machine(
    call: Call, *, ring: float = 12, ahead: float = 3, detected: float = 2, message: float | None = 30
) -> Life:
    """A machine answers: AA with the end ``ahead`` of now, AM while the ``message`` plays, then AL and a new end.

    While it plays, the end has passed already. Without a message (None) AA stays.
    """
    start = call.at + ring
    steps = [_insert(start, call, start=start, end=start + ahead, status="AA")]
    if message is None:
        return Life("machine", tuple(steps), Final(call.uniqueid, "AA"), int(start + ahead), start + ahead)
    played = start + detected + message
    steps += [
        _update(start + detected, call.uniqueid, status="AM"),
        _update(played, call.uniqueid, status="AL", **_end(start, played)),
    ]
    return Life("machine with message", tuple(steps), Final(call.uniqueid, "AL"), int(played), played)


def transfer(
    call: Call,
    *,
    status: str = "SALE",
    ring: float = 8,
    connect: float = 1,
    talk: float = 60,
    wrap_up: float = 25,
) -> Life:
    """The agent hands the customer on (XFER, ended now) and picks a disposition ``wrap_up`` later."""
    start, steps = _answered(call, ring, connect)
    handed_on = start + connect + talk
    decided = handed_on + wrap_up
    steps += [
        _update(handed_on, call.uniqueid, status="XFER", term_reason="AGENT", **_end(start, handed_on)),
        _update(decided, call.uniqueid, status=status),
    ]
    return Life("transfer", tuple(steps), Final(call.uniqueid, status), int(handed_on), decided)


def remote_agent(call: Call, *, ring: float = 8, connect: float = 1, talk: float = 60) -> Life:
    """A remote agent takes the call on a telephone: XFER is final, for there is no screen to pick a disposition on."""
    start, steps = _answered(call, ring, connect, comments="REMOTE")
    gone = start + connect + talk
    steps.append(_update(gone, call.uniqueid, status="XFER", term_reason="CALLER", **_end(start, gone)))
    return Life("remote agent", tuple(steps), Final(call.uniqueid, "XFER"), int(gone), gone)


def never_ends(call: Call, *, status: str = "LRERR", ring: float = 8, connect: float = 1) -> Life:
    """A local channel that failed (LRERR), or a hang-up that was lost (INCALL): the end stays NULL for ever."""
    if status == "INCALL":
        _, steps = _answered(call, ring, connect)
    else:
        steps = [_insert(call.at + ring, call, start=call.at + ring, end=None, status=status)]
    return Life("never ends", tuple(steps), None, None, None)


def twins(call: Call, *, ring: float = 20, apart: float = 2, deleted: float = 2400, status: str = "NA") -> Life:
    """One call gets two rows, the later under a made-up id; an hourly job deletes that one 10 to 150 minutes on."""
    now = call.at + ring
    fake_id = f"{call.at}.{call.lead_id:09d}"
    later = now + apart
    steps = (
        _insert(now, call, start=now, end=now, status=status),
        _insert(later, call, start=later, end=later, status=status, uniqueid=fake_id),
        Step(now + deleted, "DELETE FROM vicidial_log WHERE uniqueid = %s", (fake_id,)),
    )
    return Life("twins", steps, Final(call.uniqueid, status), int(now), now, extra=(fake_id,))


def random_life(rng: random.Random, at: float, speed: float = 1.0, wait: float | None = None) -> Life:
    """Return a life such as a dialer begins: mostly nobody answers, and every other kind comes up within some hundred.

    ``speed`` divides all durations. ``wait`` is the time past its end after which a call without a disposition is due,
    ``WAIT / speed`` unless told.
    """
    kind = rng.choices(_KINDS, _WEIGHTS)[0]
    return kind(rng, random_call(rng, at), 1 / speed, WAIT / speed if wait is None else wait)


_AGENT_STATUSES = ("SALE", "NI", "NI", "CALLBK", "DNC", "N", "A", "B", "DEC")
_CAMPAIGN_STATUSES = ("HUC017", "SIPACT", "ADCCAR", "DNCCAR", "RAXFER", "K", "Q7", "MORTG1")
_Kind = Callable[[random.Random, Call, float, float], Life]
# Share of all calls, and the life with its durations as a call centre knows them; ``s`` shrinks them.
_MIX: tuple[tuple[float, _Kind], ...] = (
    (38, lambda r, call, s, _: no_answer(call, ring=r.uniform(15, 30) * s)),
    (8, lambda r, call, s, _: no_answer(call, ring=r.uniform(1, 9) * s, status=r.choice(("B", "ADC", "DROP")))),
    (
        8,
        lambda r, call, s, _: busy_before_answer(
            call, late=r.uniform(1, 240) * s, status=r.choice(("AB", "ADC", "PDROP"))
        ),
    ),
    (2, lambda r, call, s, _: audit_of_missed(call, late=r.uniform(240, 420) * s)),
    (
        6,
        lambda r, call, s, _: answering_machine(
            call, ring=r.uniform(5, 20) * s, ahead=3 * s, detected=r.uniform(0.5, 3) * s, message=r.uniform(15, 40) * s
        ),
    ),
    (8, lambda r, call, s, _: answering_machine(call, ring=r.uniform(5, 20) * s, ahead=3 * s, message=None)),
    (
        13,
        lambda r, call, s, _: agent_call(
            call,
            status=r.choice(_AGENT_STATUSES),
            ring=r.uniform(3, 20) * s,
            connect=s,
            talk=r.expovariate(1 / 90) * s,
            hangs_up=r.uniform(0, 10) * s,
            wrap_up=r.uniform(1, 300) * s,
            rewritten=r.random() < 0.3,
        ),
    ),
    (
        2,
        lambda r, call, s, _: agent_call(
            call,
            status=r.choice(_CAMPAIGN_STATUSES),
            ring=8 * s,
            connect=s,
            talk=r.uniform(5, 60) * s,
            hangs_up=2 * s,
            wrap_up=5 * s,
            wrap_up_status=r.choice(("DISPO", "ALTNUM")),
        ),
    ),
    (3, lambda r, call, s, _: hot_key(call, ring=8 * s, connect=s, talk=r.uniform(5, 60) * s, hangs_up=s)),
    (
        2,
        lambda r, call, s, _: hot_key_after_hangup(
            call, ring=8 * s, connect=s, talk=r.uniform(5, 60) * s, decides=r.uniform(1, 20) * s, hangs_up=s
        ),
    ),
    (
        2,
        lambda r, call, s, wait: browser_closed(
            call,
            stuck=r.choice(("DISPO", "INCALL", "DONEM")),
            ring=8 * s,
            connect=s,
            talk=r.uniform(5, 120) * s,
            wait=wait,
        ),
    ),
    (2, lambda r, call, s, _: transfer(call, ring=8 * s, connect=s, talk=60 * s, wrap_up=r.uniform(5, 90) * s)),
    (2, lambda r, call, s, _: remote_agent(call, ring=8 * s, connect=s, talk=r.uniform(5, 120) * s)),
    (2, lambda r, call, s, _: never_ends(call, status=r.choice(("LRERR", "INCALL")), ring=5 * s, connect=s)),
    (2, lambda r, call, s, _: twins(call, ring=20 * s, apart=2 * s, deleted=r.uniform(600, 9000) * s)),
)
_WEIGHTS = tuple(weight for weight, _ in _MIX)
_KINDS = tuple(kind for _, kind in _MIX)


@dataclass
class Verdict:
    """What was wrong with a delivery; each list holds uniqueids, and all are empty when all went well."""

    lost: list[str] = field(default_factory=list)
    """Calls that ended and were not delivered."""
    wrong: list[str] = field(default_factory=list)
    """Calls delivered with another status than the final one."""
    twice: list[str] = field(default_factory=list)
    """Calls delivered more than once, under whatever id."""
    unknown: list[str] = field(default_factory=list)
    """Delivered, but no call that ended has this id."""


class Dialer:
    """Acts lives out on the database that ``connect`` connects to (autocommit, with VICIdial's table selected)."""

    def __init__(self, connect: Callable[[], Connection[Cursor]]) -> None:
        self.lives: list[Life] = []
        self._connect = connect
        self._connection: Connection[Cursor] | None = None
        # Steps by time; those of one moment stay in the order in which they were planned.
        self._pending: list[tuple[float, int, Step]] = []
        self._order = itertools.count()

    def begin(self, life: Life) -> Life:
        """Plan a life; ``play`` or ``live`` carries it out."""
        self.lives.append(life)
        for step in life.steps:
            heapq.heappush(self._pending, (step.at, next(self._order), step))
        return life

    def play(self, until: float) -> None:
        """Carry out every step up to and with ``until``, each with the database's clock at its own time."""
        if self._connection is None:
            self._connection = self._connect()
        with self._connection.cursor() as cursor:
            while self._pending and self._pending[0][0] <= until:
                at, _, step = self._pending[0]
                cursor.execute("SET timestamp = %s", (at,))
                cursor.execute(step.sql, step.params)
                heapq.heappop(self._pending)

    def live(
        self,
        seconds: float,
        calls_per_second: float,
        rng: random.Random,
        speed: float = 1.0,
        wait: float | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Begin random lives for ``seconds`` of real time and carry them all out to their last step.

        A server that goes away in the middle is awaited, and the step that failed repeated. ``stop`` ends it early,
        with the lives begun but not carried out.
        """
        stop = stop or threading.Event()
        now = time.time()
        last_call = now + seconds
        next_call = now + rng.expovariate(calls_per_second)
        while not stop.is_set() and (next_call <= last_call or self._pending):
            now = time.time()
            while next_call <= min(now, last_call):
                self.begin(random_life(rng, next_call, speed, wait))
                next_call += rng.expovariate(calls_per_second)
            while self._pending and self._pending[0][0] <= now and not stop.is_set():
                if not self._carry_out(self._pending[0][2]):
                    stop.wait(0.05)
                    break
                heapq.heappop(self._pending)
            else:
                soonest = min(next_call, self._pending[0][0] if self._pending else next_call)
                if next_call > last_call and self._pending:
                    soonest = self._pending[0][0]
                stop.wait(max(0.0, soonest - time.time()))

    def close(self) -> None:
        """Return the connection back; the next step opens another."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            if connection.open:
                connection.close()

    def expected(self) -> dict[str, str]:
        """Return the final status by uniqueid of every life begun that ends."""
        return {life.final.uniqueid: life.final.status for life in self.lives if life.final is not None}

    def judge(self, delivered: Iterable[tuple[str, str | None]]) -> Verdict:
        """Return what is wrong with ``delivered``, pairs of uniqueid and status, as deliveries of all lives begun.

        Each pair is a delivery: give calls on record once, or POSTs that were acknowledged.
        """
        statuses: dict[str, list[str | None]] = {}
        for uniqueid, status in delivered:
            statuses.setdefault(uniqueid, []).append(status)
        verdict = Verdict()
        known: set[str] = set()
        for life in self.lives:
            if life.final is None:
                continue
            ids = (life.final.uniqueid, *life.also)
            known.update(ids, life.extra)
            found = [status for uniqueid in ids for status in statuses.get(uniqueid, ())]
            if not found:
                verdict.lost.append(life.final.uniqueid)
            elif len(found) > 1:
                verdict.twice.append(life.final.uniqueid)
            if any(status != life.final.status for status in found):
                verdict.wrong.append(life.final.uniqueid)
            verdict.twice += [uniqueid for uniqueid in life.extra if len(statuses.get(uniqueid, ())) > 1]
        verdict.unknown = [uniqueid for uniqueid in statuses if uniqueid not in known]
        return verdict

    def kinds(self) -> Counter[str]:
        """Return how many lives of each name were begun."""
        return Counter(life.name for life in self.lives)

    def _carry_out(self, step: Step) -> bool:
        """Send one statement in real time; False where the server was not there to take it.

        A statement whose answer was lost is sent again. That is safe: the updates and deletes say the same however
        often they are said, and an INSERT that had got through finds its own key.
        """
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._connection.cursor() as cursor:
                cursor.execute(step.sql, step.params)
        except pymysql.err.IntegrityError as error:
            if error.args[0] != DUPLICATE_KEY:
                raise
        except (pymysql.err.OperationalError, pymysql.err.InterfaceError) as error:
            if error.args[0] not in SERVER_GONE:
                raise
            self.close()
            return False
        return True


# One row in N of history, by a number that only looks random: share of 100, status, and what belongs to it.
_HISTORY = """
INSERT INTO vicidial_log
    (uniqueid, lead_id, list_id, campaign_id, call_date, start_epoch, end_epoch, length_in_sec, status, phone_code,
     phone_number, user, comments, processed, user_group, term_reason, alt_dial{called_count_name})
SELECT
    CONCAT(start, '.', %(first)s + seq - 1),
    %(first)s + seq - 1,
    1001 + luck %% 5,
    ELT(1 + luck %% 4, 'SALES', 'SALES', 'SOLAR2', '7001'),
    FROM_UNIXTIME(start),
    start,
    start + seconds,
    seconds,
    CASE
        WHEN luck %% 100 < 55 THEN 'NA' WHEN luck %% 100 < 63 THEN 'AA' WHEN luck %% 100 < 70 THEN 'AL'
        WHEN luck %% 100 < 75 THEN 'ADC' WHEN luck %% 100 < 79 THEN 'AB' WHEN luck %% 100 < 81 THEN 'DROP'
        WHEN luck %% 100 < 90 THEN 'NI' WHEN luck %% 100 < 94 THEN 'N' WHEN luck %% 100 < 96 THEN 'CALLBK'
        WHEN luck %% 100 < 98 THEN 'DNC' ELSE 'SALE'
    END,
    '1',
    CONCAT(201 + (%(first)s + seq) %% 700, '555', LPAD((%(first)s + seq) %% 10000, 4, '0')),
    IF(luck %% 100 < 81, 'VDAD', CONCAT('10', LPAD(luck %% 60, 2, '0'))),
    'AUTO',
    'N',
    IF(luck %% 100 < 81, NULL, 'AGENTS'),
    IF(luck %% 100 < 81, 'NONE', ELT(1 + luck %% 2, 'CALLER', 'AGENT')),
    'MAIN'{called_count_value}
FROM (
    SELECT seq, luck, start,
        IF(luck %% 100 < 63, 0, LEAST(1 + luck %% IF(luck %% 100 < 81, 40, 240), %(until)s - start)) AS seconds
    FROM (
        SELECT seq, CRC32(seq) AS luck, %(until)s - 1 - FLOOR((%(calls)s - seq) * 3600 / %(per_hour)s) AS start
        FROM seq_{first_row}_to_{last_row}
    ) AS starts
) AS calls
"""
_ROWS_AT_ONCE = 1_000_000


def fill(
    connection: Connection[Cursor],
    calls: int,
    until: int,
    per_hour: int = 30_000,
    first_lead: int = 10_000_000,
    called_count: bool = True,
) -> None:
    """Write ``calls`` finished calls, the last of which began and ended just before ``until``, ``per_hour`` each hour.

    Each has its final status and a lead of its own, from ``first_lead`` on; a second fill needs other leads. The same
    arguments write the same rows.
    """
    with connection.cursor() as cursor:
        # For MyISAM: build the indexes but the primary key in one go at the end, from memory.
        cursor.execute("SET SESSION myisam_sort_buffer_size = 256 * 1024 * 1024")
        cursor.execute("ALTER TABLE vicidial_log DISABLE KEYS")
        for first_row in range(1, calls + 1, _ROWS_AT_ONCE):
            sql = _HISTORY.format(
                first_row=first_row,
                last_row=min(calls, first_row + _ROWS_AT_ONCE - 1),
                called_count_name=", called_count" if called_count else "",
                called_count_value=", 1 + luck %% 5" if called_count else "",
            )
            cursor.execute(sql, {"first": first_lead, "until": int(until), "calls": calls, "per_hour": per_hour})
        cursor.execute("ALTER TABLE vicidial_log ENABLE KEYS")
