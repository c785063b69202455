"""The result that a run leaves: read back the same, or not at all."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicisync.state.last_run import LastRun, last_run_file, read_last_run, write_last_run

LAST_RUN = LastRun(
    ended=1795402861, exit_code=0, error=None, seconds=1.25, poll_seconds=0.004, lag=3, delivered=2, duplicates=1,
    failed=1, rejected=0, watched=8, last_success=1795402861, delivered_total=200, duplicates_total=2, failed_total=11,
    rejected_total=1,
    perhaps_twice=1, perhaps_twice_total=4,
)  # fmt: skip


def test_it_lies_beside_the_checkpoint() -> None:
    assert Path("/var/lib/vicisync/checkpoint.last_run") == last_run_file(Path("/var/lib/vicisync/checkpoint"))


@pytest.mark.parametrize(
    "changed", [{}, {"error": "Stopped by SIGTERM", "exit_code": 143}, {"last_success": None}, {"seconds": 2}]
)
def test_what_is_written_is_read_back(changed: dict[str, object], tmp_path: Path) -> None:
    last_run = replace(LAST_RUN, **changed)  # type: ignore[arg-type]
    write_last_run(tmp_path / "last_run", last_run)
    assert last_run == read_last_run(tmp_path / "last_run")


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    write_last_run(tmp_path / "last_run", LAST_RUN)
    assert 0o600 == (tmp_path / "last_run").stat().st_mode & 0o777


def test_before_the_first_run_there_is_none(tmp_path: Path) -> None:
    assert read_last_run(tmp_path / "last_run") is None


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"ended": "yesterday"}, id="another type"),
        pytest.param({"exit_code": True}, id="a truth for a number"),
        pytest.param({"error": 5}, id="a number for a text"),
        pytest.param({"lag": None}, id="nothing where something is needed"),
        pytest.param({"seconds": float("nan")}, id="no number"),
        pytest.param({"ended": 10**30}, id="a time beyond all calendars"),
        pytest.param({"last_success": [1]}, id="a list"),
    ],
)
def test_a_file_with_another_value_says_nothing(change: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "last_run").write_text(json.dumps({**asdict(LAST_RUN), **change}))
    assert read_last_run(tmp_path / "last_run") is None


def test_a_field_of_a_later_version_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "last_run").write_text(json.dumps({**asdict(LAST_RUN), "moon": "full"}))
    assert LAST_RUN == read_last_run(tmp_path / "last_run")


@given(st.binary(max_size=200))
def test_any_bytes_say_nothing(data: bytes) -> None:
    path = Path("/dev/shm") / "vicisync-test-last-run"  # noqa: S108 -- each example writes it anew
    path.write_bytes(data)
    try:
        assert read_last_run(path) is None
    finally:
        path.unlink()
