"""What a run leaves behind for those who watch it from outside: word of itself, metrics, a ping."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from types import TracebackType

from vicisync.errors import SOME_REJECTED, VicisyncError
from vicisync.report import Report, Tally
from vicisync.settings.settings import Settings
from vicisync.state.last_run import LastRun, last_run_file, read_last_run, write_last_run

GETS_METRICS = f"{shlex.quote(sys.executable)} -m pip install 'vicisync[metrics]'"
"""What to type for prometheus_client, beside the vicisync at work."""


class Monitoring:
    """Around a run that holds the lock: tells the outside that it starts, and how it ended.

    What cannot be told is a warning, and no reason for a run to fail.
    """

    def __init__(self, settings: Settings, report: Report, tally: Tally) -> None:
        self._settings = settings
        self._report = report
        self._tally = tally
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
            exit_code = SOME_REJECTED if self._tally.rejected else 0
        last_run = self._leave_word(exit_code, str(error) if isinstance(error, VicisyncError) else None)
        if self._settings.metrics_file:
            self._write_metrics(self._settings.metrics_file, last_run)
        self._ping(str(exit_code) if exit_code else "")

    def _leave_word(self, exit_code: int, error: str | None) -> LastRun:
        path = last_run_file(self._settings.checkpoint_file)
        before = read_last_run(path)
        tally = self._tally
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
            self._report.warning(f"Cannot leave word of this run in {path}: {failure.strerror}")
        return last_run

    def _write_metrics(self, path: Path, last_run: LastRun) -> None:
        try:
            from vicisync.sync.metrics import write_metrics  # an extra, which most do without

            write_metrics(path, last_run)
        except ModuleNotFoundError:
            self._report.warning(f"metrics_file needs prometheus_client: {GETS_METRICS}")
        except OSError as failure:
            self._report.warning(f"Cannot write metrics_file {path}: {failure.strerror}")

    def _ping(self, suffix: str) -> None:
        if self._settings.ping_url:
            from vicisync.sync.ping import PingFailed, ping  # requests takes longer to import than an idle run needs

            try:
                ping(self._settings.ping_url, suffix)
            except PingFailed as failure:
                self._report.warning(f"The service behind ping_url {failure}; it was not told of this run")
