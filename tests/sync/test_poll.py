"""The backlog is what a run would send, and how late that is; all on a real table."""

import pytest

from rehearsal.dialer import Dialer, fill
from rehearsal.did_optimizer import DidOptimizer
from rehearsal.lives import agent_call, browser_closed, new_call, no_answer
from rehearsal.site import Site
from tests.call_rows import NOON, insert, row
from tests.conftest import run_at, run_here
from tests.sync.conftest import at
from vicisync.settings.settings import load_settings
from vicisync.state.last_run import last_run_file, read_last_run
from vicisync.state.load import read_checkpoint
from vicisync.sync.outlook import Backlog, backlog
from vicisync.vicidial.call_log import CallLog
from vicisync.vicidial.pages import PAGE


def backlog_at(site: Site, epoch: int) -> Backlog:
    """What has not gone by an epoch, without a run."""
    site.mariadb.set_clock(epoch)
    settings = load_settings(site.astguiclient_conf, site.dids_conf, {})
    checkpoint = read_checkpoint(settings.checkpoint_file, settings.give_up_after)
    assert checkpoint
    with CallLog(settings) as call_log:
        return backlog(settings, call_log, checkpoint, epoch)


def test_what_is_left_out_is_none_be_it_watched_or_new(site: Site, dialer: Dialer) -> None:
    insert(site.mariadb, site.database, row(f"{NOON}.1", NOON, campaign_id="TEST", status="DISPO"))
    at(site, dialer, NOON + 60)
    site.configure(exclude_campaigns="TEST")
    insert(site.mariadb, site.database, row(f"{NOON}.2", NOON + 1, campaign_id="TEST"))
    assert (0, 0) == backlog_at(site, NOON + 1500)[:2]


def test_where_all_has_gone_there_is_none(site: Site, dialer: Dialer) -> None:
    dialer.begin(no_answer(new_call(NOON + 10)))
    at(site, dialer, NOON + 60)
    assert Backlog(0, 0, 0) == backlog_at(site, NOON + 100)


def test_a_call_that_no_run_has_seen_is_late_since_its_end(site: Site, dialer: Dialer) -> None:
    dialer.begin(no_answer(new_call(NOON + 10), ring=20))
    dialer.play(NOON + 60)
    assert Backlog(1, 0, 70) == backlog_at(site, NOON + 100)


def test_a_call_that_is_not_final_is_not_late(site: Site, dialer: Dialer) -> None:
    dialer.begin(agent_call(new_call(NOON + 10), talk=30, wrap_up=500))
    dialer.play(NOON + 200)
    assert Backlog(0, 0, 0) == backlog_at(site, NOON + 200)


def test_a_call_that_waited_in_vain_is_late_only_since_the_last_poll(site: Site, dialer: Dialer) -> None:
    """It could not go before, though it ended a quarter of an hour ago."""
    dialer.begin(browser_closed(new_call(NOON + 10), talk=30))
    at(site, dialer, NOON + 900)
    assert Backlog(1, 0, 150) == backlog_at(site, NOON + 1050)


def test_a_call_that_could_not_get_through_is_late_since_its_end(site: Site, dialer: Dialer, api: DidOptimizer) -> None:
    dialer.begin(no_answer(new_call(NOON + 10), ring=20))
    dialer.play(NOON + 60)
    site.mariadb.set_clock(NOON + 60)
    api.down()
    assert run_here(site).error is not None
    assert Backlog(1, 0, 3570) == backlog_at(site, NOON + 3600)


@pytest.mark.usefixtures("dialer")
def test_beyond_a_page_rows_are_only_counted(site: Site) -> None:
    with site.mariadb.connect(site.database) as connection:
        fill(connection, 3 * PAGE, NOON + 3000)
    found = backlog_at(site, NOON + 4000)
    assert PAGE // 2 < found.calls <= 2 * PAGE
    assert PAGE < found.rows_behind < 3 * PAGE
    assert found.lag > 1000


def test_a_site_whose_overlap_fills_pages_is_late_with_what_comes_after_them(site: Site, dialer: Dialer) -> None:
    with site.mariadb.connect(site.database) as connection:
        fill(connection, 5 * PAGE // 2, NOON + 450, per_hour=18 * PAGE)
    site.configure(max_runtime="0")
    run_at(site, NOON + 590)
    dialer.begin(no_answer(new_call(NOON + 600), ring=20))
    dialer.play(NOON + 640)
    assert Backlog(1, 0, 80) == backlog_at(site, NOON + 700)


@pytest.mark.parametrize(
    ("lag", "api_is_well"),
    [pytest.param(0, True, id="all got through"), pytest.param(150, False, id="it could not go before the last poll")],
)
def test_a_run_leaves_the_lag_of_what_had_to_wait_and_did_not_get_through(
    site: Site, dialer: Dialer, api: DidOptimizer, lag: int, api_is_well: bool
) -> None:
    dialer.begin(browser_closed(new_call(NOON + 10), talk=30))
    at(site, dialer, NOON + 900)
    site.mariadb.set_clock(NOON + 1050)
    if not api_is_well:
        api.down()
    run_here(site)
    last_run = read_last_run(last_run_file(site.checkpoint_file))
    assert last_run
    assert lag == last_run.lag


@pytest.mark.parametrize(("late", "lag"), [(400, 60), (1000, 1060)], ids=["as VICIdial writes some", "held back"])
def test_a_row_that_comes_late_is_late_since_the_poll_that_could_not_see_it(
    late: int, lag: int, site: Site, dialer: Dialer
) -> None:
    insert(site.mariadb, site.database, row(f"{NOON}.9", NOON, lead_id=9))
    at(site, dialer, NOON + late)
    insert(site.mariadb, site.database, row(f"{NOON}.1", NOON))
    assert Backlog(1, 0, lag) == backlog_at(site, NOON + late + 60)
