"""``make bench``: measure, print the table and write results.json.

A missed target is marked ✗ and is no failure: machines differ and are busy with other things. Every figure is a ratio
to a baseline of the same run where it can be, and the median of several rounds in turns.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import drain, idle, memory, poll, statement
from bench.figure import Outcome, table
from bench.ground import HUGE, TINY, Ground, Scale
from bench.process import Failed
from rehearsal.mariadb import MariaDB, MariaDBMissing

SUBJECTS = {
    "poll": poll.measure, "statement": statement.measure, "drain": drain.measure, "idle": idle.measure,
    "memory": memory.measure,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 unless something broke."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--huge", action="store_true", help=f"also a table of {HUGE:,} calls: 3 GB, some minutes more")
    parser.add_argument(
        "--tiny", action="store_true", help="seconds only, to see that it works; the figures mean nothing"
    )
    parser.add_argument("--only", choices=SUBJECTS, help="measure this alone")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, metavar="FOLDER", help="for what is written")
    options = parser.parse_args(arguments)
    scale = TINY if options.tiny else Scale()
    if options.huge:
        scale = replace(scale, sizes=(*scale.sizes, HUGE))
    subjects = [options.only] if options.only else list(SUBJECTS)

    with tempfile.TemporaryDirectory(prefix="vicisync-bench-") as name:
        folder = Path(name)
        # userstat: the server counts what it spends on each account.
        with MariaDB(folder / "mariadb", options=["--userstat=1"]) as mariadb:
            now = int(time.time())
            mariadb.set_clock(now)
            ground = Ground(folder, mariadb, scale, now, _say)
            outcomes = {subject: SUBJECTS[subject](ground) for subject in subjects}
            results = {"machine": _machine(mariadb), **_results(outcomes)}

    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(table([figure for outcome in outcomes.values() for figure in outcome.figures]))
    print(f"\n✓ reached · ✗ missed: on a busy or unlike machine that may be. All of it: {options.out / 'results.json'}")
    return 0


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def _results(outcomes: dict[str, Outcome]) -> dict[str, Any]:
    figures = {figure.key: figure.as_json() for outcome in outcomes.values() for figure in outcome.figures}
    return {"figures": figures, **{subject: outcome.details for subject, outcome in outcomes.items()}}


def _machine(mariadb: MariaDB) -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": platform.platform(),
        "load": os.getloadavg()[2],
        "python": platform.python_version(),
        "mariadb": mariadb.execute("SELECT VERSION()")[0][0],
        **{package: version(package) for package in ("vicisync", "PyMySQL", "requests", "urllib3", "click")},
    }


def _processor() -> str:
    """Return its name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (MariaDBMissing, Failed) as error:
        sys.exit(f"❌ {error}")
