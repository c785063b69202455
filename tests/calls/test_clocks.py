"""Which clock is believed, by what was seen and by the other one."""

import pytest

from vicisync.calls.clocks import Verdict, has_walked, verdict

SEEN = 1729771200


@pytest.mark.parametrize(
    ("found", "database", "machine"),
    [
        pytest.param(Verdict.BELIEVED, 0, 0, id="all agree"),
        pytest.param(Verdict.BELIEVED, -120, 9, id="two minutes are tolerated"),
        pytest.param(Verdict.DATABASE_IS_BEHIND, -121, 0, id="a second more"),
        pytest.param(Verdict.DATABASE_IS_BEHIND, -SEEN, -120, id="1970"),
        pytest.param(Verdict.TIME_IS_AHEAD, -121, -121, id="ahead of both"),
        pytest.param(Verdict.TIME_IS_AHEAD, -25200, -25300, id="written by hand in another zone"),
        pytest.param(Verdict.BELIEVED, 7200, 0, id="the database's clock is ahead"),
        pytest.param(Verdict.BELIEVED, 0, -90000, id="this machine's alone is behind"),
    ],
)
def test_a_time_is_held_beside_both_clocks(found: Verdict, database: int, machine: int) -> None:
    assert found is verdict(SEEN, SEEN + database, SEEN + machine)


@pytest.mark.parametrize(
    ("walks", "database", "machine"),
    [(True, 60, 60), (True, 7200, 7100), (False, 7200, 60), (False, 60, 7200), (True, 120, 0), (False, 121, 0)],
)
def test_a_clock_walks_where_it_goes_on_as_time_passes(walks: bool, database: int, machine: int) -> None:
    assert walks is has_walked((SEEN, SEEN - 9000), SEEN + database, SEEN - 9000 + machine)
