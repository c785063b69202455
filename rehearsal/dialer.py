"""VICIdial's part: calls that live in its tables as VICIdial lets them live.

``Dialer`` acts lives (``rehearsal.lives``) out on a database, against a clock that the test turns or in real time;
``fill`` writes history.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import pymysql

from rehearsal.lives import (
    FIRST_LEAD,
    Call,
    Life,
    Step,
    agent_call,
    answering_machine,
    audit_of_missed,
    browser_closed,
    busy_before_answer,
    hot_key,
    hot_key_after_hangup,
    manual_failure,
    never_ends,
    new_call,
    no_answer,
    phone_number_of,
    remote_agent,
    transfer,
    twins,
)

if TYPE_CHECKING:
    from pymysql.connections import Connection
    from pymysql.cursors import Cursor

WAIT = 900.0  # seconds past its end after which a call is delivered under whatever status it has

DUPLICATE_KEY = 1062

# PyMySQL's and MariaDB's codes for a server that is not there, goes, or has gone in the middle of a statement:
# closed connection, shutdown in progress, connection killed, cannot connect, gone away, lost during query.
SERVER_GONE = frozenset({0, 1053, 1927, 2002, 2003, 2006, 2013})

# Agents who wait for a call all day long, and the screens of all agents, which say every second that they are open.
_IDLE = """
REPLACE INTO vicidial_live_agents (live_agent_id, user, status, lead_id, server_ip, last_update_time)
VALUES (1, 'idle1', 'READY', 0, '10.0.0.1', NOW()), (2, 'idle2', 'PAUSED', 0, '10.0.0.1', NOW())"""
_HEARTBEAT = "UPDATE vicidial_live_agents SET last_update_time = NOW() WHERE user NOT IN %s"


def random_call(rng: random.Random, at: float) -> Call:
    """Return a call such as a mid-sized call centre makes; one in twelve goes to a lead called before."""
    call = new_call(at)
    called_before = call.lead_id - rng.randint(200, 2000)
    lead = called_before if rng.random() < 1 / 12 and called_before > FIRST_LEAD else call.lead_id
    return replace(
        call,
        lead_id=lead,
        phone_number=phone_number_of(lead),
        list_id=rng.choice((1001, 1001, 1002, 99800123456789, None)),
        campaign_id=rng.choice(("SALES", "SALES", "SOLAR2", "7001", "CAMPAI08")),
        phone_code=rng.choice(("1", "1", "1", "44")),
        user_group=rng.choice(("AGENTS", "AGENTS", "NIGHT_SHIFT")),
        alt_dial=rng.choice(("MAIN", "MAIN", "NONE", "ALT", "ADDR3", "X1")),
        called_count=rng.choice((1, 1, 2, 3, 17)),
    )


class _Kind(NamedTuple):
    """A kind of life, its share of all calls, and what its durations (as a call centre knows them) and texts may be."""

    share: float
    play: Callable[..., Life]
    durations: Mapping[str, tuple[float, float]]
    others: Mapping[str, tuple[object, ...]] = {}


_ANSWERED = {"ring": (3.0, 20.0), "connect": (1.0, 1.0), "talk": (5.0, 120.0)}
_MACHINE = {"ring": (5.0, 20.0), "ahead": (3.0, 3.0)}
_AGENT_STATUSES = ("SALE", "NI", "NI", "CALLBK", "DNC", "N", "A", "B", "DEC")
_CAMPAIGN_STATUSES = ("HUC017", "SIPACT", "ADCCAR", "DNCCAR", "RAXFER", "K", "Q7", "MORTG1")
_KINDS = (
    _Kind(38, no_answer, {"ring": (15, 30)}),
    _Kind(8, no_answer, {"ring": (1, 9)}, {"status": ("B", "ADC", "DROP")}),
    _Kind(8, busy_before_answer, {"late": (1, 240)}, {"status": ("AB", "ADC", "PDROP")}),
    _Kind(2, audit_of_missed, {"late": (240, 420)}),
    _Kind(6, answering_machine, {**_MACHINE, "detected": (0.5, 3), "message": (15, 40)}),
    _Kind(8, answering_machine, _MACHINE, {"message": (None,)}),
    _Kind(
        13, agent_call, {**_ANSWERED, "talk": (0, 240), "hangs_up": (0, 10), "wrap_up": (1, 300)},
        {"status": _AGENT_STATUSES, "rewritten": (True, False, False)},
    ),
    _Kind(
        2, agent_call, {**_ANSWERED, "hangs_up": (2, 2), "wrap_up": (5, 5)},
        {"status": _CAMPAIGN_STATUSES, "wrap_up_status": ("DISPO", "ALTNUM")},
    ),
    _Kind(3, hot_key, {**_ANSWERED, "hangs_up": (1, 1)}),
    _Kind(2, hot_key_after_hangup, {**_ANSWERED, "decides": (1, 20), "hangs_up": (1, 1)}),
    _Kind(2, browser_closed, _ANSWERED, {"stuck": ("DISPO", "INCALL", "DONEM")}),
    _Kind(2, transfer, {**_ANSWERED, "wrap_up": (5, 90)}),
    _Kind(2, remote_agent, _ANSWERED),
    _Kind(2, never_ends, {"ring": (5, 5), "connect": (1, 1), "talk": (30, 30)}, {"status": ("LRERR", "INCALL")}),
    _Kind(2, manual_failure, {"ring": (3, 3), "ends": (8, 8), "wrap_up": (2, 17)}),
    _Kind(2, twins, {"ring": (20, 20), "talk": (180, 240), "wrap_up": (1, 20), "deleted": (600, 9000)}),
)  # fmt: skip
_SHARES = [kind.share for kind in _KINDS]


def random_life(rng: random.Random, at: float, speed: float = 1.0) -> Life:
    """Return a life such as a dialer begins: mostly nobody answers, and every other kind comes up within some hundred.

    ``speed`` divides all durations. Only kinds whose rows alone say when they are final.
    """
    kind = rng.choices(_KINDS, _SHARES)[0]
    durations = {name: rng.uniform(*span) / speed for name, span in kind.durations.items()}
    others = {name: rng.choice(values) for name, values in kind.others.items()}
    return kind.play(random_call(rng, at), **durations, **others)


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
        self._closed: dict[str, float] = {}  # since when an agent's browser is closed
        self._connect = connect
        self._connection: Connection[Cursor] | None = None
        # Steps by time; those of one moment stay in the order in which they were planned.
        self._pending: list[tuple[float, int, Step]] = []
        self._order = itertools.count()

    def begin(self, life: Life) -> Life:
        """Plan a life; ``play`` or ``live`` carries it out."""
        self.lives.append(life)
        self._closed.update([life.closed] if life.closed else [])
        for step in life.steps:
            heapq.heappush(self._pending, (step.at, next(self._order), step))
        return life

    def play(self, until: float) -> None:
        """Carry out every step up to and with ``until``, each with the database's clock at its own time."""
        with self._connected().cursor() as cursor:
            while self._pending and self._pending[0][0] <= until:
                at, _, step = self._pending[0]
                cursor.execute("SET timestamp = %s", (at,))
                cursor.execute(step.sql, step.params)
                heapq.heappop(self._pending)
            cursor.execute("SET timestamp = %s", (until,))
            cursor.execute(*self._heartbeat(until)[1:3])

    def live(
        self,
        seconds: float,
        calls_per_second: float,
        rng: random.Random,
        speed: float = 1.0,
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
        next_beat = now
        while not stop.is_set() and (next_call <= last_call or self._pending):
            now = time.time()
            while next_call <= min(now, last_call):
                self.begin(random_life(rng, next_call, speed))
                next_call += rng.expovariate(calls_per_second)
            if next_beat <= now and self._carry_out(self._heartbeat(now)):
                next_beat = now + 1
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

    def _heartbeat(self, now: float) -> Step:
        closed = [user for user, since in self._closed.items() if since < now]
        return Step(now, _HEARTBEAT, ((*closed, ""),), is_log=False)

    def _connected(self) -> Connection[Cursor]:
        if self._connection is None:
            self._connection = self._connect()
            with self._connection.cursor() as cursor:
                cursor.execute(_IDLE)
        return self._connection

    def close(self) -> None:
        """Give the connection back; the next step opens another."""
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
        often they are said, and an INSERT that had got through finds its own key, or goes with its double.
        """
        try:
            with self._connected().cursor() as cursor:
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
