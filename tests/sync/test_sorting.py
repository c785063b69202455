"""What a poll has seen is sorted by the row and by the live tables, as far as these can still mean the call."""

from io import StringIO
from pathlib import Path

import pytest

from tests.call_rows import NOON
from tests.conftest import make_settings
from vicisync.calls.call import CallRow
from vicisync.calls.readiness import LONGEST_HELD
from vicisync.report import Report
from vicisync.state.checkpoint import starting_at
from vicisync.state.store import Store
from vicisync.sync.sorting import Sorting

ENDED = CallRow("1.1", 7, NOON, NOON + 30, "SALE", "AUTO", "agent1")


@pytest.mark.parametrize(
    ("age", "can_go"),
    [
        pytest.param(LONGEST_HELD - 1, [], id="VICIdial may still write a disposition"),
        pytest.param(LONGEST_HELD, [ENDED], id="it writes none any more"),
    ],
)
def test_a_lead_before_an_agent_holds_its_call_for_four_hours_from_its_start(
    age: int, can_go: list[CallRow], tmp_path: Path
) -> None:
    settings = make_settings(tmp_path)
    store = Store(starting_at(NOON - 60, settings.give_up_after), None, settings.rejected_file)
    sorting = Sorting(settings, store, Report(StringIO()), NOON + age, lambda leads: leads)
    assert can_go == sorting.polled([ENDED])
