"""``make chaos``: a dialer at work, an API that fails in every way, a database that restarts, and runs being killed.

Then all of it heals, and the books must balance: no call lost, none with a wrong disposition, and no more sent twice
than there were calls in flight when a run was killed, or answers that got lost.
"""

import argparse
import math
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal.dialer import WAIT, Dialer, Verdict
from rehearsal.did_optimizer import (
    ANSWER_TOO_MANY,
    CUT_BEFORE,
    EARLY_HINTS,
    ERROR_500,
    GARBAGE,
    GZIP,
    HALF_ANSWER,
    HTML_200,
    LOST_ANSWER,
    NGINX_400,
    REDIRECT,
    TRICKLE,
    DidOptimizer,
    rate_limited_429,
    slow,
    unavailable_503,
)
from rehearsal.mariadb import MariaDB
from rehearsal.site import Site

CONCURRENCY = 8
CALLS_PER_SECOND = 20
SPEED = 90
"""How much faster than in a call centre calls live here; the wait for a disposition shrinks alike."""

LONGEST_LIFE = 15
"""Seconds after which a call has had its last change; the second row of twins is deleted later, and not waited for."""

RUN_EVERY = 2.0
"""Seconds from the start of one run to that of the next."""

KILLED_WITHIN = (0.05, 0.5)
"""Seconds from the start of a run to its kill: while it still loads, looks, sends or saves."""

API_TIMEOUT = 2
"""Seconds; a slow answer takes longer."""

FAULTS = (
    ERROR_500,
    unavailable_503(1),
    rate_limited_429(1),
    CUT_BEFORE,
    LOST_ANSWER,
    HALF_ANSWER,
    HTML_200,
    REDIRECT,
    GARBAGE,
    GZIP,
    slow(API_TIMEOUT + 1),
    EARLY_HINTS,
    ANSWER_TOO_MANY,
    TRICKLE,
    NGINX_400,
)


@dataclass
class Outcome:
    """What a stretch of chaos left behind."""

    calls: int = 0
    delivered: int = 0
    rejected: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    repeats: int = 0
    lost_answers: int = 0
    runs: int = 0
    """Those that a kill could befall."""
    kills: int = 0
    exit_codes: Counter[int] = field(default_factory=Counter)
    reconciled: dict[str, int] = field(default_factory=dict)
    """What `vicisync reconcile` says of all this time, by its own words."""

    @property
    def allowed_repeats(self) -> int:
        return self.kills * CONCURRENCY + self.lost_answers

    @property
    def balanced(self) -> bool:
        """Whether every promise held."""
        verdict = self.verdict
        wrongs = (verdict.lost, verdict.wrong, verdict.unknown)
        proven = {"delivered": self.delivered, "rejected": 0, "waiting": 0, "missing": 0, "not in the journal": 0}
        is_proven = proven == {word: self.reconciled.get(word) for word in proven}
        return not any(wrongs) and not self.rejected and self.repeats <= self.allowed_repeats and is_proven

    def __str__(self) -> str:
        verdict = self.verdict
        codes = ", ".join(f"{code}: {times}" for code, times in sorted(self.exit_codes.items()))
        return (
            f"{self.calls} calls ended, {self.delivered} on record: {len(verdict.lost)} lost, {len(verdict.wrong)} with"
            f" a wrong disposition, {len(verdict.unknown)} unknown, {self.rejected} rejected\n"
            f"{self.kills} of {self.runs} runs killed, {self.lost_answers} answers lost: {self.repeats} sent twice,"
            f" {self.allowed_repeats} may be\nexit codes: {codes}\nreconciled: {self.reconciled}"
        )


def chaos(folder: Path, seconds: float, seed: int) -> Outcome:
    """Let everything go wrong for ``seconds``, then heal it and settle the account."""
    rng = random.Random(seed)  # noqa: S311 -- dice
    wait = WAIT / SPEED
    with MariaDB(folder / "mariadb") as mariadb, DidOptimizer(seed=seed) as api:
        mariadb.create_table("asterisk")
        site = Site.of(
            folder / "server", mariadb, "asterisk", api,
            wait_for_disposition=str(int(wait)), concurrency=str(CONCURRENCY), api_timeout=str(API_TIMEOUT),
        )  # fmt: skip
        outcome = Outcome()
        enough = threading.Event()
        dialer = Dialer(lambda: mariadb.connect("asterisk"))
        at_work = threading.Thread(
            target=dialer.live, args=(seconds, CALLS_PER_SECOND, rng, SPEED), kwargs={"stop": enough}
        )
        api.fail_rate, api.random_faults = 0.1, FAULTS
        at_work.start()
        _run_and_kill(site, seconds, rng, outcome)
        api.fail_rate = 0
        at_work.join(LONGEST_LIFE)
        enough.set()
        at_work.join()
        dialer.close()
        _heal(site, wait, outcome)
        said = site.vicisync("reconcile", "--from", "3h", "-q").stdout
        outcome.reconciled = {word: int(number) for number, word in re.findall(r"(\d+) ([a-z ]+)(?=,|$)", said, re.M)}
        outcome.calls = len(dialer.expected())
        outcome.delivered = len(api.records)
        outcome.verdict = dialer.judge((uniqueid, call["disposition"]) for uniqueid, call in api.records.items())
        outcome.repeats, outcome.lost_answers = api.repeats, api.lost_answers
        outcome.rejected = len(site.rejected_file.read_text().splitlines()) if site.rejected_file.exists() else 0
    return outcome


def _run_and_kill(site: Site, seconds: float, rng: random.Random, outcome: Outcome) -> None:
    """Start a run every other second, as an impatient cron would, and kill a third at a moment of their lives."""
    began = time.monotonic()
    runs: list[subprocess.Popen[str]] = []
    restart_at = began + seconds / 2
    while time.monotonic() - began < seconds:
        run = site.start("run", "-q")
        runs.append(run)
        if outcome.kills < len(runs) / 3:  # some are over before their moment; then it is the next one's turn
            time.sleep(rng.uniform(*KILLED_WITHIN))
            if run.poll() is None:
                run.kill()
                outcome.kills += 1
        if time.monotonic() > restart_at:
            site.mariadb.stop()
            site.mariadb.start()
            restart_at = math.inf
        time.sleep(max(0.0, began + len(runs) * RUN_EVERY - time.monotonic()))
    outcome.runs = len(runs)
    for run in runs:
        with run:
            run.communicate()
        outcome.exit_codes[run.returncode] += 1


def _heal(site: Site, wait: float, outcome: Outcome) -> None:
    """Run until even the calls that got no disposition are due."""
    until = time.monotonic() + wait + 2
    while time.monotonic() < until:
        outcome.exit_codes[site.vicisync("run", "-q").returncode] += 1
        time.sleep(1)
    outcome.exit_codes[site.vicisync("run", "-q").returncode] += 1


def main() -> int:
    """Return what came of it; 0 where the books balance."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"{options.seconds:g} seconds of chaos, seed {options.seed} ...")
    with tempfile.TemporaryDirectory(prefix="vicisync-chaos-") as folder:
        outcome = chaos(Path(folder), options.seconds, options.seed)
    print(outcome)
    print("✅ The books balance" if outcome.balanced else f"❌ A promise is broken: {outcome.verdict}")
    return 0 if outcome.balanced else 1


if __name__ == "__main__":
    sys.exit(main())
