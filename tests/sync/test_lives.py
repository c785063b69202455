"""Every life of a call, with VICIdial's live tables in step: one POST each, of what its row ends with, in good time.

Played on a real table, with a run each minute until well after. What is expected is read from the table in the end.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pytest

from rehearsal import lives
from rehearsal.dialer import Dialer
from rehearsal.did_optimizer import DidOptimizer
from rehearsal.lives import Call, Life, new_call, no_answer, stretched
from rehearsal.mariadb import LIVE_TABLES
from rehearsal.site import PASSWORD, Site
from tests.call_rows import NOON
from tests.sync.conftest import at
from vicisync.vicidial.call_log import CallLog

MINUTE = 60
AT_ONCE = MINUTE  # final, and no run can have seen its lead held
SOON = 2 * MINUTE  # two runs: the first finds the lead free, the second may believe it
MESSAGE = SOON + MINUTE  # a machine's status is final only when no message can be playing any more
NEXT = SOON + MINUTE  # the run that first sees the next number has judged the one before already
WAITED = 900 + SOON  # a status that waits and whose lead was held may still get another one for a quarter of an hour
GIVEN_UP = 9 * 3600

Played = Callable[[Call], "Life | tuple[Life, ...]"]


class Case(NamedTuple):
    """A kind of life, and how many seconds after it is over the call may take to go."""

    play: Played
    within: int = SOON


LIVES: dict[str, Case] = {
    "agent call": Case(lives.agent_call),
    "agent call, id rewritten": Case(lambda call: lives.agent_call(call, rewritten=True)),
    "agent call, id rewritten long after its end": Case(
        lambda call: lives.agent_call(call, hangs_up=100, rewritten=True)
    ),
    "agent call, long, id rewritten": Case(lambda call: lives.agent_call(call, talk=1500, rewritten=True)),
    "agent call, agent hangs up first": Case(lambda call: lives.agent_call(call, hangs_up=0)),
    "wrap-up of 10 minutes": Case(lambda call: lives.agent_call(call, wrap_up=600)),
    "wrap-up of an hour": Case(lambda call: lives.agent_call(call, wrap_up=3600, rewritten=True)),
    "status of a campaign": Case(lambda call: lives.agent_call(call, status="HUC017", talk=15, wrap_up=5)),
    "hot key": Case(lives.hot_key),
    "hot key after hang-up": Case(lives.hot_key_after_hangup),
    "manual dial, busy": Case(lives.manual_failure),
    "manual dial, disconnected": Case(lambda call: lives.manual_failure(call, status="ADC", becomes="DC")),
    "manual dial, refused by the carrier": Case(
        lambda call: lives.manual_failure(call, status="DNCCAR", becomes="DNC")
    ),
    "manual dial, cause of hang-up": Case(lambda call: lives.manual_failure(call, status="HUC21", becomes="DC")),
    "manual dial, not answered": Case(lambda call: lives.manual_failure(call, status="NA", becomes="N", swept=True)),
    "manual dial, long wrap-up": Case(lambda call: lives.manual_failure(call, ends=70, wrap_up=1200)),
    "manual dial, failure kept": Case(lambda call: lives.manual_failure(call, becomes="AB"), WAITED),
    "voicemail left by the agent": Case(lives.voicemail_left),
    "voicemail left by the agent, long": Case(lambda call: lives.voicemail_left(call, message=170)),
    "DROP, then A": Case(lives.customer_goes_first),
    "DROP, then A, minutes later": Case(lambda call: lives.customer_goes_first(call, wrap_up=150)),
    "menu after a drop": Case(lives.call_menu),
    "menu after a survey": Case(lambda call: lives.call_menu(call, status="SVYCLM", becomes="SALEC", menu=320)),
    "menu where nothing is chosen": Case(lambda call: lives.call_menu(call, status="SVYEXT", becomes="SVYEXT")),
    "menu after a machine": Case(lambda call: lives.call_menu(call, status="AMDXFR", becomes="SALEC", menu=90)),
    "three-way call": Case(lives.three_way),
    "drop at assignment": Case(lives.dropped_at_assignment),
    "no answer": Case(lives.no_answer, AT_ONCE),
    "disconnected": Case(lambda call: lives.no_answer(call, status="ADC", ring=5), AT_ONCE),
    "dropped": Case(lambda call: lives.no_answer(call, status="DROP"), AT_ONCE),
    "busy before answer": Case(lambda call: lives.busy_before_answer(call, late=240), AT_ONCE),
    "dropped before routing": Case(lambda call: lives.busy_before_answer(call, late=1, status="PDROP"), AT_ONCE),
    "audit of missed calls": Case(lambda call: lives.audit_of_missed(call, late=420), AT_ONCE),
    "answering machine": Case(lambda call: lives.answering_machine(call, message=None), MESSAGE),
    "answering machine, message": Case(lives.answering_machine),
    "answering machine, message of 4 minutes": Case(lambda call: lives.answering_machine(call, message=240)),
    "answering machine, cause unknown": Case(
        lambda call: lives.answering_machine(call, message=100, statuses=("UNKAM", "UNKAL"))
    ),
    "transfer": Case(lives.transfer),
    "transfer, closer talks on": Case(lambda call: lives.transfer(call, closer=400)),
    "transfer, hung up on the way": Case(lives.hangs_up_on_the_way, WAITED),
    "transfer of a remote agent": Case(lives.remote_agent, AT_ONCE),
    "browser closed, DISPO": Case(lives.browser_closed, WAITED),
    "browser closed, INCALL": Case(lambda call: lives.browser_closed(call, stuck="INCALL"), WAITED),
    "browser closed, DONEM": Case(lambda call: lives.browser_closed(call, stuck="DONEM"), WAITED),
    "leftover DISPO": Case(lives.leftover),
    "leftover INCALL": Case(lambda call: lives.leftover(call, stuck="INCALL")),
    "leftover XFER": Case(lambda call: lives.leftover(call, stuck="XFER")),
    "leftover DISPO, minutes later": Case(lambda call: lives.leftover(call, logs_out=130), WAITED),
    "ALTNUM, then a disposition": Case(lambda call: lives.agent_call(call, status="NI", wrap_up_status="ALTNUM")),
    "ALTNUM for ever": Case(lives.alternate_numbers, NEXT),
    "ALTNUM for ever, next number talks for long": Case(lambda call: lives.alternate_numbers(call, wrap_up=700), NEXT),
    "final status without an end": Case(lives.no_end_written),
    "never ends, LRERR": Case(lives.never_ends),
    "never ends, INCALL": Case(lambda call: lives.never_ends(call, status="INCALL")),
    "twins": Case(lives.twins),
    "twins, long wrap-up": Case(lambda call: lives.twins(call, wrap_up=300)),
}

EARLY_WITHOUT_GRANTS = {
    "wrap-up of an hour", "hot key after hang-up", "manual dial, long wrap-up", "voicemail left by the agent",
    "voicemail left by the agent, long", "menu after a drop", "menu after a survey", "menu where nothing is chosen",
    "menu after a machine", "three-way call", "drop at assignment", "answering machine, message of 4 minutes",
}  # fmt: skip
"""Where the account may not read the live tables: lives whose rows look final before they are."""

cases = pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in LIVES])


@pytest.fixture
def grants(site: Site) -> None:
    """The account may read all that VICIdial's own may."""
    tables = ("vicidial_log", "vicidial_log_archive", *LIVE_TABLES)
    site.mariadb.create_reader("cron", PASSWORD, site.database, tables)


