"""The benchmark, in its smallest form."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import picture
from bench.__main__ import main
from bench.figure import Figure, table

pytestmark = pytest.mark.slow


def test_the_smallest_benchmark_runs_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints a table, and writes results.json with stable keys and the picture."""
    assert 0 == main(["--tiny", "--out", str(tmp_path)])

    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert {"machine", "figures", "poll", "drain", "idle", "memory"} == set(results)
    assert {"cores", "processor", "python", "mariadb", "vicisync"} <= set(results["machine"])
    assert {
        "poll_100_against_seed",
        "poll_200_against_seed",
        "poll_200_against_100",
        "longest_update_100",
        "longest_update_200",
        "drain_20_ms_8",
        "drain_20_ms_8_against_sockets",
        "drain_20_ms_32",
        "drain_20_ms_32_against_sockets",
        "drain_0_ms_against_session",
        "drain_0_ms_against_post",
        "idle_cpu",
        "idle_cpu_closed",
        "memory_growth",
        "memory_peak",
    } == set(results["figures"])
    for figure in results["figures"].values():
        assert figure["value"] > 0
    printed = capsys.readouterr().out
    assert all(figure["what"] in printed for figure in results["figures"].values())
    assert "{http://www.w3.org/2000/svg}svg" == ElementTree.parse(tmp_path / "poll.svg").getroot().tag  # noqa: S314


def test_a_figure_is_held_against_its_target() -> None:
    """A ratio is judged as a ratio; what stands beside a plain figure is not part of it."""
    assert Figure("key", "what", 8.0, "ms", 10.0, at_most=0.9).reached
    assert not Figure("key", "what", 8.0, "/s", 10.0, at_least=0.93).reached
    assert Figure("key", "what", 8.0, "ms", 1000.0, is_ratio=False, at_most=15).reached
    assert Figure("key", "what", 8.0, "ms", 10.0).reached is None


def test_the_table_shows_value_target_and_origin() -> None:
    """Each line can be read alone."""
    figures = [Figure("key", "a poll", 12.5, "ms", 1000.0, at_most=1 / 60), Figure("key", "a wait", 7.0, "ms")]

    head, poll, wait = table(figures).splitlines()

    assert ["figure", "value", "target", "measured"] == head.split()
    assert "✓  a poll  0.0125 ×  ≤ 0.0167  12.5 ms against 1,000" == poll
    assert "·  a wait  7 ms" == wait


def test_the_picture_says_both_ends() -> None:
    """Both lines are labelled with what they come to on the largest table."""
    svg = picture.draw(seed={1_000: 0.5, 1_000_000: 140.0}, ours={1_000: 5.0, 1_000_000: 15.0})

    said = ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314
    assert "WHERE end_epoch > ?: 140 ms" in said
    assert "vicisync: 15 ms" in said
    assert "1,000,000" in said
