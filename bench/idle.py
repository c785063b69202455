"""What an idle run, whole process, costs in CPU; beside it, merely importing the three packages it builds on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median

from bench.figure import Figure, ratio
from bench.ground import CALLS_AN_HOUR, OVERLAP, Ground, vicisync
from bench.process import did_optimizer, run

IMPORTS = "import pymysql, click, requests"


def measure(ground: Ground, say: Callable[[str], None]) -> tuple[list[Figure], dict[str, object]]:
    """Measure idle runs of a busy call centre and of one at night, and the imports, in turns."""
    say("idle: two call centres")
    rows = CALLS_AN_HOUR * OVERLAP // 3600
    with did_optimizer(latency=0.0) as url:
        busy = ground.site("idle_busy", 2 * rows, ground.now, url)
        night = ground.site("idle_night", 2 * rows, ground.now - 3600, url)
        for site in (busy, night):
            vicisync(site, "reset-checkpoint", "--yes", "--to", str(ground.now - OVERLAP - 60))
            vicisync(site, "run")
    kinds: dict[str, Callable[[], float]] = {
        "busy": lambda: vicisync(busy, "run").cpu,
        "imports": lambda: run(busy.folder, [sys.executable, "-c", IMPORTS]).cpu,
        "night": lambda: vicisync(night, "run").cpu,
        "python": lambda: run(busy.folder, [sys.executable, "-c", ""]).cpu,
    }
    cpu: dict[str, list[float]] = {kind: [] for kind in kinds}
    for command in kinds.values():
        command()  # compiles, and brings the files into memory
    say(f"idle: {ground.scale.imports} rounds")
    for _ in range(ground.scale.imports):
        for kind, command in kinds.items():
            cpu[kind].append(command() * 1000)
    ms = {kind: median(values) for kind, values in cpu.items()}
    figures = [
        ratio(
            "idle_cpu",
            "an idle run, whole process, CPU, against importing the three packages",
            ms["night"],
            ms["imports"],
            "ms",
            at_most=0.9,
        ),
        ratio(
            "idle_cpu_busy",
            f"the same with {rows:,} calls in the overlap",
            ms["busy"],
            ms["imports"],
            "ms",
        ),
    ]
    return figures, {"cpu_ms": ms}
