"""The metrics are what Prometheus reads, whole at any moment."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.state.test_last_run import LAST_RUN
from vicisync.sync.metrics import write_metrics


def values(path: Path) -> dict[str, float]:
    """Every sample of a file, by its name."""
    families = text_string_to_metric_families(path.read_text())
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_prometheus_reads_each_figure_of_the_last_run(tmp_path: Path) -> None:
    file = tmp_path / "vicisync.prom"
    write_metrics(file, LAST_RUN)
    assert {
        "vicisync_last_success_timestamp_seconds": 1795402861,
        "vicisync_last_run_timestamp_seconds": 1795402861,
        "vicisync_last_run_exit_code": 0,
        "vicisync_lag_seconds": 3,
        "vicisync_watched": 8,
        "vicisync_run_seconds": 1.25,
        "vicisync_poll_seconds": 0.004,
        "vicisync_delivered_total": 200,
        "vicisync_duplicates_total": 2,
        "vicisync_failed_total": 11,
        "vicisync_rejected_total": 1,
    } == values(file)


def test_before_the_first_success_its_time_is_0(tmp_path: Path) -> None:
    file = tmp_path / "vicisync.prom"
    write_metrics(file, replace(LAST_RUN, last_success=None))
    assert 0 == values(file)["vicisync_last_success_timestamp_seconds"]


def test_node_exporter_may_read_the_file_and_finds_nothing_half_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "vicisync.prom"
    file.write_text("from before")
    write_metrics(file, LAST_RUN)
    assert 0o644 == stat.S_IMODE(file.stat().st_mode)
    assert [file] == list(tmp_path.iterdir())


def test_a_folder_that_is_missing_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_metrics(tmp_path / "missing" / "vicisync.prom", LAST_RUN)
