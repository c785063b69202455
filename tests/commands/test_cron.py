"""The installed job under a real cron, and its log under a real logrotate."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable

from rehearsal.dialer import fill
from rehearsal.did_optimizer import DidOptimizer
from rehearsal.site import Site
from tests.machine import CRON_D, LOG, Machine, machine, needs_root


@contextmanager
def cron(machine: Machine) -> Iterator[None]:
    with subprocess.Popen(
        machine.inside("cron", "-f"), cwd="/", env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    ) as daemon:
        try:
            yield
            assert daemon.poll() is None, "cron has ended by itself"
        finally:
            daemon.terminate()


def wait(seconds: float, until: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.2)


@needs_root
def test_cron_delivers_and_logs_twice_a_minute_and_goes_on_in_a_new_log_after_rotation(
    tmp_path: Path, site: Site, api: DidOptimizer
) -> None:
    """Cron looks at its tables when a minute begins: this takes one and a half on the average, most of it asleep."""

    def ended(calls: int) -> None:
        with site.mariadb.connect(site.database) as connection:
            fill(connection, calls, int(time.time()) - 300)

    with machine(tmp_path / "machine") as server:
        log = server.path(LOG)
        rotated = log.with_name(f"{log.name}.1")
        server.vicisync("install", environment=site.environment())
        job = server.path(CRON_D)
        job.write_text(job.read_text().replace("\n#* * * * * root sleep 30;", "\n* * * * * root sleep 30;"))
        ended(3)
        with cron(server):
            wait(75, lambda: "✅ Sync completed successfully\n" in log.read_text())
            first = set(api.records)
            assert 3 == len(first)
            ended(4)
            wait(40, lambda: 2 == log.read_text().count("✅ Sync completed successfully\n"))
            assert 7 == len(api.records)

            done = server.run("logrotate", "-f", "/etc/logrotate.d/vicisync")
            assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
            assert 2 == rotated.read_text().count("✅ Sync completed successfully\n")
            assert (b"", 0o640) == (log.read_bytes(), log.stat().st_mode & 0o777)

            ended(5)
            wait(40, lambda: "✅ Sync completed successfully\n" in log.read_text())
            assert 12 == len(api.records)
            assert 2 == rotated.read_text().count("✅ Sync completed successfully\n")
        assert 0 == api.repeats
        assert not [
            line for line in (log.read_text() + rotated.read_text()).splitlines() if "failed:" in line or "❌" in line
        ]
