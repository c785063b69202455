"""What a run tells those who watch it from outside: its result in a file, metrics for Prometheus, pings."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

from vicisync.errors import SOME_REJECTED, VicisyncError
from vicisync.report import Report
from vicisync.settings.settings import Settings
from vicisync.state.files import replace_file
from vicisync.state.last_run import LastRun, last_run_file, read_last_run, write_last_run

PING_TIMEOUT = 5.0
"""Seconds that a ping may take, whatever happens to it: the calls wait for it, and so does the next run."""


class Monitoring:
    """Around a run that holds the lock: tells the outside that it starts, and how it ended.

    What cannot be told is a warning, and no reason for a run to fail.
    """

    def __init__(self, settings: Settings, report: Report) -> None:
        self._settings = settings
        self._report = report
        self._began = time.monotonic()

    def __enter__(self) -> Monitoring:
        self._ping("start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, VicisyncError):
            exit_code = error.exit_code
        elif error:
            exit_code = 1
        else:
            exit_code = SOME_REJECTED if self._report.tally.rejected else 0
        last_run = self._save_result(exit_code, str(error) if isinstance(error, VicisyncError) else None)
        if path := self._settings.metrics_file:
            try:
                write_metrics(path, last_run)
            except OSError as failure:
                self._report.warning(f"Cannot write metrics_file {path}: {failure.strerror}")
        self._ping(str(exit_code) if exit_code else "")

    def _save_result(self, exit_code: int, error: str | None) -> LastRun:
        path = last_run_file(self._settings.checkpoint_file)
        before = read_last_run(path)
        tally = self._report.tally
        now = int(time.time())
        last_run = LastRun(
            ended=now,
            exit_code=exit_code,
            error=error,
            seconds=round(time.monotonic() - self._began, 3),
            poll_seconds=round(tally.poll_seconds, 3),
            lag=tally.lag,
            delivered=tally.delivered,
            duplicates=tally.duplicates,
            failed=tally.failed,
            rejected=tally.rejected,
            watched=tally.waiting,
            last_success=now if exit_code == 0 else before.last_success if before else None,
            delivered_total=tally.delivered + (before.delivered_total if before else 0),
            duplicates_total=tally.duplicates + (before.duplicates_total if before else 0),
            failed_total=tally.failed + (before.failed_total if before else 0),
            rejected_total=tally.rejected + (before.rejected_total if before else 0),
        )
        try:
            write_last_run(path, last_run)
        except OSError as failure:
            self._report.warning(f"Cannot write the result of this run to {path}: {failure.strerror}")
        return last_run

    def _ping(self, suffix: str) -> None:
        if self._settings.ping_url and (failure := ping(self._settings.ping_url, suffix)):
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
)
"""Each metric behind ``vicisync_``, the field of `LastRun` that it shows, and what it is about."""


def write_metrics(path: Path, last_run: LastRun) -> None:
    """Write a run's metrics for node_exporter's textfile collector, whole, and rename them into place; raise OSError.

    They can be read by everyone, as node_exporter has an account of its own. Where that account owns the folder, it
    cannot have root write somewhere else by a link that it planted.
    """
    lines = []
    for name, field, about in _METRICS:
        kind = "counter" if name.endswith("_total") else "gauge"
        value = getattr(last_run, field) or 0
        lines += [f"# HELP vicisync_{name} {about}", f"# TYPE vicisync_{name} {kind}", f"vicisync_{name} {value}"]
    os.close(replace_file(path, "\n".join([*lines, ""]).encode("ascii"), mode=0o644))


def ping(url: str, suffix: str = "") -> str | None:
    """Tell a monitoring service, in the way of healthchecks.io, that a run ``start``s, its exit code, or "": success.

    Returns what kept the service from taking it, without the URL, which is a secret; None where nothing did.
    """
    import requests  # takes longer to import than an idle run without a ping_url needs

    parts = urlsplit(url)
    whole = urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{suffix}" if suffix else parts.path))
    no_answer = f"did not answer within {PING_TIMEOUT:g} s"

    def get() -> str | None:
        try:
            with requests.get(whole, timeout=PING_TIMEOUT, stream=True, allow_redirects=False) as response:
                return None if response.status_code < 300 else f"answered {response.status_code}"
        except requests.exceptions.SSLError:
            return "has a certificate that is not to be trusted"
        except requests.Timeout:
            return no_answer
        except requests.RequestException:  # its text holds the URL
            return "cannot be reached"

    failures: list[str | None] = [no_answer]
    # A thread, since requests' timeout starts again with every byte that comes, and does not count the look-up of the
    # name: a service that hangs in either would hold up the calls.
    thread = threading.Thread(target=lambda: failures.append(get()), daemon=True)
    thread.start()
    thread.join(PING_TIMEOUT)
    return failures[-1]
