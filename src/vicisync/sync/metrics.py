"""The last run as Prometheus metrics, for node_exporter's textfile collector: the only user of prometheus_client."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vicisync.state.files import replace_file
from vicisync.state.last_run import LastRun


def write_metrics(path: Path, last_run: LastRun) -> None:
    """Write the metrics whole and rename them into place; raise OSError.

    They can be read by everyone, as node_exporter has an account of its own. Where that account owns the folder, it
    cannot have root write somewhere else: `prometheus_client.write_to_textfile` would follow a link that it planted.
    """
    registry = CollectorRegistry()
    registry.register(_Families(last_run))
    os.close(replace_file(path, generate_latest(registry), mode=0o644))


class _Families(Collector):
    def __init__(self, last_run: LastRun) -> None:
        self._last_run = last_run

    def collect(self) -> Iterator[Metric]:
        last = self._last_run
        for name, what, value in (
            (
                "last_success_timestamp_seconds",
                "Epoch at which a run last ended well; 0: never",
                last.last_success or 0,
            ),
            ("last_run_timestamp_seconds", "Epoch at which the last run ended", last.ended),
            ("last_run_exit_code", "Exit code of the last run", last.exit_code),
            ("lag_seconds", "By how much the oldest call that could go is late", last.lag),
            ("watched", "Calls that wait for their end, their disposition or another try", last.watched),
            ("run_seconds", "How long the last run took", last.seconds),
            ("poll_seconds", "How long the database took for it", last.poll_seconds),
        ):
            yield GaugeMetricFamily(f"vicisync_{name}", what, value)
        for name, what, value in (
            ("delivered", "Calls delivered", last.delivered_total),
            ("duplicates", "Of those, known to the API already", last.duplicates_total),
            ("failed", "Tries of a run that did not get a call through", last.failed_total),
            ("rejected", "Calls put into the rejected file", last.rejected_total),
        ):
            yield CounterMetricFamily(f"vicisync_{name}", what, value)
