"""A kill and errors at some system calls of the installed command; ``make faults`` has them all."""

import shutil
from pathlib import Path

import pytest

from rehearsal.faults import FAULTS, faults

pytestmark = [
    pytest.mark.slow,
    pytest.mark.end_to_end,
    pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler: apt-get install gcc libc6-dev"),
]

EVERY = 47
"""Of a number of points that is divided by the number of faults, each kind has its share."""


def test_after_a_kill_or_an_error_at_a_system_call_the_books_balance(tmp_path: Path) -> None:
    outcome = faults(tmp_path, EVERY)
    assert [] == outcome.broken, outcome
    assert outcome.calls > 150
    assert len(FAULTS) == len(outcome.tried)
    assert sum(outcome.tried.values()) >= 0.9 * outcome.calls * len(FAULTS) / EVERY
