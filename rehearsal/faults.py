"""``make faults``: a kill, and an error, at every system call of a run that touches files of ours or a socket.

After each a run follows on which nothing goes wrong, and the books must balance: no call lost, no more sent twice than
were in flight, no exit code that the README does not name, and no traceback.
"""

import argparse
import errno
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rehearsal.dialer import fill
from rehearsal.did_optimizer import NOT_ACCEPTED, DidOptimizer, Fault, slow
from rehearsal.mariadb import MariaDB
from rehearsal.site import Site

KILL = 0
FAULTS = (KILL, errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EINTR)
CALLS = 5
CONCURRENCY = 2
REFUSED, SLOW = "REFUSED", "SLOW"  # the campaigns of two of the calls
SOME_REJECTED = 6
EXIT_CODES = {0, 2, 3, 4, 5, SOME_REJECTED, 75}
"""Those of the README that do not mean a bug or a signal."""

TIMEOUT = 60  # seconds; a run takes a third of one


class Point(NamedTuple):
    """A system call of a run by its number, from 1, and what happens at it: `KILL` or an error's number."""

    number: int
    fault: int

    def __str__(self) -> str:
        return f"{errno.errorcode.get(self.fault, 'kill')} at call {self.number}"


@dataclass
class Outcome:
    """What came of all points."""

    tried: Counter[str] = field(default_factory=Counter)
    calls: int = 0  # system calls of a run without a fault
    exit_codes: Counter[int] = field(default_factory=Counter)
    repeats: int = 0
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        tried = ", ".join(f"{times} × {fault}" for fault, times in self.tried.items())
        codes = ", ".join(f"{code}: {times}" for code, times in sorted(self.exit_codes.items()))
        head = f"{sum(self.tried.values())} points tried in a run of {self.calls} system calls: {tried}"
        return "\n".join([head, f"{self.repeats} calls sent twice; exit codes: {codes}", *self.broken])


def fault_for(payload: dict[str, Any]) -> Fault | None:
    """Refuse one call for ever, and answer another so late that what was appended has to be synced."""
    return {REFUSED: NOT_ACCEPTED, SLOW: slow(1.3)}.get(payload["campaignId"])


def library(folder: Path) -> Path:
    """Compile what makes system calls fail."""
    compiled = folder / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-o", compiled, source, "-ldl"], check=True)
    return compiled


