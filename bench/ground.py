"""What all subjects stand on: the database server, call centres of a given size, and how much is measured."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.process import API_KEY, Failed, Usage, run
from rehearsal.dialer import fill
from rehearsal.mariadb import MariaDB
from rehearsal.site import COMMAND, PASSWORD, Site

CALLS_AN_HOUR = 30_000
"""What the setup guide of the script that vicisync replaces names as its limit."""

OVERLAP = 600
"""Seconds that a poll looks back, vicisync's default: 5,000 calls."""

LOOK_BACK = 3600
"""Seconds before a backlog's first call from which on a drain delivers."""

NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    """Calls in the table."""
    rates: tuple[int, ...] = (3_000, 30_000, 300_000)
    """Calls an hour."""
    polls: int = 7
    """Idle polls of each table."""
    busy: int = 10_000
    """Calls in the table of a call centre whose idle runs are measured."""
    idle_runs: int = 21
    drains: int = 3
    """Drains of each kind."""
    latencies: tuple[int, ...] = (0, 20, 100)
    """Milliseconds that the API takes for an answer."""
    backlog: int = 5_000
    """Calls of a drain whose rate is measured."""
    little: int = 2_000
    """Calls of a drain whose memory is measured."""
    much: int = 200_000


HUGE = 10_000_000
"""Calls of the table that ``--huge`` adds."""

TINY = Scale(
    sizes=(100, 200),
    rates=(100, 200),
    polls=1,
    busy=100,
    idle_runs=1,
    drains=1,
    latencies=(0, 20),
    backlog=16,
    little=8,
    much=16,
)
"""Enough to see that everything works."""


@dataclass(frozen=True)
class Ground:
    """One database server; for all but root its clock stands still at ``now``, so that every poll sees the same."""

    folder: Path
    mariadb: MariaDB
    scale: Scale
    now: int
    """Epoch."""
    say: Callable[[str], None]
    """Tells people what is being done."""

    def site(
        self,
        name: str,
        calls: int,
        until: int,
        api_url: str = NOWHERE,
        *,
        per_hour: int = CALLS_AN_HOUR,
        **settings: str,
    ) -> Site:
        """Set up a call centre with ``calls`` calls in its table, the last of which ended by the epoch ``until``."""
        self.say(f"{name}: a table of {calls:,} calls")
        self.mariadb.create_table(name)
        with self.mariadb.connect(name) as connection:
            fill(connection, calls, until, per_hour)
        self.mariadb.create_reader("cron", PASSWORD, name)
        # That makes the account anew, for this table; the others are still to be polled.
        self.mariadb.execute("GRANT SELECT ON *.* TO cron@'%%'")
        site = Site(self.folder / name, self.mariadb, name, api_url, API_KEY, {"max_runtime": "0", **settings})
        site.folder.mkdir()
        site.configure()
        return site


def vicisync(site: Site, *arguments: str) -> Usage:
    """Run the installed command on a call centre."""
    return run(site.folder, [COMMAND, *arguments], site.environment())


class Drained(NamedTuple):
    """What it took to deliver a backlog."""

    usage: Usage
    seconds: float
    """Of the run, from its first look to its last answer, as its summary says."""


def drain(site: Site, url: str, ended_after: int, calls: int) -> Drained:
    """Deliver the first ``calls`` calls that ended after an epoch to the API at ``url``; raise Failed for any other."""
    site.api_url = url
    site.configure()
    vicisync(site, "reset-checkpoint", "--yes", "--to", str(ended_after))
    usage = vicisync(site, "run", "--limit", str(calls))
    summary = re.search(rf"Summary: {calls} processed, 0 failed in ([0-9.]+)s", usage.output)
    if not summary:
        raise Failed(f"Not {calls} calls were delivered:\n{usage.output[-2000:]}")
    return Drained(usage, float(summary[1]))