class Sent(NamedTuple):
    """What a POST says of a call."""

    uniqueid: str
    disposition: str
    agent: str
    duration: int | None
    end_epoch: int | None


class Stage:
    """A site and its dialer, with runs at given times; each run's POSTs are noted with its time."""

    def __init__(self, site: Site, dialer: Dialer, api: DidOptimizer) -> None:
        self.site, self.dialer, self.api = site, dialer, api
        self.sent: list[tuple[int, Sent]] = []
        self.now = self.statement = 0  # the time of the run, and how many statements it has sent

    def run(self, epoch: int) -> None:
        before, self.now, self.statement = len(self.api.posts), epoch, 0
        at(self.site, self.dialer, epoch)
        names = ("uniqueid", "disposition", "agentId", "duration", "endEpoch")
        new = self.api.posts[before:]
        self.sent += [(epoch, Sent(*(post.payload[name] for name in names))) for post in new]

    def play(self, acted: Sequence[Life], runs: Iterable[int]) -> None:
        """Run at these times, each minute until all must have gone, and once more when what never ends is given up.

        That is by the start of a call that is seen then.
        """
        for life in acted:
            self.dialer.begin(life)
        later = self.dialer.begin(no_answer(new_call(NOON + GIVEN_UP)))
        for epoch in (*sorted(runs), NOON + GIVEN_UP + MINUTE, NOON + GIVEN_UP + 2 * MINUTE):
            self.run(epoch)
        assert later.final
        arrived = [sent for _, sent in self.sent if sent.uniqueid == later.final.uniqueid]
        assert 1 == len(arrived)
        self.sent = [(epoch, sent) for epoch, sent in self.sent if sent not in arrived]

    def row(self, uniqueid: str) -> Sent:
        """Return what the POST of a call has to say, by its row as it is now."""
        sql = (
            f"SELECT uniqueid, status, user, length_in_sec, end_epoch FROM `{self.site.database}`.vicidial_log"
            " WHERE uniqueid = %s"
        )
        [row] = self.site.mariadb.execute(sql, (uniqueid,))
        return Sent(*row)

    def expected(self, acted: Sequence[Life]) -> list[Sent]:
        return sorted(self.row(life.final.uniqueid) for life in acted if life.final)

    def arrived(self) -> list[Sent]:
        return sorted(sent for _, sent in self.sent)


