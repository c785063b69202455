"""New York's clocks change: call_date repeats an hour in autumn and lacks one in spring; no call is lost or doubled.

The night's calls, one a minute, end at once; every third comes into the table late, by up to 7 minutes.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.dialer import Dialer
from rehearsal.did_optimizer import DidOptimizer
from rehearsal.lives import Call, audit_of_missed, no_answer
from rehearsal.mariadb import MariaDB
from rehearsal.site import Site
from tests.conftest import pages_of, run_at, run_here
from vicisync.settings.settings import load_settings
from vicisync.vicidial.call_log import CallLog

AUTUMN = 1_793_512_800  # 2026-11-01 06:00 UTC: 02:00 EDT becomes 01:00 EST
SPRING = 1_772_953_200  # 2026-03-08 07:00 UTC: 02:00 EST becomes 03:00 EDT
CHANGES = [pytest.param(AUTUMN, id="autumn"), pytest.param(SPRING, id="spring")]

HOURS = 3600
LATE = (240, 330, 420)


@pytest.fixture(scope="module")
def new_york(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    with MariaDB(tmp_path_factory.mktemp("new_york"), time_zone="America/New_York") as server:
        yield server


@pytest.fixture
def site(tmp_path: Path, new_york: MariaDB, api: DidOptimizer) -> Iterator[Site]:
    """A VICIdial server in New York, set up and never run."""
    new_york.create_table("asterisk")
    yield Site.of(tmp_path / "server", new_york, "asterisk", api)
    new_york.set_clock(None)
    new_york.execute("DROP DATABASE asterisk")


@pytest.fixture
def dialer(site: Site) -> Iterator[Dialer]:
    dialer = Dialer(lambda: site.mariadb.connect(site.database))
    yield dialer
    dialer.close()


def plan_the_night(site: Site, dialer: Dialer, start: int, end: int) -> None:
    """From ``start`` on, before which no call is to be delivered."""
    site.checkpoint_file.parent.mkdir()
    site.checkpoint_file.write_text(f"{start - 1}\n")
    for number, at in enumerate(range(start, end, 60)):
        call = Call(at, number, lead_id=number)
        dialer.begin(audit_of_missed(call, late=LATE[number % 9 // 3]) if number % 3 == 0 else no_answer(call, ring=0))


def assert_all_arrived_once(dialer: Dialer, api: DidOptimizer) -> None:
    verdict = dialer.judge((post.payload["uniqueid"], post.payload["disposition"]) for post in api.posts)
    assert ([], [], [], []) == (verdict.lost, verdict.wrong, verdict.twice, verdict.unknown)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("every", [pytest.param(600, id="every 10 minutes"), pytest.param(1200, id="every 20 minutes")])
def test_the_night_s_runs_send_a_call_once(
    every: int, change: int, site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    start, end = change - 2 * HOURS, change + 3 * HOURS
    plan_the_night(site, dialer, start, end)
    for epoch in range(start + every - 150, end + 2 * every, every):
        dialer.play(epoch)
        run_at(site, epoch)
    assert_all_arrived_once(dialer, api)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("after", [pytest.param(1 * HOURS + 1500, id="hours later"), pytest.param(900, id="meanwhile")])
def test_a_backlog_over_the_change_that_is_cut_short_again_and_again_arrives_once(
    after: int, change: int, site: Site, dialer: Dialer, api: DidOptimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pages of seven calls, and 23 calls a run; the runs are a minute apart, so that time goes on as well."""
    pages_of(7, monkeypatch)
    start, end = change - 2 * HOURS, change + after
    plan_the_night(site, dialer, start, end)
    epoch = end
    for _ in range(len(dialer.lives) // 23 + 2):
        dialer.play(epoch)
        site.mariadb.set_clock(epoch)
        assert run_here(site, limit=23).error is None
        epoch += 60
    dialer.play(epoch + 600)
    run_at(site, epoch + 600)
    assert_all_arrived_once(dialer, api)


@pytest.mark.parametrize(
    ("second", "epoch"),
    [
        pytest.param("2026-11-01 00:59:59", AUTUMN - 3601, id="before autumn's hour"),
        pytest.param("2026-11-01 01:00:00", AUTUMN - 3600, id="its begin, for the first time"),
        pytest.param("2026-11-01 01:59:59", AUTUMN - 1, id="its end, for the first time"),
        pytest.param("2026-11-01 02:00:00", AUTUMN + 3600, id="after it"),
        pytest.param("2026-03-08 01:59:59", SPRING - 1, id="before spring's gap"),
        pytest.param("2026-03-08 03:00:00", SPRING, id="after it"),
        pytest.param("2026-07-04 12:00:00", 1_783_180_800, id="summer"),
    ],
)
def test_a_second_of_the_repeated_hour_is_taken_as_its_first(second: str, epoch: int, site: Site) -> None:
    with CallLog(load_settings(site.astguiclient_conf, site.dids_conf, {})) as log:
        assert epoch == log.epoch_of(second)


def test_two_calls_of_one_wall_clock_time_keep_their_own_starts(site: Site, dialer: Dialer) -> None:
    for start in (AUTUMN - 1800, AUTUMN + 1800):
        dialer.begin(no_answer(Call(start, 1), ring=0))
    dialer.play(AUTUMN + 3600)
    first, second = f"{AUTUMN - 1800}.1", f"{AUTUMN + 1800}.1"
    with CallLog(load_settings(site.astguiclient_conf, site.dids_conf, {})) as log:
        assert {first: AUTUMN - 1800, second: AUTUMN + 1800} == {
            row.uniqueid: row.start_epoch for row in log.again({first: 1, second: 1})[0]
        }
        assert ["2026-11-01 01:30:00"] * 2 == [call.call_date for call in log.whole([first, second])]
