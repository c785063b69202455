"""What an idle run costs in CPU, the whole process; beside it, importing the packages that vicisync builds on."""

import sys
from collections.abc import Callable
from statistics import median

from bench.figure import Figure, Outcome
from bench.ground import CALLS_AN_HOUR, OVERLAP, Ground, vicisync
from bench.process import did_optimizer, run

IMPORTS = "import pymysql, click, requests"

NIGHT = 3600
"""Seconds since the last call of a call centre that is closed."""


def measure(ground: Ground) -> Outcome:
    """Measure idle runs in a busy call centre and in one that is closed, and the imports, in turns."""
    calls = ground.scale.busy
    in_overlap = min(calls, CALLS_AN_HOUR * OVERLAP // 3600)
    with did_optimizer(latency=0.0) as url:
        busy = ground.site("idle_busy", calls, ground.now, url)
        closed = ground.site("idle_closed", calls, ground.now - NIGHT, url)
        for site in (busy, closed):
            vicisync(site, "reset-checkpoint", "--yes", "--to", str(ground.now - OVERLAP - 60))
            vicisync(site, "run")
    kinds: dict[str, Callable[[], float]] = {
        "busy": lambda: vicisync(busy, "run").cpu,
        "imports": lambda: run(busy.folder, [sys.executable, "-c", IMPORTS]).cpu,
        "closed": lambda: vicisync(closed, "run").cpu,
        "python": lambda: run(busy.folder, [sys.executable, "-c", ""]).cpu,
    }
    for command in kinds.values():
        command()  # compiles, and brings the files into memory
    ground.say(f"idle: {ground.scale.idle_runs} rounds")
    rounds = [{kind: command() for kind, command in kinds.items()} for _ in range(ground.scale.idle_runs)]
    ms = {kind: median(one[kind] for one in rounds) * 1000 for kind in kinds}
    what = "CPU of an idle run, whole process, against importing pymysql, click and requests"
    return Outcome(
        [
            Figure(
                "idle_cpu", f"{what}; {in_overlap:,} calls in the overlap", ms["busy"], "ms", ms["imports"], at_most=0.9
            ),
            Figure("idle_cpu_closed", "the same at night", ms["closed"], "ms", ms["imports"]),
        ],
        {"cpu_ms": ms},
    )