class Stage:
    """A dialer whose state and table are made anew for each point."""

    def __init__(self, folder: Path, mariadb: MariaDB, api: DidOptimizer, preload: Path, number: int) -> None:
        self.database = f"faults_{number}"
        mariadb.create_table(self.database)
        # Backoff would make the retries of a run wait; the next run has its own. What is not remembered is lost: the
        # overlap does not bring it back.
        settings = {"concurrency": str(CONCURRENCY), "api_timeout": "5", "max_retries": "1", "overlap": "420"}
        self._site = Site.of(folder / self.database, mariadb, self.database, api, **settings)
        self._api, self._preload = api, preload
        self._log = folder / f"{self.database}.log"
        self._first_lead = 10_000_000 * (1 + number)

    def prepare(self) -> list[str]:
        """Have calls before it and nothing behind; return their ids, of which the third can never be stored."""
        self._first_lead += 100
        state, now = self._site.checkpoint_file.parent, int(time.time())
        shutil.rmtree(state, ignore_errors=True)
        table = f"`{self.database}`.vicidial_log"
        self._site.mariadb.execute(f"TRUNCATE {table}")
        state.mkdir(mode=0o700)
        self._site.checkpoint_file.write_text(f"{now - 900}\n")
        self._site.checkpoint_file.chmod(0o600)
        with self._site.mariadb.connect(self.database) as connection:
            fill(connection, CALLS, now - 600, 3600, self._first_lead)
        rows = self._site.mariadb.execute(f"SELECT uniqueid FROM {table} ORDER BY uniqueid")
        ids = [uniqueid for (uniqueid,) in rows]
        for uniqueid, campaign in zip(ids[2:], (REFUSED, SLOW), strict=False):
            self._site.mariadb.execute(f"UPDATE {table} SET campaign_id = %s WHERE uniqueid = %s", (campaign, uniqueid))
        return ids

    def run(self, at: int = 0, fault: int = 0) -> tuple[int | None, str]:
        """Run with a fault at a system call, 0: none; return the exit code, None where it hangs, and what it said."""
        faulty = {"LD_PRELOAD": str(self._preload), "FAULT_ROOT": str(self._site.folder), "FAULT_LOG": str(self._log)}
        self._log.unlink(missing_ok=True)
        with self._site.start("run", **faulty, FAULT_AT=str(at), FAULT_ERRNO=str(fault)) as process:
            try:
                stdout, stderr = process.communicate(timeout=TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                return None, ""
        return process.returncode, stdout + stderr

    def count(self) -> int:
        """Return how many system calls a run has on which nothing goes wrong."""
        self.prepare()
        code, said = self.run()
        if code != SOME_REJECTED:
            raise RuntimeError(f"A run without a fault ends with {code}: {said}")
        return len(self._log.read_text().splitlines())

    def try_point(self, point: Point, outcome: Outcome) -> None:
        """Run with a fault, then without one, and settle the account."""
        ids = self.prepare()
        code, said = self.run(*point)
        seen = self._log.read_text().splitlines()
        call = seen[point.number - 1] if len(seen) >= point.number else ""  # threads take turns as they please
        happened = call and not (point.fault and call.startswith("close_socket"))
        with self._site.mariadb.connect(self.database) as connection:  # an API that stores nothing else gets no say
            fill(connection, 1, int(time.time()) - 1, first_lead=self._first_lead + CALLS)
        again = self._site.vicisync("run")
        said += again.stdout + again.stderr
        lost, repeats = self._account(ids)
        wrong = {
            f"exit code {code}": code not in ({-signal.SIGKILL} if happened and point.fault == KILL else EXIT_CODES),
            f"the next run's exit code {again.returncode}": again.returncode not in (0, SOME_REJECTED),
            "a traceback": "Traceback" in said,
            f"lost: {lost}": lost,
            f"{repeats} sent twice": repeats > CONCURRENCY,
        }
        if happened:
            outcome.tried[errno.errorcode.get(point.fault, "kill")] += 1
        outcome.exit_codes[code or 0] += 1
        outcome.repeats += repeats
        if any(wrong.values()):
            outcome.broken.append(f"❌ {point} ({call}): {', '.join(what for what in wrong if wrong[what])}\n{said}")

    def _account(self, ids: Sequence[str]) -> tuple[list[str], int]:
        """Return the calls that are lost, and how many POSTs stored one that was on record already."""
        posts = [post for post in self._api.posts if post.payload["uniqueid"] in ids and (post.stored or post.repeat)]
        stored = {post.payload["uniqueid"] for post in posts}
        kept = self._site.rejected_file.read_text() if self._site.rejected_file.exists() else ""
        # The API's verdict counts in a run in which it has stored another call; until then its call is watched.
        kept += "".join(re.findall(f"^watching\t{re.escape(ids[2])}\t", self._site.checkpoint_file.read_text(), re.M))
        lost = [uniqueid for uniqueid in ids if uniqueid not in stored and uniqueid not in kept]
        return lost, len(posts) - len(stored)


def faults(folder: Path, every: int, workers: int = 4) -> Outcome:
    """Try each ``every``-th of all points, some at a time."""
    outcome = Outcome()
    with MariaDB(folder / "mariadb") as mariadb, DidOptimizer() as api:
        api.fault_for = fault_for
        preload = library(folder)
        stages = [Stage(folder, mariadb, api, preload, number) for number in range(workers)]
        for stage in stages:  # each made the account anew
            mariadb.execute(f"GRANT SELECT ON `{stage.database}`.vicidial_log TO %s@%s", ("cron", "%"))
        outcome.calls = stages[0].count()
        points = [Point(number, kind) for number in range(1, outcome.calls + 3) for kind in FAULTS][::every]

        def work(stage: Stage, mine: Iterable[Point]) -> None:
            for point in mine:
                stage.try_point(point, outcome)

        with ThreadPoolExecutor(workers) as pool:
            for done in [pool.submit(work, stage, points[n::workers]) for n, stage in enumerate(stages)]:
                done.result()
    return outcome


def main() -> int:
    """Return what came of it; 0 where no promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.faults", description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="try each so many-th point")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vicisync-faults-") as folder:
        outcome = faults(Path(folder), options.every)
    print(outcome)
    print("❌ A promise is broken" if outcome.broken else "✅ The books balance")
    return 1 if outcome.broken else 0


if __name__ == "__main__":
    sys.exit(main())
