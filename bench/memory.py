"""How much memory a drain takes at its peak, for a long backlog and a short one."""

from bench.drain import FINAL_BY
from bench.figure import Figure, Outcome
from bench.ground import CALLS_AN_HOUR, LOOK_BACK, Ground, drain
from bench.process import did_optimizer


def measure(ground: Ground) -> Outcome:
    """Measure one drain of each length."""
    until = ground.now - FINAL_BY
    peaks = {}
    for calls in (ground.scale.little, ground.scale.much):
        site = ground.site(f"memory_{calls}", calls, until)
        ground.say(f"memory: draining {calls:,} calls")
        with did_optimizer(latency=0.0) as url:
            ended_after = until - calls * 3600 // CALLS_AN_HOUR - LOOK_BACK
            peaks[calls] = drain(site, url, ended_after, calls).usage.peak / 1024**2
    little, much = peaks.values()
    what = f"peak memory draining {ground.scale.much:,} calls"
    return Outcome(
        [
            Figure("memory_growth", f"{what} against {ground.scale.little:,}", much, "MiB", little, at_most=1.25),
            Figure("memory_peak", what, much, "MiB", at_most=60, is_ratio=False),
        ],
        {"peak_mib": {str(calls): peak for calls, peak in peaks.items()}},
    )
