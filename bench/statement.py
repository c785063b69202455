"""The longest statement of a run, at three call rates, beside the Perl script's; what a dialer waits for at most."""

from statistics import median

from bench.figure import Figure, Outcome
from bench.ground import Ground
from bench.poll import SEED
from vicisync.calls.call import CallRow
from vicisync.settings.settings import load_settings
from vicisync.vicidial.call_log import CallLog

_PROFILED = "SET profiling_history_size = 100, profiling = 1"

AT_MOST = 5.0  # milliseconds for which a statement may hold the table, at any rate


def measure(ground: Ground) -> Outcome:
    """Read twenty minutes of calls as a run reads them, new and known, at each rate, in turns with the script."""
    figures = []
    for rate in ground.scale.rates:
        site = ground.site(f"rate_{rate}", max(rate, 100), ground.now, per_hour=rate)
        settings = load_settings(site.astguiclient_conf, site.dids_conf, {})
        ours, script = [], []
        for _ in range(ground.scale.polls):
            with CallLog(settings) as log:
                log.read(_PROFILED)
                _read_all(log, ground.now - 1200)
                ours.append(_longest(log))
            with CallLog(settings) as log:
                log.read(_PROFILED)
                log.read(SEED % ground.now)
                script.append(_longest(log))
        what = f"longest statement of a run, {rate:,} calls an hour (the script's beside it, on a table of one hour)"
        figures.append(
            Figure(f"statement_{rate}", what, median(ours), "ms", median(script), is_ratio=False, at_most=AT_MOST)
        )
    return Outcome(figures, {})


def _longest(log: CallLog) -> float:
    """Return the milliseconds of the longest statement on this connection, as the server counts them."""
    return max(float(seconds) for _, seconds, _ in log.read("SHOW PROFILES")) * 1000


def _read_all(log: CallLog, since: int) -> None:
    """Read what a poll reads, twice, then a batch whole, and all leads of some that are gone."""
    rows: list[CallRow] = [row for page in log.pages(since, lambda _: False) for row in page.rows]
    known = {row.uniqueid for row in rows}
    for page in log.pages(since, known.__contains__):
        if not page.is_last:
            log.count_after(page.last_second, 10_001)
            log.ahead(page)
    log.whole([row.uniqueid for row in rows[:500]])
    log.again({f"{row.uniqueid}x": row.lead_id for row in rows[:500]})
