"""How fast a backlog drains, against what the API's latency allows, and against the loops one would write at first."""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median

from bench.figure import Figure, ratio
from bench.ground import Ground, drain
from bench.process import API_KEY, did_optimizer, run
from rehearsal.site import Site

LATENCIES = (0, 20, 100)
"""Milliseconds that the API takes for an answer."""

SHARE_AT_100_MS = 5
"""One in so many calls is enough where each takes that long; a loop is given one in as many as vicisync has at once."""

FINAL_BY = 300
"""Seconds after the last call's end, by when each has its final disposition."""


def measure(ground: Ground, say: Callable[[str], None]) -> tuple[list[Figure], dict[str, dict[str, float]]]:
    """Measure drains at each latency with 8 and 32 connections, and both loops, in turns; calls a second."""
    backlog = ground.scale.backlog
    until = ground.now - FINAL_BY
    sites = {
        f"vicisync_{concurrency}": ground.site(f"drain_{concurrency}", backlog, until, concurrency=str(concurrency))
        for concurrency in (8, 32)
    }
    rates: dict[str, dict[str, float]] = {}
    for latency in LATENCIES:
        kinds = [*sites, "session", "post"]
        measured: dict[str, list[float]] = {kind: [] for kind in kinds}
        for number in range(ground.scale.drains if latency < 100 else 1):
            say(f"drain: {latency} ms, round {number + 1}")
            for kind in kinds:
                with did_optimizer(latency / 1000) as url:
                    if kind in sites:
                        rate = _drain(sites[kind], url, until, backlog)
                    else:
                        rate = _loop(ground, kind, url, backlog if latency == 0 else max(10, 10 * backlog // (10 + 5 * latency)))
                measured[kind].append(rate)
        rates[f"{latency}_ms"] = {kind: median(values) for kind, values in measured.items()}
    return _figures(rates, backlog), rates


def _drain(site: Site, url: str, until: int, backlog: int) -> float:
    """Give the rate of the whole process, from its start to its end."""
    site.api_url = url
    site.configure()
    return backlog / drain(site, until - 3600, backlog).seconds


def _loop(ground: Ground, kind: str, url: str, calls: int) -> float:
    command = [sys.executable, "-m", "bench.post_loop", kind, url, API_KEY, str(calls)]
    return calls / float(run(ground.folder / "drain_8", command).output)


def _figures(rates: dict[str, dict[str, float]], backlog: int) -> list[Figure]:
    figures = []
    for concurrency, at_least in ((8, 0.93), (32, 0.8)):
        figures.append(
            ratio(
                f"drain_20_ms_{concurrency}",
                f"draining {backlog:,} calls at 20 ms, {concurrency} connections, against what the latency allows",
                rates["20_ms"][f"vicisync_{concurrency}"],
                concurrency * 50,
                "/s",
                at_least=at_least,
            )
        )
    for kind, words, at_least in (("session", "a bare Session.post loop", 1.2), ("post", "a requests.post loop", None)):
        figures.append(
            ratio(
                f"drain_0_ms_against_{kind}",
                f"draining {backlog:,} calls at 0 ms, against {words}",
                rates["0_ms"]["vicisync_8"],
                rates["0_ms"][kind],
                "/s",
                at_least=at_least,
            )
        )
    return figures
