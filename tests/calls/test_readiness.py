import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicisync.calls.call import CallRow
from vicisync.calls.readiness import WAITING, Readiness, Rules, lag, left_out_by, readiness

NOW = 1729771200
RULES = Rules(
    waiting_statuses=frozenset({"INCALL", "QUEUE", "DISPO", "ALTNUM", "DONEM", "XFER"}),
    wait_for_disposition=900,
    give_up_after=28800,
    ended_after=NOW - 40000,
    looked_until=NOW,
)


def row(status: str, began: int, ended: int | None, comments: str = "AUTO") -> CallRow:
    """A row as of NOW; ``began`` and ``ended`` are seconds ago, so that -3 lies ahead."""
    return CallRow("1729771200.123", 7, NOW - began, 0 if ended is None else NOW - ended, status, comments)


def by_agent(status: str, began: int, comments: str) -> CallRow:
    """A row without an end that an agent has written."""
    return row(status, began, None, comments)._replace(user="agent1")


@pytest.mark.parametrize(
    ("setting", "campaign", "campaigns", "exclude_campaigns"),
    [
        pytest.param("", "SALES", [], [], id="all are sent"),
        pytest.param("", "", [], ["SALES"], id="of no campaign, where some are left out"),
        pytest.param("campaigns", "", ["SALES"], [], id="of no campaign, where some alone are sent"),
        pytest.param("", "sales ", ["SALES"], [], id="named, in another spelling"),
        pytest.param("campaigns", "TEST", ["SALES"], [], id="not named"),
        pytest.param("exclude_campaigns", "test", ["TEST"], ["TEST"], id="named in both"),
    ],
)
def test_a_campaign_is_left_out_by_name_or_by_not_being_named(
    setting: str, campaign: str, campaigns: list[str], exclude_campaigns: list[str]
) -> None:
    rules = RULES._replace(campaigns=campaigns, exclude_campaigns=exclude_campaigns)
    assert setting == left_out_by(campaign, rules)
    decided = readiness(row("SALE", 60, 30)._replace(campaign=campaign), NOW, rules)
    assert (Readiness.LEFT_OUT if setting else Readiness.READY) is decided


