"""What an idle poll costs the database, and whoever waits for it, as the table grows.

Beside it stands the statement of the script that vicisync replaces, on the same tables, in turns.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import pymysql

from bench.figure import Figure, Outcome
from bench.ground import HUGE, OVERLAP, Ground, vicisync
from bench.process import Failed, did_optimizer
from rehearsal.mariadb import MariaDB
from rehearsal.site import PASSWORD, Site

if TYPE_CHECKING:
    from pymysql.connections import Connection
    from pymysql.cursors import Cursor

SEED = """
SELECT uniqueid, lead_id, list_id, campaign_id, phone_number, phone_code, status, length_in_sec, user, user_group,
       term_reason, comments, alt_dial, called_count, call_date, start_epoch, end_epoch
  FROM vicidial_log WHERE end_epoch > %s ORDER BY end_epoch LIMIT 500"""

DIALER = "UPDATE vicidial_log SET called_count = called_count %% 9 + 1 WHERE uniqueid = %s"
"""A dialer sends the like all the time; it waits while somebody reads the table."""

BETWEEN_UPDATES = 0.001
"""Seconds."""

NOBODY_POLLS = 0.2
"""Seconds for which UPDATEs are watched while nobody polls."""


class Cost(NamedTuple):
    """What a poll cost the server."""

    cpu: float
    """Seconds of CPU that it spent on the poll's connection: the database time."""
    busy: float
    """The same on the clock; where the machine has other work, more."""
    rows: int
    """Rows that it read."""


@dataclass
class Polls:
    """What was measured at one table size, a poll each."""

    calls: int
    site: Site
    ours: list[Cost] = field(default_factory=list)
    script: list[Cost] = field(default_factory=list)
    wait_ours: list[float] = field(default_factory=list)
    """The longest that an UPDATE took during the poll, seconds."""
    wait_script: list[float] = field(default_factory=list)
    wait_nobody: list[float] = field(default_factory=list)
    """The same while nobody polled: what the machine itself contributes."""

    def as_json(self) -> dict[str, object]:
        """Return the medians, times in milliseconds."""
        result: dict[str, object] = {"calls": self.calls}
        for name, costs, waits in (("vicisync", self.ours, self.wait_ours), ("script", self.script, self.wait_script)):
            result[name] = {
                "database_ms": _ms([cost.cpu for cost in costs]),
                "busy_ms": _ms([cost.busy for cost in costs]),
                "rows_read": median(cost.rows for cost in costs),
                "longest_update_ms": _ms(waits),
            }
        result["nobody"] = {"longest_update_ms": _ms(self.wait_nobody)}
        return result


def measure(ground: Ground) -> Outcome:
    """Measure polls at every size, in turns."""
    with did_optimizer(latency=0.0) as url:
        tables = [Polls(calls, _up_to_date(ground, calls, url)) for calls in ground.scale.sizes]
    for number in range(ground.scale.polls):
        ground.say(f"poll: round {number + 1} of {ground.scale.polls}")
        for table in tables:
            _one_round(ground, table)
    return Outcome(_figures(tables), {"tables": [table.as_json() for table in tables]})


def _up_to_date(ground: Ground, calls: int, url: str) -> Site:
    """Set up a busy call centre as it is between two runs: what the overlap holds has been delivered."""
    site = ground.site(f"poll_{calls}", calls, ground.now, url)
    vicisync(site, "reset-checkpoint", "--yes", "--to", str(ground.now - OVERLAP - 60))
    vicisync(site, "run")
    if "Nothing new" not in (output := vicisync(site, "run").output):
        raise Failed(f"The second run is not idle:\n{output}")
    return site


def _one_round(ground: Ground, table: Polls) -> None:
    site = table.site

    def ours() -> None:
        vicisync(site, "run")

    def script() -> None:
        with _connect(site) as connection, connection.cursor() as cursor:
            cursor.execute(SEED, (ground.now,))

    def nobody() -> None:
        time.sleep(NOBODY_POLLS)

    table.ours.append(_cost(ground.mariadb, ours))
    table.script.append(_cost(ground.mariadb, script))
    for poll, waits in ((ours, table.wait_ours), (script, table.wait_script), (nobody, table.wait_nobody)):
        with _dialer_at_work(site) as taken:
            poll()
        waits.append(max(taken))


def _connect(site: Site) -> Connection[Cursor]:
    return pymysql.connect(
        host=site.mariadb.host, port=site.mariadb.port, user="cron", password=PASSWORD, database=site.database
    )


def _cost(mariadb: MariaDB, poll: Callable[[], None]) -> Cost:
    before = _spent(mariadb)
    poll()
    after = _spent(mariadb)
    return Cost(after.cpu - before.cpu, after.busy - before.busy, after.rows - before.rows)


def _spent(mariadb: MariaDB) -> Cost:
    """Return what the server has spent on the readers' account so far; it adds up when a connection ends."""
    while mariadb.execute("SELECT 1 FROM information_schema.PROCESSLIST WHERE USER = 'cron'"):
        time.sleep(0.005)
    sql = "SELECT CPU_TIME, BUSY_TIME, ROWS_READ FROM information_schema.USER_STATISTICS WHERE USER = 'cron'"
    return Cost(*mariadb.execute(sql)[0])


@contextmanager
def _dialer_at_work(site: Site) -> Iterator[Sequence[float]]:
    """Update a call every millisecond; what is given holds the seconds that each UPDATE took."""
    taken = [0.0]
    over = threading.Event()

    def work() -> None:
        with site.mariadb.connect(site.database) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT uniqueid FROM vicidial_log LIMIT 1")
            (call,) = cursor.fetchall()
            while not over.wait(BETWEEN_UPDATES):
                began = time.perf_counter()
                cursor.execute(DIALER, call)
                taken.append(time.perf_counter() - began)

    dialer = threading.Thread(target=work)
    dialer.start()
    try:
        yield taken
    finally:
        over.set()
        dialer.join()


def _figures(tables: Sequence[Polls]) -> list[Figure]:
    ours = {table.calls: _ms([cost.cpu for cost in table.ours]) for table in tables}
    script = {table.calls: _ms([cost.cpu for cost in table.script]) for table in tables}
    against_script = [
        Figure(
            f"poll_{calls}_against_seed",
            f"database time of an idle poll, {calls:,} calls, against the Perl script's statement",
            ours[calls],
            "ms",
            script[calls],
            at_most=1 / 60 if calls == HUGE else None,
        )
        for calls in ours
    ]
    growth = [
        Figure(
            f"poll_{larger}_against_{smaller}",
            f"database time of an idle poll, {larger:,} against {smaller:,} calls",
            ours[larger],
            "ms",
            ours[smaller],
            at_most=1.1 if larger == 1_000_000 else None,
        )
        for smaller, larger in pairwise(ours)
    ]
    waits = [
        Figure(
            f"longest_update_{table.calls}",
            f"longest wait of a dialer's UPDATE, {table.calls:,} calls, in an idle poll (the script's beside it)",
            _ms(table.wait_ours),
            "ms",
            _ms(table.wait_script),
            is_ratio=False,
            at_most=15 if table.calls == 1_000_000 else None,
        )
        for table in tables
    ]
    return against_script + growth + waits


def _ms(seconds: Sequence[float]) -> float:
    return median(seconds) * 1000
