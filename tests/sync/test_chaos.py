"""Twelve seconds of chaos with the real command; ``make chaos`` is the long form."""

from pathlib import Path

import pytest

from rehearsal.chaos import chaos

pytestmark = pytest.mark.slow


def test_after_kills_faults_and_a_restart_the_books_balance(tmp_path: Path) -> None:
    outcome = chaos(tmp_path, seconds=12, seed=7)
    assert outcome.balanced, f"{outcome}\n{outcome.verdict}"
    # Chaos in which nothing went wrong would prove nothing.
    assert outcome.calls > 200
    assert outcome.kills >= outcome.runs // 3
    assert outcome.lost_answers