@pytest.mark.parametrize(
    ("decided", "seen"),
    [
        # An agent's call
        pytest.param(Readiness.NOT_ENDED, row("QUEUE", 1, None, ""), id="the customer waits for an agent"),
        pytest.param(Readiness.NOT_ENDED, row("INCALL", 60, None), id="agent and customer talk"),
        pytest.param(Readiness.NO_DISPOSITION, row("INCALL", 60, 1), id="the customer has hung up, the agent not yet"),
        pytest.param(Readiness.NO_DISPOSITION, row("DISPO", 60, 5), id="the agent wraps up"),
        pytest.param(Readiness.NO_DISPOSITION, row("ALTNUM", 60, 5), id="the agent may dial an alternate number"),
        pytest.param(Readiness.READY, row("SALE", 60, 30), id="the agent has chosen"),
        pytest.param(Readiness.NOT_ENDED, row("SALE", 60, None), id="a hot key sets the final status before the end"),
        pytest.param(Readiness.READY, row("SALE", 60, 0), id="it ends this second"),
        pytest.param(Readiness.READY, row("MYCODE", 60, 30), id="a status of the campaign's own"),
        pytest.param(Readiness.READY, row("SIPACT", 60, 30), id="a status that no table of VICIdial's lists"),
        # Nobody chooses
        pytest.param(Readiness.NO_DISPOSITION, row("DISPO", 1000, 899), id="one second before the wait is over"),
        pytest.param(Readiness.READY, row("DISPO", 1000, 900), id="browser closed in wrap-up, wait over"),
        pytest.param(Readiness.READY, row("INCALL", 1000, 900), id="browser closed in the call, wait over"),
        pytest.param(Readiness.READY, row("DONEM", 1000, 900), id="DONEM for ever, wait over"),
        pytest.param(Readiness.NO_DISPOSITION, row("", 60, 5), id="no status"),
        pytest.param(Readiness.READY, row("", 1000, 900), id="no status, wait over"),
        pytest.param(Readiness.NO_DISPOSITION, row("INCALL", 30000, 10), id="longer than give_up_after, wraps up"),
        pytest.param(Readiness.READY, row("SALE", 30000, 10), id="a call longer than give_up_after is done"),
        # No agent
        pytest.param(Readiness.READY, row("NA", 30, 0, "AUTONA"), id="no answer"),
        pytest.param(Readiness.READY, row("PDROP", 240, 240), id="dropped before routing: it appears ended long ago"),
        pytest.param(Readiness.READY, row("NA", 420, 420), id="the audit of missed calls"),
        # Dialled by hand, in vain
        pytest.param(Readiness.NO_DISPOSITION, row("HUC102", 30, 25, "MANUAL"), id="a cause of hang-up"),
        pytest.param(
            Readiness.NO_DISPOSITION, row("NA", 30, 25, "")._replace(user="agent1"), id="not answered in time"
        ),
        pytest.param(Readiness.READY, row("NA", 30, 25)._replace(user="agent1"), id="an agent chose NA"),
        pytest.param(Readiness.READY, row("HUCK", 30, 25, "MANUAL"), id="a status that begins like a cause of hang-up"),
        # An answering machine
        pytest.param(Readiness.NOT_ENDED, row("AA", 10, -3), id="AA: the end lies three seconds ahead"),
        pytest.param(Readiness.MESSAGE_PLAYING, row("AA", 10, 0), id="AA: the end is reached"),
        pytest.param(Readiness.MESSAGE_PLAYING, row("AM", 30, 20), id="AM: the message plays"),
        pytest.param(Readiness.MESSAGE_PLAYING, row("AM", 200, 119), id="AM: the longest message"),
        pytest.param(Readiness.READY, row("AM", 200, 120), id="AM: no message can be playing any more"),
        pytest.param(Readiness.READY, row("AA", 200, 120), id="AA: no message can be playing any more"),
        pytest.param(Readiness.READY, row("AL", 60, 0), id="AL: the message has been left"),
        # Transfers
        pytest.param(Readiness.NO_DISPOSITION, row("XFER", 60, 5), id="XFER: the agent's disposition follows"),
        pytest.param(Readiness.NO_DISPOSITION, row("XFER", 60, 5, ""), id="XFER without comments"),
        pytest.param(Readiness.READY, row("XFER", 60, 5, "REMOTE"), id="XFER of a remote agent is final"),
        pytest.param(Readiness.READY, row("XFER", 1000, 900), id="XFER, wait over"),
        pytest.param(Readiness.NO_DISPOSITION, row("INCALL", 60, 5, "REMOTE"), id="only XFER is final for the remote"),
        # It never ends
        pytest.param(Readiness.NOT_ENDED, row("LRERR", 28799, None), id="one second before giving up"),
        pytest.param(Readiness.NEVER_ENDED, row("LRERR", 28800, None), id="given up"),
        pytest.param(Readiness.NEVER_ENDED, row("SALE", 99999, None), id="given up whatever its status"),
        pytest.param(Readiness.NOT_ENDED, by_agent("NA", 28799, "MANUAL"), id="an agent's, of a manual dial, may end"),
        pytest.param(Readiness.READY, by_agent("NA", 28800, "MANUAL"), id="an agent's is what he chose in the end"),
        pytest.param(Readiness.READY, by_agent("DROP", 28800, "AUTO"), id="an agent's DROP, in the end"),
        pytest.param(Readiness.READY, by_agent("XFER", 28800, "REMOTE"), id="a remote agent's XFER, in the end"),
        pytest.param(Readiness.NEVER_ENDED, by_agent("dispo", 28800, "AUTO"), id="an agent's who chose nothing"),
        pytest.param(Readiness.NEVER_ENDED, by_agent("", 28800, "AUTO"), id="an agent's who left nothing"),
        # Clocks
        pytest.param(Readiness.NOT_ENDED, row("SALE", 60, -1), id="the end lies a second ahead"),
        pytest.param(Readiness.NOT_ENDED, row("SALE", 28799, -99999), id="a wrong clock's end is waited for"),
        pytest.param(Readiness.READY, row("SALE", 28800, -99999), id="a wrong clock's end holds no call for ever"),
        pytest.param(Readiness.READY, row("DISPO", 28800, -99999), id="nor one in wrap-up"),
        pytest.param(Readiness.READY, row("AA", 28800, -99999), id="nor one with a machine"),
        pytest.param(Readiness.NOT_ENDED, row("SALE", -8, None), id="it starts ahead"),
    ],
)
def test_each_life_of_a_row_has_its_readiness(decided: Readiness, seen: CallRow) -> None:
    assert decided is readiness(seen, NOW, RULES)


