"""What a run tells those who watch it from outside: its result in a file, metrics for Prometheus, pings, alerts."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from vicisync.calls.call import without_numbers
from vicisync.calls.times import ago
from vicisync.errors import SOME_REJECTED, Stopped, TableLocked, VicisyncError
from vicisync.report import Report
from vicisync.settings.settings import SETTINGS, Settings
from vicisync.state.files import replace_file
from vicisync.state.last_run import LastRun, last_run_file, read_last_run, write_last_run

_COUNTED = ("delivered", "duplicates", "failed", "rejected", "perhaps_twice")
PING_TIMEOUT = 5.0  # seconds, whatever happens to a ping: the calls wait for it, and so does the next run
ALERT_TIMEOUT = 10.0  # likewise for alert_command, at the end of a run
FAILED_RUNS_TO_ALERT = 3  # in a row: a restart of the database, or of the API, wakes nobody
LAG_TO_ALERT = 900  # seconds
_SECRET = {each.variable for each in SETTINGS if not each.shown}  # of the environment


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
        exit_code: int = getattr(error, "exit_code", 1) if error else SOME_REJECTED if tally.rejected else 0
        now = int(time.time())
        path, before = last_run_file(self._settings.checkpoint_file), self._before
        counts = {name: getattr(tally, name) for name in _COUNTED}
        failed_before: int = getattr(before, "failed_in_a_row", 0)
        is_nobodys_fault = isinstance(error, Stopped | TableLocked)  # a lock that lasts makes calls late
        last_run = LastRun(
            ended=now,
            exit_code=exit_code,
            error=str(error) if isinstance(error, VicisyncError) else None,
            seconds=round(time.monotonic() - self._began, 3),
            poll_seconds=round(tally.poll_seconds, 3),
            lag=tally.lag,
            watched=tally.waiting,
            last_success=now if exit_code == 0 else getattr(before, "last_success", None),
            failed_in_a_row=failed_before if is_nobodys_fault else failed_before + 1 if exit_code else 0,
            alerted=getattr(before, "alerted", False),
            start_refused=self._start_refused,
            **counts,
            **{f"{name}_total": count + getattr(before, f"{name}_total", 0) for name, count in counts.items()},
        )
        last_run = replace(last_run, alerted=self._alert(last_run))
        self._write("the result of this run to", write_last_run, path, last_run)
        if self._settings.metrics_file:
            self._write("metrics_file", write_metrics, self._settings.metrics_file, last_run)
        self._ping(str(exit_code) if exit_code else "", without_numbers(last_run.error or ""))

    def _write(self, what: str, write: Callable[[Path, LastRun], None], path: Path, last_run: LastRun) -> None:
        try:
            write(path, last_run)
        except OSError as failure:
            self._report.warning(f"Cannot write {what} {path}: {failure.strerror}")

    def _alert(self, last_run: LastRun) -> bool:
        """Tell alert_command where runs begin to fail, or are well again; return whether an alert is out."""
        command, is_out, reason = self._settings.alert_command, last_run.alerted, why_alert(last_run)
        if not command:
            return False
        is_well = is_out and not reason and not last_run.exit_code
        if not is_well and (is_out or not reason):
            return is_out
        state = "well" if is_well else "failing"
        if failure := alert(command, state, reason or "Runs end well again, and no call is late"):
            self._report.warning(f"alert_command {failure}; that runs are {state} is told again by the next one")
            return is_out
        return not is_well

    def _ping(self, suffix: str, body: str = "") -> None:
        if not self._settings.ping_url or not (failure := ping(self._settings.ping_url, suffix, body)):
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
    ("perhaps_twice_total", "perhaps_twice_total", "Calls sent again after a lost answer, perhaps stored twice"),
)
"""Each metric behind ``vicisync_``, the field of `LastRun` that it shows, and what it is about."""


def write_metrics(path: Path, last_run: LastRun) -> None:
    """Write a run's metrics for node_exporter's textfile collector, which has an account of its own; raise OSError."""
    text = ""
    for name, field, about in _METRICS:
        kind, value = "counter" if name.endswith("_total") else "gauge", getattr(last_run, field) or 0
        text += f"# HELP vicisync_{name} {about}\n# TYPE vicisync_{name} {kind}\nvicisync_{name} {value}\n"
    os.close(replace_file(path, text.encode("ascii"), mode=0o644))


def why_alert(last_run: LastRun) -> str:
    """Return why somebody has to be told of this run and those before; "" where nobody has to."""
    if last_run.failed_in_a_row >= FAILED_RUNS_TO_ALERT:
        why = last_run.error or "calls were rejected"
        return f"{last_run.failed_in_a_row} runs in a row have failed; the last: {why}"
    return f"Calls are {ago(last_run.lag)} late" if last_run.lag > LAG_TO_ALERT else ""


def alert(command: str, state: str, reason: str) -> str | None:
    """Run a command of the shell's, which is told by its environment and on stdin that runs are "failing" or "well".

    Returns what kept it from ending well; None where nothing did.
    """
    reason = without_numbers(reason)
    kept = {name: value for name, value in os.environ.items() if name not in _SECRET}
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = {**kept, "VICISYNC_ALERT": state, "VICISYNC_REASON": reason}
    try:
        # A shell's, since that is what is asked for, and only of a file that root alone can write to.
        with subprocess.Popen(command, shell=True, start_new_session=True, env=environment, **options) as process:  # noqa: S602
            try:
                process.communicate(f"{reason}\n".encode(errors="replace"), ALERT_TIMEOUT)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # with its children
                return f"did not end within {ALERT_TIMEOUT:g} s"
    except OSError as error:
        return f"cannot be run: {error.strerror}"
    return f"ended with exit code {process.returncode}" if process.returncode else None


def ping(url: str, suffix: str = "", body: str = "") -> str | None:
    """Tell a monitoring service, in the way of healthchecks.io, that a run ``start``s, its exit code, or "": success.

    A ``body``, such as the error, is POSTed. Returns what kept the service from taking it, without the URL, which is a
    secret; None where nothing did.
    """
    import requests  # takes longer to import than an idle run without a ping_url needs

    parts = urlsplit(url)
    whole = urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{suffix}" if suffix else parts.path))
    failures: list[str | None] = [f"did not answer within {PING_TIMEOUT:g} s"]

    def send() -> None:
        method, data, wait = "POST" if body else "GET", body.encode(errors="replace"), PING_TIMEOUT
        try:
            with requests.request(method, whole, data=data, timeout=wait, stream=True, allow_redirects=False) as answer:
                failures.append(None if answer.status_code < 300 else f"answered {answer.status_code}")
        except requests.exceptions.SSLError:
            failures.append("has a certificate that is not to be trusted")
        except requests.RequestException as error:  # its text holds the URL
            failures.append(failures[0] if isinstance(error, requests.Timeout) else "cannot be reached")

    # A thread, since requests' timeout starts again with every byte that comes, and does not count the look-up of the
    # name: a service that hangs in either would hold up the calls.
    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    thread.join(PING_TIMEOUT)
    return failures[-1]
