"""The promises, attacked: hypothesis looks for a history of calls, failures and kills that breaks one.

Table, API and clock are models here, because a kill has to fall between two given instructions; decisions, delivery and
store are the real ones.
"""

import io
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.conftest import make_settings
from vicisync.calls.call import Call, CallRow, stem
from vicisync.calls.readiness import LONGEST_HELD
from vicisync.did_optimizer.answer import Answer, Meaning
from vicisync.did_optimizer.delivery import StopSignal
from vicisync.errors import VicisyncError
from vicisync.report import Report
from vicisync.state.checkpoint import starting_at
from vicisync.state.lock import locked
from vicisync.state.store import Store
from vicisync.sync import run as sync
from vicisync.sync.run import FAILED_RUNS_TO_REJECT
from vicisync.vicidial.call_log import CallLog
from vicisync.vicidial.pages import Page

START = 1_800_000_000
PAGE = 3  # rows a page of the model holds; small, so that histories cross its edges

FINAL = ("SALE", "NI", "CALLBK", "A")
LEFT_OUT = "TEST"
CAMPAIGN = st.sampled_from(["SALES", "SALES", "SALES", LEFT_OUT])


class Killed(BaseException):
    """SIGKILL, placed."""


@dataclass(eq=False)
class Life:
    """A call as VICIdial knows it: one row, under one id after the other."""

    uniqueid: str
    lead_id: int
    start: int
    end: int = 0
    status: str = "QUEUE"
    comments: str = "AUTO"
    poison: Meaning | None = None
    """What the API answers to this call and no other."""
    campaign: str = "SALES"
    in_table: bool = True
    settled: bool = False
    """Nobody will change its disposition any more."""
    live: bool = False
    """The customer is on the line, or an agent has its lead before him."""


@dataclass(eq=False)
class World:
    """What lies outside of vicisync: the table, the API, the clock, and the hand that kills."""

    now: int = START
    database_is_ahead: int = 0
    """Seconds by which the database's clock lies."""
    live_tables_are_known: bool = True
    is_swapped: bool = False
    """An empty table stands in the place of the true one."""
    held_back: list[Life] = field(default_factory=list)
    """Rows that a lock keeps from the table."""
    is_locked: bool = False
    lives: list[Life] = field(default_factory=list)
    former_ids: dict[str, Life] = field(default_factory=dict)
    stored: list[tuple[Life, str, int]] = field(default_factory=list)
    """Calls that the API has stored, with the disposition and when: repeats are in here."""
    rejected: list[Life] = field(default_factory=list)
    failed_in_runs: Counter[int] = field(default_factory=Counter)
    answers: list[str] = field(default_factory=list)
    posts: int = 0
    steps_to_live: int | None = None
    lock: Any = field(default_factory=threading.RLock)

    def step(self) -> None:
        """Let one instruction pass; or be the kill, after which nothing passes."""
        with self.lock:
            if self.steps_to_live is not None:
                self.steps_to_live -= 1
                if self.steps_to_live < 0:
                    raise Killed

    def rows(self) -> list[Life]:
        here = () if self.is_swapped else self.lives
        return sorted(
            (life for life in here if life.in_table and life not in self.held_back), key=lambda life: life.start
        )


class ModelCallLog(CallLog):
    """The table, as call_log reads it."""

    world: World

    def __enter__(self) -> "ModelCallLog":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def now(self) -> int:
        self.world.step()
        return self.world.now + self.world.database_is_ahead

    def pages(self, since: int, knows: Callable[[str], bool]) -> Iterator[Page]:
        self.world.step()
        rows = [life for life in self.world.rows() if life.start >= since]
        while len(rows) >= PAGE:
            second = rows[PAGE - 1].start
            yield _page([life for life in rows if life.start <= second], knows)
            rows = [life for life in rows if life.start > second]
        yield _page(rows, knows)._replace(is_last=True)

    def epoch_of(self, second: str) -> int:
        return int(second)

    def ahead(self, page: Page) -> int:  # noqa: ARG002 -- the call log's signature
        return 0

    def count_after(self, second: str, most: int) -> int:
        return min(most, sum(life.start > int(second) for life in self.world.rows()))

    def again(self, leads: Mapping[str, int], turn: int = 0) -> tuple[list[CallRow], list[CallRow]]:
        del turn  # it looks for all at once
        self.world.step()
        here = {life.uniqueid: _sighting(life) for life in self.world.rows() if life.uniqueid in leads}
        self.world.step()
        lead_ids = {lead_id for uniqueid, lead_id in leads.items() if uniqueid not in here}
        return list(here.values()), [_sighting(life) for life in self.world.rows() if life.lead_id in lead_ids]

    def whole(self, uniqueids: Sequence[str]) -> list[Call]:
        self.world.step()
        return [_call(life) for life in self.world.rows() if life.uniqueid in uniqueids]