@pytest.mark.parametrize(
    ("decided", "seen"),
    [
        pytest.param(Readiness.NOT_OURS, row("SALE", 700, 600), id="at the starting point"),
        pytest.param(Readiness.READY, row("SALE", 700, 599), id="a second after it"),
        pytest.param(Readiness.NO_DISPOSITION, row("INCALL", 700, 600), id="in wrap-up, whose end may still move"),
        pytest.param(Readiness.NOT_OURS, row("INCALL", 1000, 900), id="in wrap-up for too long"),
        pytest.param(Readiness.NEVER_ENDED, row("INCALL", 28800, None), id="never ended"),
    ],
)
def test_what_ended_by_the_starting_point_is_not_ours(decided: Readiness, seen: CallRow) -> None:
    assert decided is readiness(seen, NOW, RULES._replace(ended_after=NOW - 600))


@pytest.mark.parametrize("status", ["INCALL", "", "XFER", "AA", "AM"])
def test_without_a_wait_every_ended_call_can_go(status: str) -> None:
    assert readiness(row(status, 60, 0), NOW, RULES._replace(wait_for_disposition=0)) is Readiness.READY


@pytest.mark.parametrize(("decided", "ended"), [(Readiness.MESSAGE_PLAYING, 59), (Readiness.READY, 60)])
def test_a_message_is_waited_for_no_longer_than_a_disposition(decided: Readiness, ended: int) -> None:
    assert decided is readiness(row("AM", 90, ended), NOW, RULES._replace(wait_for_disposition=60))


def test_the_waiting_statuses_are_those_of_the_settings() -> None:
    rules = RULES._replace(waiting_statuses={"CALLBK"})
    assert readiness(row("CALLBK", 60, 5), NOW, rules) is Readiness.NO_DISPOSITION
    assert readiness(row("DISPO", 60, 5), NOW, rules) is Readiness.READY


SIGHTINGS = st.builds(
    row,
    status=st.sampled_from(["", "INCALL", "XFER", "AA", "AM", "AL", "SALE"]),
    began=st.integers(-10, 30000) | st.sampled_from([28799, 28800, 28801]),
    ended=st.none() | st.integers(-40000, 40001) | st.sampled_from([-1, 0, 119, 120, 899, 900, 39999, 40000]),
    comments=st.sampled_from(["", "AUTO", "REMOTE"]),
)


@given(seen=SIGHTINGS)
def test_a_call_that_can_go_has_ended_and_is_ours(seen: CallRow) -> None:
    if readiness(seen, NOW, RULES) is Readiness.READY:
        assert seen.end_epoch > RULES.ended_after


@given(seen=SIGHTINGS, later=st.integers(0, 40000))
def test_a_call_that_can_go_and_has_ended_can_still_go_later(seen: CallRow, later: int) -> None:
    if readiness(seen, NOW, RULES) is Readiness.READY and seen.end_epoch <= NOW:
        assert readiness(seen, NOW + later, RULES) is Readiness.READY


@given(seen=SIGHTINGS, later=st.integers(0, 40000))
def test_no_call_is_watched_for_ever(seen: CallRow, later: int) -> None:
    ends_at = max(seen.start_epoch + RULES.give_up_after, seen.end_epoch + RULES.wait_for_disposition)
    rules = RULES._replace(looked_until=ends_at + later)
    assert readiness(seen, ends_at + later, rules) not in WAITING


@given(seen=SIGHTINGS)
def test_a_disposition_that_an_agent_can_change_goes_only_when_the_wait_is_over(seen: CallRow) -> None:
    if readiness(seen, NOW, RULES) is Readiness.READY and seen.status in ("", "INCALL"):
        assert min(seen.end_epoch + 900, seen.start_epoch + 28800) <= NOW


@pytest.mark.parametrize(
    ("seconds", "could_go_since"),
    [
        pytest.param(0, [], id="none waits"),
        pytest.param(40, [NOW - 10, NOW - 40], id="the oldest counts"),
        pytest.param(0, [NOW + 3], id="an end that lies ahead is no lag"),
    ],
)
def test_the_lag_is_how_long_the_oldest_deliverable_call_has_waited(seconds: int, could_go_since: list[int]) -> None:
    assert seconds == lag(NOW, could_go_since)