@pytest.fixture
def stage(grants: None, site: Site, dialer: Dialer, api: DidOptimizer) -> Stage:  # noqa: ARG001
    return Stage(site, dialer, api)


def acted_by(name: str, gap: float = 0) -> list[Life]:
    acted = LIVES[name].play(new_call(NOON))
    return [stretched(life, gap) for life in ([acted] if isinstance(acted, Life) else acted)]


def each_minute(acted: Sequence[Life], within: int = SOON, second: int = 0) -> set[int]:
    """The times of runs from the first row on until all must have gone, and when all that waits has waited."""
    over = max(int(max(life.over_at, life.steps[-1].at)) for life in acted)
    return {*range(NOON + second, over + within + 2 * MINUTE, MINUTE), over + 1000, over + 2000}


def on_changes(acted: Sequence[Life]) -> set[int]:
    """The times of all changes, and a second after each."""
    return {int(step.at) + late for life in acted for step in life.steps for late in (0, 1)}


@cases
@pytest.mark.parametrize("second", [17, 41])
def test_each_life_is_sent_once_as_its_row_ends_and_soon(name: str, second: int, stage: Stage) -> None:
    acted = acted_by(name)
    stage.play(acted, each_minute(acted, LIVES[name].within, second))
    assert stage.expected(acted) == stage.arrived()
    when = {sent.uniqueid: epoch for epoch, sent in stage.sent}
    waited = {life.name: when[life.final.uniqueid] - life.over_at for life in acted if life.final}
    assert {} == {which: seconds for which, seconds in waited.items() if not 0 <= seconds <= LIVES[name].within}


@cases
def test_each_life_is_sent_once_as_its_row_ends_with_runs_on_all_its_changes(name: str, stage: Stage) -> None:
    acted = acted_by(name)
    stage.play(acted, each_minute(acted) | on_changes(acted))
    assert stage.expected(acted) == stage.arrived()


@cases
def test_each_life_is_right_where_a_run_falls_between_release_and_row(name: str, stage: Stage) -> None:
    """VICIdial empties its live tables first; a lock holds the row up for 8 s, and a run looks after four of them."""
    acted = acted_by(name, gap=8)
    in_the_gap = {int(step.at) - 4 for life in acted for step in life.steps if step.after_release}
    stage.play(acted, each_minute(acted) | in_the_gap)
    assert stage.expected(acted) == stage.arrived()


def test_a_disposition_that_comes_minutes_after_the_release_is_waited_for(stage: Stage) -> None:
    """A quarter of an hour from the release, that is, as the call's end is long past then."""
    acted = [stretched(lives.agent_call(new_call(NOON), wrap_up=1200), 150)]
    stage.play(acted, each_minute(acted))
    assert stage.expected(acted) == stage.arrived()


@pytest.mark.parametrize("statement", range(4, 16))
def test_lives_are_right_where_all_their_changes_fall_between_two_statements_of_a_run(
    statement: int, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What VICIdial writes in a minute, it writes just before such a statement of the run at its beginning."""
    acted = [life for name in LIVES for life in acted_by(name) if life.over_at < NOON + 1500]
    read = CallLog.read

    def read_later(call_log: CallLog, sql: str, parameters: Mapping[str, object] = {}) -> Any:
        stage.statement += 1
        if stage.statement == statement:
            stage.dialer.play(stage.now + MINUTE - 1)
        return read(call_log, sql, parameters)

    monkeypatch.setattr(CallLog, "read", read_later)
    stage.play(acted, each_minute(acted, WAITED))
    assert stage.expected(acted) == stage.arrived()


@cases
def test_without_the_grants_the_row_alone_decides_and_each_life_is_sent_once(
    name: str, site: Site, stage: Stage
) -> None:
    site.mariadb.create_reader("cron", PASSWORD, site.database)
    acted = acted_by(name)
    stage.play(acted, each_minute(acted) | on_changes(acted))
    assert (name in EARLY_WITHOUT_GRANTS) == (stage.expected(acted) != stage.arrived())
    assert [sent.uniqueid.split(".")[0] for sent in stage.expected(acted)] == [
        sent.uniqueid.split(".")[0] for sent in stage.arrived()
    ]