def live_leads(call_log: CallLog, leads: Collection[int]) -> set[int] | None:
    """Who is on the line, as live_calls asks."""
    world = ModelCallLog.world
    assert isinstance(call_log, ModelCallLog)
    world.step()
    return {life.lead_id for life in world.lives if life.live} & set(leads) if world.live_tables_are_known else None


def _page(lives: Sequence[Life], knows: Callable[[str], bool]) -> Page:
    uniqueids = [life.uniqueid for life in lives]
    rows = [] if all(map(knows, uniqueids)) else [_sighting(life) for life in lives]
    last = str(max((life.start for life in lives), default=""))
    return Page(rows, set(uniqueids), last)


def _sighting(life: Life) -> CallRow:
    texts = life.status, life.comments, _user(life), life.campaign
    return CallRow(life.uniqueid, life.lead_id, life.start, life.end, *texts)


def _user(life: Life) -> str:
    return "agent1" if life.status in (*FINAL, "INCALL", "DISPO") else "VDAD"


def _call(life: Life) -> Call:
    return Call(
        life.uniqueid, life.lead_id, 1, life.campaign, "", life.start, life.end, 1, life.status, "1", "5550001",
        _user(life), life.comments, "g", "CALLER", "NONE", 1,
    )  # fmt: skip


def _call_of(life: Life) -> tuple[int, int, str]:
    """What twins share: of those only one is a call."""
    return life.lead_id, life.end, stem(life.uniqueid)


