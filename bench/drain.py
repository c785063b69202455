"""How fast a backlog drains.

Beside it: what the API's latency allows, what bare sockets make of that on this machine, and the loops that one would
write at first.
"""

import sys
from statistics import median

from bench.figure import Figure, Outcome
from bench.ground import LOOK_BACK, Ground, drain
from bench.process import API_KEY, did_optimizer, run
from rehearsal.site import Site

CONCURRENCIES = (8, 32)
LOOPS = ("session", "post")

FINAL_BY = 300
"""Seconds after the last call's end, by when each has its final disposition."""

LOOP_SECONDS = 10
"""What a loop over a slow API is given; its rate does not change."""


def measure(ground: Ground) -> Outcome:
    """Measure every way to drain, at every latency, in turns, in calls a second; no start of Python counts."""
    until = ground.now - FINAL_BY
    sites = {
        number: ground.site(f"drain_{number}", ground.scale.backlog, until, concurrency=str(number))
        for number in CONCURRENCIES
    }
    rates: dict[str, dict[str, float]] = {}
    for latency in ground.scale.latencies:
        rounds = []
        for number in range(ground.scale.drains):
            ground.say(f"drain: {latency} ms, round {number + 1} of {ground.scale.drains}")
            rounds.append(_one_round(ground, sites, latency, until))
        rates[f"{latency}_ms"] = {kind: median(one[kind] for one in rounds) for kind in rounds[0]}
    return Outcome(_figures(rates, ground.scale.backlog), {"calls_a_second": rates})


def _one_round(ground: Ground, sites: dict[int, Site], latency: int, until: int) -> dict[str, float]:
    backlog = ground.scale.backlog
    calls = backlog if latency < 100 else backlog // 5
    rates = {}
    for number, site in sites.items():
        with did_optimizer(latency / 1000) as url:
            rates[f"vicisync_{number}"] = calls / drain(site, url, until - LOOK_BACK, calls).seconds
        rates[f"sockets_{number}"] = _loop(ground, "sockets", latency, calls, number)
    for kind in LOOPS:
        fewer = calls if latency == 0 else min(calls, LOOP_SECONDS * 1000 // latency)
        rates[kind] = _loop(ground, kind, latency, fewer, 1)
    return rates


def _loop(ground: Ground, kind: str, latency: int, calls: int, connections: int) -> float:
    with did_optimizer(latency / 1000) as url:
        command = [sys.executable, "-m", "bench.post_loop", kind, url, API_KEY, str(calls), str(connections)]
        return calls / float(run(ground.folder / f"drain_{CONCURRENCIES[0]}", command).output)


def _figures(rates: dict[str, dict[str, float]], backlog: int) -> list[Figure]:
    figures = []
    for number, at_least in zip(CONCURRENCIES, (0.93, 0.8), strict=True):
        what = f"draining {backlog:,} calls at 20 ms, {number} connections"
        ours = rates["20_ms"][f"vicisync_{number}"]
        allowed = number * 1000 / 20
        figures += [
            Figure(
                f"drain_20_ms_{number}",
                f"{what}, against what the latency allows",
                ours,
                "/s",
                allowed,
                at_least=at_least,
            ),
            Figure(
                f"drain_20_ms_{number}_against_sockets",
                f"{what}, against bare sockets",
                ours,
                "/s",
                rates["20_ms"][f"sockets_{number}"],
            ),
        ]
    for kind, words, lowest in (("session", "a bare Session.post loop", 1.2), ("post", "a requests.post loop", None)):
        figures.append(
            Figure(
                f"drain_0_ms_against_{kind}",
                f"draining {backlog:,} calls at 0 ms, against {words}",
                rates["0_ms"]["vicisync_8"],
                "/s",
                rates["0_ms"][kind],
                at_least=lowest,
            )
        )
    return figures
