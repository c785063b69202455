"""What all subjects share: the database server, call centres of a given size, and how much is measured."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bench.process import API_KEY, Failed, Usage, run
from rehearsal.dialer import fill
from rehearsal.mariadb import MariaDB
from rehearsal.site import COMMAND, PASSWORD, Site

CALLS_AN_HOUR = 30_000
"""What the Perl script's setup guide names as a busy dialer; then a poll meets the 5,000 calls of its overlap."""

OVERLAP = 600
"""Seconds; vicisync's own default."""


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    """Calls in the table."""
    polls: int = 7
    """Idle polls of each table, and of each baseline beside them; medians count."""
    imports: int = 21
    """Idle runs whose CPU is measured."""
    drains: int = 3
    """Drains of each kind."""
    backlog: int = 5_000
    """Calls to drain."""
    most: int = 200_000
    """Calls of the drain whose memory is measured, beside one of ``least``."""
    least: int = 2_000


HUGE = 10_000_000
TINY = Scale(sizes=(1_000, 2_000), polls=1, imports=1, drains=1, backlog=60, most=60, least=20)
"""For seeing that the benchmark works; its figures mean nothing."""


@dataclass(frozen=True)
class Ground:
    """One database server, whose clock stands at ``now`` (epoch) for everyone but root."""

    folder: Path
    mariadb: MariaDB
    scale: Scale
    now: int

    def site(self, name: str, calls: int, until: int, api_url: str = "http://127.0.0.1:9", **settings: str) -> Site:
        """Set up a call centre with ``calls`` calls in its table, the last of which ended at ``until`` (epoch)."""
        self.mariadb.create_table(name)
        with self.mariadb.connect(name) as connection:
            fill(connection, calls, until, CALLS_AN_HOUR)
        self.mariadb.create_reader("cron", PASSWORD, name)
        # That is the newest table's reader; several tables are measured in turns.
        self.mariadb.execute("GRANT SELECT ON *.* TO 'cron'@'%%'")
        site = Site(self.folder / name, self.mariadb, name, api_url, API_KEY, {"max_runtime": "0", **settings})
        site.folder.mkdir()
        site.configure()
        return site


def vicisync(site: Site, *arguments: str) -> Usage:
    """Run the installed command on a call centre."""
    return run(site.folder, [COMMAND, *arguments], site.environment())


def drain(site: Site, ended_after: int, calls: int) -> Usage:
    """Deliver ``calls`` calls, all that ended after an epoch; raise Failed where it is not them that were delivered."""
    vicisync(site, "reset-checkpoint", "--yes", "--to", str(ended_after))
    usage = vicisync(site, "run")
    if not re.search(rf"Summary: {calls} processed, 0 failed", usage.output):
        raise Failed(f"Not {calls} calls were delivered:\n{usage.output[-2000:]}")
    return usage
