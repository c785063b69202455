"""What a run tells those who watch it from outside: its result in a file, metrics for Prometheus, pings."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from vicisync.errors import SOME_REJECTED, VicisyncError
from vicisync.report import Report
from vicisync.settings.settings import Settings
from vicisync.state.files import replace_file
from vicisync.state.last_run import LastRun, last_run_file, read_last_run, write_last_run

_COUNTED = ("delivered", "duplicates", "failed", "rejected", "perhaps_twice")
PING_TIMEOUT = 5.0  # seconds, whatever happens to a ping: the calls wait for it, and so does the next run


class Monitoring:
    """Around a run that holds the lock: tells the outside that it starts and how it ended, or warns that it cannot."""

    def __init__(self, settings: Settings, report: Report) -> None:
        self._settings = settings
        self._report = report
        self._began = time.monotonic()

    def __enter__(self) -> None:
        self._before = read_last_run(last_run_file(self._settings.checkpoint_file))
        self._start_refused = False
        self._ping("start")

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        tally = self._report.tally
        exit_code = SOME_REJECTED if tally.rejected else 0
        if error:
            exit_code = error.exit_code if isinstance(error, VicisyncError) else 1
        now = int(time.time())
        path, before = last_run_file(self._settings.checkpoint_file), self._before
        counts = {
            name: getattr(tally, name) for name in ("delivered", "duplicates", "failed", "rejected", "perhaps_twice")
        }
        last_run = LastRun(
            ended=now,
            exit_code=exit_code,
            error=str(error) if isinstance(error, VicisyncError) else None,
            seconds=round(time.monotonic() - self._began, 3),
            poll_seconds=round(tally.poll_seconds, 3),
            lag=tally.lag,
            watched=tally.waiting,
            last_success=now if exit_code == 0 else getattr(before, "last_success", None),
            start_refused=self._start_refused,
            **counts,
            **{f"{name}_total": count + getattr(before, f"{name}_total", 0) for name, count in counts.items()},
        )
        self._write("the result of this run to", write_last_run, path, last_run)
        if self._settings.metrics_file:
            self._write("metrics_file", write_metrics, self._settings.metrics_file, last_run)
        self._ping(str(exit_code) if exit_code else "")

    def _write(self, what: str, write: Callable[[Path, LastRun], None], path: Path, last_run: LastRun) -> None:
        try:
            write(path, last_run)
        except OSError as failure:
            self._report.warning(f"Cannot write {what} {path}: {failure.strerror}")

    def _ping(self, suffix: str) -> None:
        if not self._settings.ping_url or not (failure := ping(self._settings.ping_url, suffix)):
            return
        if suffix == "start" and failure.startswith("answered 4"):  # Uptime Kuma and others know the beat alone
            self._start_refused = True
            if not getattr(self._before, "start_refused", False):
                self._report.warning(f"The service behind ping_url {failure} to /start; it is told of success alone")
        elif not (suffix and self._start_refused):
            self._report.warning(f"The service behind ping_url {failure}; it was not told of this run")


_METRICS = (
    ("last_success_timestamp_seconds", "last_success", "Epoch at which a run last ended well; 0: never"),
    ("last_run_timestamp_seconds", "ended", "Epoch at which the last run ended"),
    ("last_run_exit_code", "exit_code", "Exit code of the last run"),
    ("lag_seconds", "lag", "How long the oldest deliverable call has been waiting"),
    ("watched", "watched", "Calls that wait for their end, their disposition or another try"),
    ("run_seconds", "seconds", "How long the last run took"),
    ("poll_seconds", "poll_seconds", "How long the database took for it"),
    ("delivered_total", "delivered_total", "Calls delivered"),
    ("duplicates_total", "duplicates_total", "Of those, known to the API already"),
    ("failed_total", "failed_total", "Tries of a run that did not get a call through"),
    ("rejected_total", "rejected_total", "Calls put into the rejected file"),
    (
        "perhaps_twice_total",
        "perhaps_twice_total",
        "Calls sent again after a lost answer, perhaps stored twice",
    ),
)
"""Each metric behind ``vicisync_``, the field of `LastRun` that it shows, and what it is about."""


def write_metrics(path: Path, last_run: LastRun) -> None:
    """Write a run's metrics for node_exporter's textfile collector, which has an account of its own; raise OSError."""
    text = ""
    for name, field, about in _METRICS:
        kind = "counter" if name.endswith("_total") else "gauge"
        value = getattr(last_run, field) or 0
        text += f"# HELP vicisync_{name} {about}\n# TYPE vicisync_{name} {kind}\nvicisync_{name} {value}\n"
    os.close(replace_file(path, text.encode("ascii"), mode=0o644))


def ping(url: str, suffix: str = "") -> str | None:
    """Tell a monitoring service, in the way of healthchecks.io, that a run ``start``s, its exit code, or "": success.

    Returns what kept the service from taking it, without the URL, which is a secret; None where nothing did.
    """
    import requests  # takes longer to import than an idle run without a ping_url needs

    parts = urlsplit(url)
    whole = urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{suffix}" if suffix else parts.path))
    failures: list[str | None] = [f"did not answer within {PING_TIMEOUT:g} s"]

    def get() -> None:
        try:
            with requests.get(whole, timeout=PING_TIMEOUT, stream=True, allow_redirects=False) as response:
                failures.append(None if response.status_code < 300 else f"answered {response.status_code}")
        except requests.exceptions.SSLError:
            failures.append("has a certificate that is not to be trusted")
        except requests.RequestException as error:  # its text holds the URL
            failures.append(failures[0] if isinstance(error, requests.Timeout) else "cannot be reached")

    # A thread, since requests' timeout starts again with every byte that comes, and does not count the look-up of the
    # name: a service that hangs in either would hold up the calls.
    thread = threading.Thread(target=get, daemon=True)
    thread.start()
    thread.join(PING_TIMEOUT)
    return failures[-1]
