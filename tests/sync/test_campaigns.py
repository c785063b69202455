"""Campaigns that are left out: none of their calls is sent, watched or missing, and every other one is as ever."""

from collections.abc import Mapping

import pytest

from rehearsal.dialer import Dialer
from rehearsal.did_optimizer import ERROR_500, DidOptimizer
from rehearsal.site import Site
from tests.call_rows import NOON, insert, row
from tests.conftest import command_here
from tests.sync.conftest import at
from vicisync.state.load import read_checkpoint

CAMPAIGNS = ("SALES", "solar ", "TEST")


@pytest.fixture
def calls(site: Site, dialer: Dialer) -> None:  # noqa: ARG001 -- its first run comes before
    """Two calls of each campaign: one has ended, one is in wrap-up."""
    for number, campaign in enumerate(CAMPAIGNS):
        start, lead = NOON + number, 2 * number + 1
        one = row(f"{start}.1", start, lead_id=lead, campaign_id=campaign)
        other = row(f"{start}.2", start, lead_id=lead + 1, campaign_id=campaign, status="DISPO", user="agent1")
        insert(site.mariadb, site.database, one, other)


def sent(api: DidOptimizer) -> set[str]:
    return {payload["campaignId"] for payload in api.records.values()}


@pytest.mark.parametrize(
    ("settings", "campaigns"),
    [
        pytest.param({}, set(CAMPAIGNS), id="all"),
        pytest.param({"campaigns": "SALES,SOLAR"}, {"SALES", "solar "}, id="some, in any spelling"),
        pytest.param({"exclude_campaigns": "TEST"}, {"SALES", "solar "}, id="all but one"),
        pytest.param(
            {"campaigns": "SALES TEST", "exclude_campaigns": "test"}, {"SALES"}, id="both: one of some is out"
        ),
    ],
)
@pytest.mark.usefixtures("calls")
def test_the_calls_of_these_campaigns_are_sent_and_of_others_none_is_watched_or_missing(
    settings: Mapping[str, str], campaigns: set[str], site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    site.configure(**settings)
    at(site, dialer, NOON + 60)
    assert campaigns == sent(api)
    checkpoint = read_checkpoint(site.checkpoint_file, 28800)
    assert checkpoint
    assert (len(campaigns), NOON + 2) == (len(checkpoint.watching), checkpoint.looked_until)
    at(site, dialer, NOON + 1200)
    assert (2 * len(campaigns), 0) == (len(api.records), api.repeats)
    when = ("--from", str(NOON - 60), "--to", str(NOON + 60))
    proved = command_here(site, "reconcile", *when, "--send", "--all")
    assert f" Summary: {2 * len(campaigns)} calls ended: {2 * len(campaigns)} delivered" in proved.stdout
    assert campaigns == sent(api)


@pytest.mark.usefixtures("calls")
def test_what_is_watched_when_its_campaign_is_left_out_is_told_and_forgotten(
    site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    at(site, dialer, NOON + 60)
    site.configure(exclude_campaigns="SALES")
    said = [line for line in at(site, dialer, NOON + 120) if "is left out" in line]
    assert [f"⚠ {NOON}.2: not sent, as campaign SALES is left out; see dids.conf"] == said
    at(site, dialer, NOON + 1200)
    assert 2 * len(CAMPAIGNS) - 1 == len(api.records)
    site.mariadb.execute(f"UPDATE `{site.database}`.vicidial_log SET status = 'SALE' WHERE uniqueid = '{NOON}.1'")
    when = ("--from", str(NOON - 60), "--to", str(NOON + 60))
    proved = command_here(site, "reconcile", *when, "--send", "--corrections")
    assert " Summary: 4 calls ended: 4 delivered" in proved.stdout
    assert 2 * len(CAMPAIGNS) - 1 == len(api.posts)
    assert not site.rejected_file.exists()


def test_what_is_left_out_is_known_from_then_on_and_carries_no_poll_past_what_the_table_has_shown(
    site: Site, dialer: Dialer
) -> None:
    """Its dialer's clock is ahead: seen anew in each poll, its start would pass for news."""
    site.configure(campaigns="OTHER")
    insert(site.mariadb, site.database, row(f"{NOON}.1", NOON + 3600, campaign_id="SALES"))
    for minute in (1, 2, 3):
        at(site, dialer, NOON + 60 * minute)
        checkpoint = read_checkpoint(site.checkpoint_file, 28800)
        assert checkpoint
        assert (NOON + 60, True) == (checkpoint.looked_until, checkpoint.knows(f"{NOON}.1"))


@pytest.mark.parametrize("setting", ["campaigns", "exclude_campaigns"])
@pytest.mark.usefixtures("calls")
def test_explain_says_which_setting_leaves_a_call_out(setting: str, site: Site, dialer: Dialer) -> None:
    site.configure(**{setting: "OTHER" if setting == "campaigns" else "SALES"})
    at(site, dialer, NOON + 60)
    for uniqueid in (f"{NOON}.1", f"{NOON}.2"):
        done = command_here(site, "explain", uniqueid)
        assert f"✅ It is not ours: campaign SALES is left out by {setting} ({site.dids_conf} line " in done.stdout
        assert "lately" not in done.stdout


@pytest.mark.parametrize("is_gone", [False, True], ids=["its row there", "its row gone"])
def test_a_call_that_failed_is_forgotten_and_not_rejected_once_its_campaign_is_left_out(
    is_gone: bool, site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    insert(site.mariadb, site.database, row(f"{NOON}.1", campaign_id="SALES"), row(f"{NOON}.9", lead_id=9))
    api.fault_for = lambda sent: ERROR_500 if sent["campaignId"] == "SALES" else None
    site.configure(max_retries="0")
    at(site, dialer, NOON + 60)
    tried = len(api.posts)
    if is_gone:
        site.mariadb.execute(f"DELETE FROM `{site.database}`.vicidial_log")
    site.configure(exclude_campaigns="SALES")
    said = at(site, dialer, NOON + 120)
    at(site, dialer, NOON + 30000)
    checkpoint = read_checkpoint(site.checkpoint_file, 28800)
    assert checkpoint
    assert ({}, tried) == (checkpoint.watching, len(api.posts))
    assert [f"⚠ {NOON}.1: not sent, as campaign SALES is left out; see dids.conf"] == [s for s in said if ".1:" in s]
    assert not site.rejected_file.exists()


def test_no_call_is_taken_for_one_of_a_campaign_that_is_left_out(site: Site, dialer: Dialer, api: DidOptimizer) -> None:
    """Neither for its second row, nor for itself under another id."""
    site.configure(campaigns="SALES")
    ended = {"lead_id": 1, "end_epoch": NOON + 5}
    insert(
        site.mariadb, site.database,
        row(f"{NOON}.1", campaign_id=None, **ended), row(f"{NOON}.2", NOON + 1, campaign_id="SALES", **ended),
        row(f"{NOON}.3", lead_id=2, campaign_id="TEST"),
    )  # fmt: skip
    at(site, dialer, NOON + 60)
    assert [f"{NOON}.2"] == list(api.records)
    site.mariadb.execute(f"DELETE FROM `{site.database}`.vicidial_log WHERE uniqueid = '{NOON}.3'")
    insert(site.mariadb, site.database, row(f"{NOON}.4", lead_id=2, campaign_id="SALES"))
    at(site, dialer, NOON + 120)
    assert [f"{NOON}.2", f"{NOON}.4"] == list(api.records)


def test_what_was_left_out_waits_for_no_run_once_its_campaign_is_sent_again(
    site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    """It is reconcile that sends it, also while the overlap still brings its row."""
    insert(site.mariadb, site.database, row(f"{NOON}.9", lead_id=9), row(f"{NOON}.1", campaign_id="SALES"))
    site.configure(exclude_campaigns="SALES")
    at(site, dialer, NOON + 60)
    site.configure(exclude_campaigns="")
    at(site, dialer, NOON + 120)
    assert [f"{NOON}.9"] == list(api.records)
    when = ("--from", str(NOON - 60), "--to", str(NOON + 60))
    proved = command_here(site, "reconcile", *when).stdout
    assert "1 delivered, 0 rejected, 0 waiting, 1 missing, 0 changed since, 0 not in the journal" in proved
    command_here(site, "reconcile", *when, "--send")
    assert [f"{NOON}.9", f"{NOON}.1"] == list(api.records)