class ModelSession:
    """The API, as a worker meets it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def post(self, payload: Mapping[str, object]) -> Answer:
        world = self._world
        world.step()
        with world.lock:
            life = world.former_ids[str(payload["uniqueid"])]
            if life.poison:
                answer = Answer(life.poison, "never this one")
            else:
                word = world.answers[world.posts % len(world.answers)] if world.answers else "stored"
                world.posts += 1
                if word in ("stored", "lost"):
                    world.stored.append((life, str(payload["disposition"]), world.now))
                answer = {
                    "stored": Answer(Meaning.DELIVERED, "200 OK"),
                    "lost": Answer(Meaning.TRY_AGAIN, "the connection was cut without an answer"),
                    "error": Answer(Meaning.TRY_AGAIN, "500 Internal Server Error"),
                    "refused": Answer(Meaning.REFUSED, "401 Unauthorized"),
                }[word]
        world.step()
        return answer

    def close(self) -> None:
        pass


class ModelStore(Store):
    """The real store, killed before, after and in the middle of what it does."""

    world: World

    def save(self) -> None:
        self.world.step()
        super().save()
        self.world.step()

    def _append(self, path: Path, line: str) -> None:
        self.world.step()
        try:
            self.world.step()
        except Killed:
            os.write(self._fd, line[: len(line) // 2].encode())
            raise
        super()._append(path, line)
        self.world.step()


class History(RuleBasedStateMachine):
    """Calls live, runs come and go, everything fails; then it heals, and the books must balance."""

    @initialize(concurrency=st.integers(1, 3), live_tables_are_known=st.booleans())
    def begin(self, concurrency: int, live_tables_are_known: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vicisync-history-", dir="/dev/shm"))
        self.settings = make_settings(
            self.folder, concurrency=str(concurrency), max_retries="1", batch_size="2", overlap="450",
            exclude_campaigns=LEFT_OUT,
        )  # fmt: skip
        self.world = World(live_tables_are_known=live_tables_are_known)
        self.allowed_repeats = 0
        self.excused: set[int] = set()
        self.ended_after = START - 1
        self.counter = 0
        self.settings.checkpoint_file.parent.mkdir(exist_ok=True)
        self._start_at(START - 1)

    def _start_at(self, epoch: int) -> None:
        path = self.settings.checkpoint_file
        checkpoint = starting_at(epoch, self.settings.give_up_after)
        with locked(path), Store(checkpoint, path, self.settings.rejected_file) as store:
            store.save()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            try:
                self.heal_and_balance()
            finally:
                shutil.rmtree(self.folder)

    # What the dialer does.

    def _new(self, start: int, lead_id: int, created: int | None = None, **facts: Any) -> Life:
        self.counter += 1
        # No lead has two calls that start in one second.
        while any((life.lead_id, life.start) == (lead_id, start) for life in self.world.lives):
            start -= 1
        if facts.get("live") and start < self.world.now:
            self.world.now = start = self.world.now + 1
        uniqueid = f"{created or start}.{self.counter}"
        life = Life(uniqueid, lead_id=lead_id, start=start, **facts)
        if life.end and life.end <= self.ended_after:
            self.excused.add(id(life))
        for other in self.world.lives:  # a lead is on one line at a time
            other.live = other.live and (other.lead_id != lead_id or other.start > start)
        self.world.lives.append(life)
        if self.world.is_locked:
            self.world.held_back.append(life)
        self.world.former_ids[life.uniqueid] = life
        return life

    @rule(lead=st.integers(1, 3), campaign=CAMPAIGN)
    def customer_answers(self, lead: int, campaign: str) -> None:
        self._new(self.world.now, lead_id=lead, live=True, campaign=campaign)

    @rule(
        lead=st.integers(1, 3),
        late=st.sampled_from([0, 0, 30, 240, 420]),
        poison=st.sampled_from([None, None, None, None, Meaning.REJECTED, Meaning.TRY_AGAIN]),
        campaign=CAMPAIGN,
    )
    def nobody_answers(self, lead: int, late: int, poison: Meaning | None, campaign: str) -> None:
        start = max(START, self.world.now - late)
        self._new(start, lead_id=lead, end=start, status="NA", poison=poison, settled=True, campaign=campaign)

    @rule(data=st.data(), rewritten=st.booleans())
    @precondition(lambda self: self.running())
    def agent_hangs_up(self, data: st.DataObject, rewritten: bool) -> None:
        life = data.draw(st.sampled_from(self.running()))
        life.end, life.status = self.world.now, "DISPO"
        if rewritten:
            self._rewrite(life)

    @rule(data=st.data())
    @precondition(lambda self: self.running())
    def customer_hangs_up(self, data: st.DataObject) -> None:
        life = data.draw(st.sampled_from(self.running()))
        life.end, life.status = self.world.now, "INCALL"

    @rule(data=st.data(), status=st.sampled_from(FINAL))
    @precondition(lambda self: self.in_wrap_up())
    def agent_picks_disposition(self, data: st.DataObject, status: str) -> None:
        life = data.draw(st.sampled_from(self.in_wrap_up()))
        life.status, life.settled, life.live = status, True, False

    @rule(data=st.data(), steps=st.integers(0, 9))
    @precondition(lambda self: self.in_wrap_up())
    def a_run_between_the_release_of_a_lead_and_its_row(self, data: st.DataObject, steps: int) -> None:
        """VICIdial empties its live tables first."""
        life = data.draw(st.sampled_from(self.in_wrap_up()))
        life.live = False
        self._run(["stored"], steps or None)
        life.status, life.settled = "SALE", True

    @rule(data=st.data())
    @precondition(lambda self: self.in_wrap_up())
    def agent_closes_his_browser_and_is_logged_out(self, data: st.DataObject) -> None:
        life = data.draw(st.sampled_from(self.in_wrap_up()))
        life.live, life.settled = False, True

    @rule(data=st.data(), status=st.sampled_from(FINAL))
    @precondition(lambda self: self.running())
    def hot_key_before_hang_up(self, data: st.DataObject, status: str) -> None:
        life = data.draw(st.sampled_from(self.running()))
        life.status, life.settled = status, True

    @rule(data=st.data())
    @precondition(lambda self: self.hung_up_by_hot_key())
    def hang_up_rewrites_after_hot_key(self, data: st.DataObject) -> None:
        life = data.draw(st.sampled_from(self.hung_up_by_hot_key()))
        life.end, life.live = self.world.now, False
        self._rewrite(life)

    @rule(minutes=st.integers(1, 60))
    def rows_are_held_back_while_cron_goes_on(self, minutes: int) -> None:
        """By a backup, an ALTER, a replica that stands still: what exists is read, and nothing appears."""
        self.world.is_locked = True
        for _ in range(min(minutes, 6)):
            self._new(self.world.now, lead_id=9, end=self.world.now, status="NA", settled=True)
            self.world.now += minutes * 10
            self._run(["stored"], None)
        self.world.is_locked = False
        self.world.held_back.clear()

    @rule(runs=st.integers(1, 3), answers=st.sampled_from(["stored", "error"]))
    def the_table_is_swapped_for_some_runs(self, runs: int, answers: str) -> None:
        self.world.is_swapped = True
        for _ in range(runs):
            self.world.now += 60
            self._run([answers], None)
        self.world.is_swapped = False

    @rule(ahead=st.sampled_from([-1_700_000_000, -86400, -7200, -200, 200, 7200, 32400]))
    def the_database_s_clock_is_wrong_for_a_run(self, ahead: int) -> None:
        self.world.now += 60
        self.world.database_is_ahead = ahead
        self._run(["stored"], None)
        self.world.database_is_ahead = 0

    def _rewrite(self, life: Life) -> None:
        self.counter += 1
        life.uniqueid = f"{stem(life.uniqueid)}.{self.counter}"
        self.world.former_ids[life.uniqueid] = life

    @rule(data=st.data())
    @precondition(lambda self: self.world.rows())
    def row_is_deleted(self, data: st.DataObject) -> None:
        life = data.draw(st.sampled_from(self.world.rows()))
        life.in_table = False
        self.excused.add(id(life))

    @rule(seconds=st.sampled_from([1, 60, 60, 300, 1000]))
    def time_passes(self, seconds: int) -> None:
        self.world.now += seconds

    def running(self) -> list[Life]:
        rows = self.world.rows()
        return [life for life in rows if not life.end and not life.settled and not self._too_old(life)]

    def in_wrap_up(self) -> list[Life]:
        """As long as anybody may change the disposition: where the agent's lead is known, for hours."""
        known = self.world.live_tables_are_known
        wait = LONGEST_HELD - 3600 if known else self.settings.wait_for_disposition
        return [
            life
            for life in self.world.rows()
            if life.end and not life.settled and (life.live or not known) and self.world.now - life.start < wait
        ]

    def hung_up_by_hot_key(self) -> list[Life]:
        # Within a second or so: the agent's browser sends both.
        return [
            life
            for life in self.world.rows()
            if life.settled and life.status in FINAL and self.world.now - max(life.start, life.end) <= 60
        ]

    def _too_old(self, life: Life) -> bool:
        return self.world.now - life.start >= self.settings.give_up_after

    # What vicisync does, and what befalls it.

    @rule(
        answers=st.one_of(
            st.sampled_from([["stored"], ["refused"]]),
            st.lists(st.sampled_from(["stored", "stored", "stored", "lost", "error"]), min_size=1, max_size=6),
        ),
        steps=st.one_of(st.none(), st.integers(0, 30)),
    )
    def a_run(self, answers: list[str], steps: int | None) -> None:
        self._run(answers, steps)

    @rule(runs=st.integers(1, 4))
    def cron_goes_on(self, runs: int) -> None:
        for _ in range(runs):
            self.world.now += 240
            self._run(["stored"], None)

    @rule(talk=st.integers(0, 4), rewritten=st.booleans(), wrap_up=st.integers(0, 3))
    def a_whole_agent_call_while_cron_goes_on(self, talk: int, rewritten: bool, wrap_up: int) -> None:
        life = self._new(self.world.now, lead_id=1, live=True)
        self.cron_goes_on(talk)
        life.end, life.status = self.world.now, "DISPO"
        if rewritten:
            self._rewrite(life)
        self.cron_goes_on(wrap_up)
        life.status, life.settled, life.live = "SALE", True, False

    @rule()
    def a_run_between_hot_key_and_hang_up(self) -> None:
        life = self._new(self.world.now, lead_id=2)
        life.end, life.status, life.settled = self.world.now, "SALE", True
        self._run(["stored"], None)
        self._rewrite(life)

    @rule()
    def of_two_calls_alike_one_is_deleted_and_the_delivered_one_rewritten(self) -> None:
        watched = self._new(self.world.now, lead_id=3, live=True)
        self._run(["stored"], None)
        watched.live = False
        delivered = self._new(self.world.now, lead_id=3, created=int(stem(watched.uniqueid)))
        delivered.end, delivered.status, delivered.settled = self.world.now, "SALE", True
        self._run(["stored"], None)
        watched.in_table = False
        self.excused.add(id(watched))
        self._rewrite(delivered)
        self._run(["stored"], None)

    @rule(lead=st.integers(1, 3), steps=st.integers(0, 12))
    def a_run_is_killed_and_the_next_one_comes_late(self, lead: int, steps: int) -> None:
        self._new(self.world.now, lead_id=lead, end=self.world.now, status="NA", settled=True)
        self.world.now += 60
        self._run(["stored"], steps)
        self.world.now += 1000

    @rule()
    def a_run_in_an_outage(self) -> None:
        rejected = len(self.world.rejected)
        self._run(["error"], None)
        assert all(life.poison is Meaning.REJECTED for life in self.world.rejected[rejected:])

    @rule(back=st.sampled_from([0, 60, 600, 3600]))
    def reset(self, back: int) -> None:
        to = self.world.now - back
        self._start_at(to)
        self.ended_after = to
        # A hot key's call that was delivered can still be rewritten, with an end after the reset.
        still_to_end = self.hung_up_by_hot_key()
        self.allowed_repeats += sum(life.end > to or life in still_to_end for life in self.world.lives)
        self.world.now += 1  # what ends within the second of the reset itself is nobody's, by definition
        self.excused |= {id(life) for life in self.world.lives if life.end and life.end <= to}

    def _run(self, answers: list[str], steps: int | None) -> None:
        world = self.world
        world.answers, world.steps_to_live, world.posts = answers, steps, 0
        ModelCallLog.world = ModelStore.world = world
        stored_before = len(world.stored)
        output = io.StringIO()
        with (
            patch.object(sync, "CallLog", ModelCallLog),
            patch.object(sync, "Store", ModelStore),
            patch("vicisync.sync.poll.live_leads", live_leads),
            patch("vicisync.did_optimizer.delivery.backoff", lambda _: 0.0),
            patch("vicisync.did_optimizer.delivery.POLL_INTERVAL", 0.001),
            patch("vicisync.state.store.add_rejected", self._add_rejected),
        ):
            try:
                sync.run(
                    self.settings,
                    Report(output),
                    StopSignal(),
                    lambda: ModelSession(world),
                    machine_clock=lambda: world.now,
                )
            except VicisyncError:
                pass
            except Killed:
                self.allowed_repeats += self.settings.concurrency
        world.steps_to_live = None
        if "lost" in answers:
            self.allowed_repeats += len(world.stored) - stored_before
        failures = [line for line in output.getvalue().splitlines() if ": failed:" in line]
        for uniqueid in {line.partition(": failed:")[0].split()[-1] for line in failures}:
            world.failed_in_runs[id(world.former_ids[uniqueid])] += 1

    def _add_rejected(self, _file: Path, _why: str, payload: Mapping[str, object]) -> None:
        self.world.step()
        self.world.rejected.append(self.world.former_ids[str(payload["uniqueid"])])
        self.world.step()

    # What must hold.

    @invariant()
    def only_what_earned_it_is_rejected(self) -> None:
        for life in self.world.rejected:
            assert life.poison or self.world.failed_in_runs[id(life)] >= FAILED_RUNS_TO_REJECT

    @invariant()
    def nothing_of_a_campaign_that_is_left_out_is_sent_or_rejected(self) -> None:
        sent = [life for life, _, _ in self.world.stored]
        assert LEFT_OUT not in {life.campaign for life in [*sent, *self.world.rejected]}

    @invariant()
    def a_disposition_is_final_or_the_wait_was_over(self) -> None:
        for life, disposition, at in self.world.stored:
            if life.settled and disposition != life.status:
                assert at - life.end >= self.settings.wait_for_disposition

    @invariant()
    def repeats_are_lost_answers_kills_or_resets(self) -> None:
        repeats = len(self.world.stored) - len({id(life) for life, _, _ in self.world.stored})
        assert repeats <= self.allowed_repeats

    def heal_and_balance(self) -> None:
        """Let every call come to its end and everything work; then delivered and rejected are all that ended."""
        for life in self.world.lives:  # all have gone home
            life.live = False
        for _ in range(FAILED_RUNS_TO_REJECT + 2):
            self.world.now += 120
            self._new(self.world.now, lead_id=9, end=self.world.now, status="NA", settled=True)
            self._run(["stored"], None)
        done = {id(life) for life, _, _ in self.world.stored} | {id(life) for life in self.world.rejected}
        due = {
            id(life): life
            for life in self.world.lives
            if life.end and self.world.now - life.end >= self.settings.wait_for_disposition
            if life.campaign != LEFT_OUT
        }
        lost = [life for key, life in due.items() if key not in done | self.excused]
        calls = {_call_of(life) for life in self.world.lives if id(life) in done}
        assert [] == [life for life in lost if _call_of(life) not in calls]
        self.repeats_are_lost_answers_kills_or_resets()
        self.a_disposition_is_final_or_the_wait_was_over()


TestHistory = pytest.mark.no_cover(History.TestCase)  # others measure what it runs, which takes half of its time
# The same ones each time, so that a failure is of the change at hand; thousands of others are for an idle hour.
TestHistory.settings = settings(max_examples=150, stateful_step_count=40, suppress_health_check=list(HealthCheck))
