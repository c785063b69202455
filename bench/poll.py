"""What an idle poll costs the database, and those who wait for it, as the table grows; the Perl script's beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

import pymysql

from bench.figure import Figure, ratio
from bench.ground import HUGE, OVERLAP, Ground, drain, vicisync
from bench.process import Failed, did_optimizer
from rehearsal.mariadb import MariaDB
from rehearsal.site import PASSWORD, Site

SEED = """
SELECT uniqueid, lead_id, list_id, campaign_id, phone_number, phone_code, status, length_in_sec, user, user_group,
       term_reason, comments, alt_dial, called_count, call_date, start_epoch, end_epoch
  FROM vicidial_log WHERE end_epoch > %s ORDER BY end_epoch LIMIT 500"""
"""The statement of the script that vicisync replaces."""

DIALER = "UPDATE vicidial_log SET called_count = called_count %% 9 + 1 WHERE uniqueid = %s"
"""What a dialer does all the time, and what waits while somebody reads the table."""

BETWEEN_UPDATES = 0.001
"""Seconds."""


class Cost(NamedTuple):
    """What a poll cost the server."""

    cpu: float
    """Seconds of CPU that the server spent on the poll's connection: its statements, start to end."""
    busy: float
    """Seconds on the clock that it was at work on them; on a machine with other work, more than the former."""
    rows: int
    """Rows that it read."""


@dataclass
class Polls:
    """What was measured at one table size."""

    calls: int
    site: Site
    ours: list[Cost] = field(default_factory=list)
    seed: list[Cost] = field(default_factory=list)
    wait_ours: list[float] = field(default_factory=list)
    """The longest wait of an UPDATE during each poll, seconds."""
    wait_seed: list[float] = field(default_factory=list)
    wait_none: list[float] = field(default_factory=list)
    """The same while nobody polls: what the machine itself contributes."""

    def as_json(self) -> dict[str, object]:
        """Give the medians, times in milliseconds."""
        result: dict[str, object] = {"calls": self.calls}
        for name, costs in (("vicisync", self.ours), ("seed", self.seed)):
            result[name] = {
                "database_ms": _ms(cost.cpu for cost in costs),
                "busy_ms": _ms(cost.busy for cost in costs),
                "rows_read": median(cost.rows for cost in costs),
            }
        for name, waits in (("vicisync", self.wait_ours), ("seed", self.wait_seed), ("nobody", self.wait_none)):
            result[f"longest_update_ms_{name}"] = _ms(waits)
        return result


def measure(ground: Ground, say: Callable[[str], None]) -> tuple[list[Figure], list[dict[str, object]]]:
    """Measure polls at every size, in turns."""
    tables = []
    for calls in ground.scale.sizes:
        say(f"poll: a table of {calls:,} calls")
        tables.append(Polls(calls, _up_to_date(ground, calls)))
    for number in range(ground.scale.polls):
        say(f"poll: round {number + 1} of {ground.scale.polls}")
        for table in tables:
            _one_round(ground, table)
    return _figures(tables), [table.as_json() for table in tables]


def _up_to_date(ground: Ground, calls: int) -> Site:
    """Set up a busy call centre whose checkpoint is that of a service at work: the overlap's calls are delivered."""
    with did_optimizer(latency=0.0) as url:
        site = ground.site(f"poll_{calls}", calls, ground.now, url)
        vicisync(site, "reset-checkpoint", "--yes", "--to", str(ground.now - OVERLAP - 60))
        vicisync(site, "run")
    if "Nothing new" not in (output := vicisync(site, "run").output):
        raise Failed(f"A second run is not idle:\n{output}")
    return site


def _one_round(ground: Ground, table: Polls) -> None:
    mariadb, site = ground.mariadb, table.site

    def ours() -> None:
        vicisync(site, "run")

    def seed() -> None:
        with _connection(site) as connection, connection.cursor() as cursor:
            cursor.execute(SEED, (ground.now,))

    table.ours.append(_cost(mariadb, ours))
    table.seed.append(_cost(mariadb, seed))
    for poll, waits in (
        (ours, table.wait_ours),
        (seed, table.wait_seed),
        (lambda: time.sleep(0.2), table.wait_none),
    ):
        with _dialer_at_work(site) as longest:
            poll()
        waits.append(max(longest))


def _cost(mariadb: MariaDB, poll: Callable[[], None]) -> Cost:
    before = _spent(mariadb)
    poll()
    return Cost(*(after - before for after, before in zip(_spent(mariadb), before)))


def _spent(mariadb: MariaDB) -> Cost:
    """Give what the server has spent on the account of all call centres; it adds up when a connection ends."""
    while mariadb.execute("SELECT 1 FROM information_schema.PROCESSLIST WHERE USER = 'cron'"):
        time.sleep(0.005)
    sql = "SELECT CPU_TIME, BUSY_TIME, ROWS_READ FROM information_schema.USER_STATISTICS WHERE USER = 'cron'"
    return Cost(*mariadb.execute(sql)[0])


def _connection(site: Site) -> pymysql.Connection[pymysql.cursors.Cursor]:
    return pymysql.connect(
        host=site.mariadb.host, port=site.mariadb.port, user="cron", password=PASSWORD, database=site.database
    )


@contextmanager
def _dialer_at_work(site: Site) -> Iterator[Sequence[float]]:
    """Update a call all the while, one UPDATE a millisecond; give how long each took, in seconds."""
    waits: list[float] = [0.0]
    over = threading.Event()

    def work() -> None:
        with site.mariadb.connect(site.database) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT uniqueid FROM vicidial_log LIMIT 1")
            (call,) = cursor.fetchall()
            while not over.wait(BETWEEN_UPDATES):
                began = time.perf_counter()
                cursor.execute(DIALER, call)
                waits.append(time.perf_counter() - began)

    dialer = threading.Thread(target=work)
    dialer.start()
    try:
        yield waits
    finally:
        over.set()
        dialer.join()


def _figures(tables: Sequence[Polls]) -> list[Figure]:
    figures = []
    cpu = {table.calls: median(cost.cpu for cost in table.ours) * 1000 for table in tables}
    for table in tables:
        figures.append(
            ratio(
                f"poll_against_seed_{table.calls}",
                f"database time of an idle poll, {table.calls:,} calls, against the seed's statement",
                cpu[table.calls],
                median(cost.cpu for cost in table.seed) * 1000,
                "ms",
                at_most=1 / 60 if table.calls == HUGE else None,
            )
        )
    for larger, smaller in zip(tables[1:], tables):
        figures.append(
            ratio(
                f"poll_{larger.calls}_against_{smaller.calls}",
                f"the same at {larger.calls:,} against {smaller.calls:,} calls",
                cpu[larger.calls],
                cpu[smaller.calls],
                "ms",
                at_most=1.1 if larger.calls == 1_000_000 else None,
            )
        )
    for table in tables:
        figures.append(
            Figure(
                f"longest_update_{table.calls}",
                f"an UPDATE of the dialer during an idle poll, its longest wait, {table.calls:,} calls",
                _ms(table.wait_ours),
                "ms",
                baseline=_ms(table.wait_seed),
                measured=_ms(table.wait_ours),
                measured_unit="ms",
                at_most=15 if table.calls == 1_000_000 else None,
            )
        )
    return figures


def _ms(seconds: Sequence[float] | Iterator[float]) -> float:
    return median(seconds) * 1000
