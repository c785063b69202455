"""The benchmark, in its smallest form."""

import json
from pathlib import Path

import pytest

from bench.__main__ import main

pytestmark = pytest.mark.slow


def test_the_smallest_benchmark_prints_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["--tiny", "--out", str(tmp_path)])
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert {"machine", "figures", "poll", "statement", "drain", "idle", "memory"} == set(results)
    assert [] == [figure for figure in results["figures"].values() if not figure["value"] > 0]
    printed = capsys.readouterr().out
    assert [] == [figure["what"] for figure in results["figures"].values() if figure["what"] not in printed]
