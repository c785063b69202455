"""Delivery: who is sent when, how often, and what ends a run. The API is scripted; store and files are real."""

import io
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NoReturn

import pytest

from tests.conftest import make_settings
from vicisync.calls.call import Call, payload, row_of
from vicisync.calls.readiness import FAILED, TO_SEND, UNANSWERED, Watched
from vicisync.did_optimizer import delivery as module
from vicisync.did_optimizer.answer import Answer, Meaning
from vicisync.did_optimizer.attempt import Attempt, backoff
from vicisync.did_optimizer.delivery import FAILURES_BEFORE_OUTAGE, Delivery, StopSignal
from vicisync.errors import ApiError, CheckpointError, Stopped
from vicisync.report import Report, Tally
from vicisync.state.checkpoint import starting_at
from vicisync.state.load import read_checkpoint
from vicisync.state.lock import locked
from vicisync.state.store import Store
from vicisync.sync.run import FAILED_RUNS_TO_REJECT, record, reject_poison, report_answer

START = 1729785600

ADDRESSED = "DID Optimizer at http://did.example:5000"

OK = Answer(Meaning.DELIVERED, "200 OK")
KNOWN = Answer(Meaning.DELIVERED, "200 OK", duplicate=True)
UNSTORABLE = Answer(Meaning.REJECTED, "400 Bad Request: no campaignId", by_api=True)
ERROR = Answer(Meaning.TRY_AGAIN, "500 Internal Server Error")
CUT = Answer(Meaning.TRY_AGAIN, "the connection was cut without an answer", perhaps_stored=True)
REFUSED = Answer(Meaning.REFUSED, "401 Unauthorized; check api_key")


def too_many(retry_after: float | None = None) -> Answer:
    return Answer(Meaning.TRY_AGAIN, "429 Too Many Requests", retry_after=retry_after, throttled=True)


def unavailable(retry_after: float) -> Answer:
    return Answer(Meaning.TRY_AGAIN, "503 Service Unavailable", retry_after=retry_after)


def call(number: int) -> Call:
    return Call(
        f"{START}.{number}", number, 101, "CAMP01", "2024-10-24 12:00:00", START, START + number, number, "SALE",
        "1", "2125550100", "6666", "AUTO", "AGENTS", "AGENT", "MAIN", 1,
    )  # fmt: skip


SETTINGS = {"api_base_url": ADDRESSED.rpartition(" ")[2], "concurrency": "4", "max_retries": "2"}

Reply = Callable[[int, int], Answer]
"""Gives the answer to a call, by its number, and to which try, from 1."""


class Api:
    """Answers as ``reply`` says, and counts."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._lock = threading.Lock()
        self.posts: list[int] = []
        self.payloads: list[Mapping[str, object]] = []
        self.in_flight = self.max_in_flight = self.opened = self.closed = 0

    def open_session(self) -> "Api":
        with self._lock:
            self.opened += 1
        return self

    def close(self) -> None:
        with self._lock:
            self.closed += 1

    def post(self, payload: Mapping[str, object]) -> Answer:
        number = int(str(payload["uniqueid"]).partition(".")[2])
        with self._lock:
            self.posts.append(number)
            self.payloads.append(payload)
            tries = self.posts.count(number)
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            return self._reply(number, tries)
        finally:
            with self._lock:
                self.in_flight -= 1


@dataclass
class Outcome:
    """What came of a delivery."""

    error: BaseException | None
    tally: Tally
    watching: dict[int, Watched]
    taken: int
    """Calls that were asked for."""
    lines: list[str]
    rejected: list[dict[str, object]]

    @property
    def api_error(self) -> str:
        assert isinstance(self.error, ApiError)
        return str(self.error)


class Clock:
    """Stands still until a test moves it; a retry is due in 40 s."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._give_up = time.monotonic() + 30

    def monotonic(self) -> float:
        assert time.monotonic() < self._give_up, "someone waits for a time that never comes"
        return self.now


Deliver = Callable[..., Outcome]
BeforeRecording = Callable[[Callable[[int], object]], None]


@pytest.fixture(autouse=True)
def _tiny_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "backoff", lambda _: 0.001)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "backoff", lambda _: 40.0)
    return clock


@pytest.fixture
def before_recording(monkeypatch: pytest.MonkeyPatch) -> BeforeRecording:
    """Have something done before each delivery is recorded, told how many were before it."""

    def have_done(act: Callable[[int], object]) -> None:
        delivered, recorded = Store.delivered, count()

        def acting(store: Store, uniqueid: str, end_epoch: int) -> None:
            act(next(recorded))
            delivered(store, uniqueid, end_epoch)

        monkeypatch.setattr(Store, "delivered", acting)

    return have_done


@pytest.fixture
def deliver(tmp_path: Path) -> Deliver:
    def deliver(
        api: Api,
        calls: int,
        *,
        deadline: float = float("inf"),
        stop: StopSignal | None = None,
        failed_runs: Mapping[int, int] = {},
        last: Callable[[], None] = lambda: None,
        **texts: str,
    ) -> Outcome:
        """Offer calls from number 0 on until no more are taken; ``last`` comes when all are offered."""
        settings = make_settings(tmp_path, **{**SETTINGS, **texts})
        everything = [call(number) for number in range(calls)]
        checkpoint = starting_at(START - 1, 0)
        for number, poisoned in failed_runs.items():
            checkpoint.watching[call(number).uniqueid] = Watched(number, START, FAILED, poisoned)
        stream, taken = io.StringIO(), count()
        report = Report(stream)

        def attempts() -> Iterator[Attempt]:
            for one in everything:
                next(taken)
                yield Attempt(one)
            last()

        path = settings.checkpoint_file
        with locked(path), Store(checkpoint, path, settings.rejected_file) as store:
            store.make_ready()
            for one in everything:
                store.watch(row_of(one, START), TO_SEND)
            delivery = Delivery(settings, api.open_session, stop or StopSignal(), deadline, report.note)
            for one, answer in delivery.answers(attempts()):
                with delivery.stopped_by_errors():
                    record(settings, store, one, answer, START)
                    report_answer(report, one, answer)
            reject_poison(settings, delivery, store, report)
            report.tally.perhaps_twice = delivery.perhaps_twice
            watching = {call.lead_id: call._replace(payload="") for call in checkpoint.watching.values()}
            # What was delivered or rejected is on the disk already, should the process be killed now.
            saved = read_checkpoint(path, 0)
            assert saved is not None
            handled = {past.lead_id for past in saved.handled.values()}
            assert handled == set(range(calls)) - set(watching)
        rejected = settings.rejected_file
        entries = [json.loads(line) for line in rejected.read_text().splitlines()] if rejected.exists() else []
        lines = [line.split(" ", 3)[3] for line in stream.getvalue().splitlines()]
        return Outcome(delivery.error, report.tally, watching, next(taken), lines, entries)

    return deliver


def always(answer: Answer) -> Reply:
    return lambda *_: answer


def only(number: int, answer: Answer) -> Reply:
    """Return one call this answer and store all others."""
    return lambda other, _: answer if other == number else OK


def at(number: int, act: Callable[[], object], answer: Answer = OK) -> Reply:
    """Do something at one call before it gets this answer, and store all others."""

    def reply(other: int, _: int) -> Answer:
        if other != number:
            return OK
        act()
        return answer

    return reply


def wait_for(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up, "it never came"
        time.sleep(0.002)


# All is well


def test_every_call_is_sent_once_and_recorded(deliver: Deliver) -> None:
    api = Api(lambda number, _: KNOWN if number % 10 == 0 else OK)
    done = deliver(api, 100)
    assert done.error is None
    assert Counter(api.posts) == Counter(range(100))
    assert api.payloads[0] == payload(call(0), {})
    assert (done.tally, done.watching) == (Tally(delivered=100, duplicates=10), {})
    assert f"✓ {START}.10: CAMP01/2125550100 → SALE (10s) (duplicate)" in done.lines


def test_the_first_call_goes_alone_and_then_as_many_as_concurrency_says(deliver: Deliver) -> None:
    together = threading.Barrier(4)
    alone: list[list[int]] = []

    def reply(number: int, _: int) -> Answer:
        if number == 0:
            time.sleep(0.1)  # time enough for others to follow, if they would
            alone.append(list(api.posts))
        elif number <= 4:
            together.wait(timeout=30)  # broken unless all four are in flight at once
        return OK

    api = Api(reply)
    assert deliver(api, 40).error is None
    assert alone == [[0]]
    assert (api.max_in_flight, api.opened, api.closed) == (4, 4, 4)


def test_without_a_call_no_connection_is_opened(deliver: Deliver) -> None:
    api = Api(always(OK))
    assert deliver(api, 0).error is None
    assert api.opened == 0


def test_no_more_calls_are_unrecorded_than_concurrency_is(deliver: Deliver, before_recording: BeforeRecording) -> None:
    """So a kill repeats no more than these, and a backlog is read from the database as it goes."""
    unrecorded: list[int] = []

    def slow_disk(recorded: int) -> None:
        time.sleep(0.002)
        unrecorded.append(len(api.posts) - recorded)

    before_recording(slow_disk)
    api = Api(always(OK))
    assert deliver(api, 100).tally.delivered == 100
    assert max(unrecorded) == 4


# A call that fails


@pytest.mark.parametrize(
    ("calls", "failing"), [(30, range(1, 2)), (60, range(1, 60, 3))], ids=["one", "every third, which is no outage"]
)
def test_failing_calls_hold_up_nobody(deliver: Deliver, clock: Clock, calls: int, failing: range) -> None:
    """The clock stands still until all others have been sent; then the retries fail one after the other."""

    def reply(number: int, _: int) -> Answer:
        if number == calls - 1:
            clock.now += 1000.0
        return ERROR if number in failing else OK

    api = Api(reply)
    done = deliver(api, calls, concurrency="1", max_retries="1")
    assert done.error is None
    assert api.posts == [*range(calls), *failing]
    assert done.watching == {number: Watched(number, START, FAILED, failed_runs=1) for number in failing}
    assert done.tally == Tally(delivered=calls - len(failing), failed=len(failing))


@pytest.mark.parametrize("max_retries", [0, 1, 3])
def test_a_failing_call_is_tried_as_max_retries_says_and_then_watched(deliver: Deliver, max_retries: int) -> None:
    api = Api(only(3, CUT))
    done = deliver(api, 10, max_retries=str(max_retries))
    assert Counter(api.posts)[3] == max_retries + 1
    assert set(done.watching) == {3}
    assert done.lines.count(f"✗ {START}.3: failed: the connection was cut without an answer; will try again") == 1


def test_a_call_that_gets_through_at_a_retry_is_delivered(deliver: Deliver) -> None:
    done = deliver(Api(lambda number, tries: ERROR if number % 2 and tries < 3 else OK), 20)
    assert done.error is None
    assert (done.tally.delivered, done.tally.failed, done.watching) == (20, 0, {})


def test_a_call_that_can_never_be_stored_is_rejected_and_the_rest_goes_on(deliver: Deliver) -> None:
    api = Api(lambda number, _: OK if number % 5 == 4 else UNSTORABLE)
    done = deliver(api, 20, concurrency="1")
    assert done.error is None
    assert len(api.posts) == 20
    assert (done.tally.delivered, done.tally.failed, done.tally.rejected) == (4, 16, 16)
    assert [entry["why"] for entry in done.rejected] == [UNSTORABLE.words] * 16
    assert done.rejected[0]["payload"] == payload(call(0), {})
    assert done.watching == {}


NOTHING_STORED = "answers, but stores nothing: 5 calls in a row failed, 400 Bad Request: no campaignId"


@pytest.mark.parametrize(
    ("reply", "calls", "rejected", "said"),
    [
        pytest.param(always(UNSTORABLE), 4, 0, "No call got through to ", id="none of four where nothing was stored"),
        pytest.param(always(UNSTORABLE), 20, 0, NOTHING_STORED, id="none of all where nothing is stored"),
        pytest.param(lambda number, _: OK if number < 4 else UNSTORABLE, 8, 4, "", id="four behind a stored one"),
        pytest.param(lambda number, _: UNSTORABLE if number < 4 else OK, 8, 4, "", id="four before a stored one"),
        pytest.param(
            lambda number, _: OK if number < 4 else UNSTORABLE,
            20,
            0,
            NOTHING_STORED,
            id="not the five that stop it",
        ),
        pytest.param(
            lambda number, _: ERROR if number % 2 else UNSTORABLE,
            20,
            0,
            "5 calls in a row failed",
            id="of five, others",
        ),
    ],
)
def test_a_verdict_counts_only_from_an_api_that_is_seen_to_work(
    deliver: Deliver, reply: Reply, calls: int, rejected: int, said: str
) -> None:
    done = deliver(Api(reply), calls, max_retries="0", concurrency="1")
    assert (rejected, rejected) == (done.tally.rejected, len(done.rejected))
    assert calls == done.tally.delivered + rejected + len(done.watching)
    assert said in done.api_error if said else done.error is None


def test_the_five_that_stop_a_run_are_kept_though_one_in_flight_gets_through_after_them(deliver: Deliver) -> None:
    stopped = threading.Event()

    def reply(number: int, _: int) -> Answer:
        if number == 1:
            assert stopped.wait(30)
        if number == 6:
            threading.Timer(0.3, stopped.set).start()
        return OK if number < 2 else UNSTORABLE

    done = deliver(Api(reply), 20, concurrency="2")
    assert NOTHING_STORED in done.api_error
    assert (2, 0, []) == (done.tally.delivered, done.tally.rejected, done.rejected)
    assert set(range(2, 20)) == set(done.watching)


@pytest.mark.parametrize(
    ("twice", "reply"),
    [
        pytest.param(2, lambda number, tries: CUT if number in (3, 4) and tries == 1 else OK, id="an answer was lost"),
        pytest.param(1, lambda number, tries: CUT if number == 3 and tries < 3 else OK, id="two answers of one call"),
        pytest.param(1, only(3, CUT), id="all its answers"),
        pytest.param(0, lambda number, tries: CUT if number == 3 and tries == 1 else KNOWN, id="the API knew it"),
        pytest.param(0, lambda number, tries: ERROR if number == 3 and tries == 1 else OK, id="it had an answer"),
        pytest.param(1, only(3, OK._replace(perhaps_twice=True)), id="sent again on a fresh connection"),
    ],
)
def test_calls_that_may_have_been_stored_twice_are_counted(deliver: Deliver, twice: int, reply: Reply) -> None:
    assert twice == deliver(Api(reply), 10, max_retries="3").tally.perhaps_twice


@pytest.mark.parametrize(
    ("seconds", "is_up_at"),
    [pytest.param(30, None, id="due too late"), pytest.param(50, 5, id="still waiting when time is up")],
)
def test_a_retry_for_which_there_is_no_time_is_left_to_the_next_run(
    deliver: Deliver, clock: Clock, seconds: int, is_up_at: int | None
) -> None:
    deadline = clock.now + seconds

    def reply(number: int, _: int) -> Answer:
        if number == is_up_at:
            clock.now = deadline
        return ERROR if number == 1 else OK

    api = Api(reply)
    done = deliver(api, 6, deadline=deadline, concurrency="1")
    assert done.error is None
    assert api.posts == list(range(6))
    assert (done.watching[1].reason, done.tally.failed) == (FAILED, 1)


@pytest.mark.parametrize(("tries", "bound"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (11, 10)])
def test_the_wait_before_a_retry_is_anything_up_to_a_bound_that_doubles(tries: int, bound: float) -> None:
    waits = [backoff(tries) for _ in range(500)]
    assert 0 <= min(waits) < 0.1 * bound
    assert 0.9 * bound < max(waits) <= bound


# An API that is down


@pytest.mark.parametrize("answer", [ERROR, CUT, too_many()], ids=["500", "cut", "429"])
def test_an_api_that_is_down_is_met_by_five_calls_one_at_a_time(deliver: Deliver, answer: Answer) -> None:
    api = Api(always(answer))
    done = deliver(api, 1000)
    assert done.api_error.startswith(f"{ADDRESSED} is down: 5 calls in a row failed, {answer.words}. Nothing is lost")
    assert api.posts == [number for number in range(FAILURES_BEFORE_OUTAGE) for _ in range(3)]
    assert api.max_in_flight == 1
    assert done.taken < 10
    assert set(done.watching) == set(range(1000))
    assert all(watched.failed_runs == 0 for watched in done.watching.values())
    tried = UNANSWERED if answer.perhaps_stored else FAILED
    assert [done.watching[number].reason for number in (0, 4, 5, 49)] == [tried, tried, TO_SEND, TO_SEND]


def test_an_api_that_goes_down_on_the_way_ends_the_run_soon(deliver: Deliver, tmp_path: Path) -> None:
    def recorded() -> int:
        return (tmp_path / "state" / "checkpoint").read_text().count("\ndelivered\t")

    def goes_down(number: int, _: int) -> Answer:
        if number < 20:
            return OK
        wait_for(lambda: recorded() == 20)  # what fails while others are still passing tells nothing yet
        return ERROR

    api = Api(goes_down)
    done = deliver(api, 200)
    assert isinstance(done.error, ApiError)
    # Each is tried three times; with the fifth that is given up, as many as the other workers have are on their way.
    assert len(api.posts) <= 20 + 3 * (FAILURES_BEFORE_OUTAGE + 4 - 1)
    assert (done.tally.delivered, done.tally.rejected) == (20, 0)
    assert set(done.watching) == set(range(20, 200))


@pytest.mark.parametrize("calls", [1, 4])
def test_a_run_in_which_not_a_single_call_passes_fails(deliver: Deliver, calls: int) -> None:
    done = deliver(Api(always(CUT)), calls)
    assert done.api_error.startswith(f"No call got through to {ADDRESSED}: the connection was cut")


# An API that asks us to wait


@pytest.mark.parametrize(
    ("answer", "cure"),
    [
        pytest.param(too_many(900), "\n→ have its operator lift the limit for this server", id="429"),
        pytest.param(unavailable(900), "", id="503"),
    ],
)
def test_a_wait_that_outlasts_the_run_ends_it(deliver: Deliver, answer: Answer, cure: str) -> None:
    api = Api(only(1, answer))
    done = deliver(api, 30, deadline=time.monotonic() + 60, concurrency="1")
    assert done.api_error.startswith(f"{ADDRESSED} asks us to wait 900 s ({answer.words}). Nothing is lost")
    assert done.api_error.endswith(f"for the next try{cure}")
    assert api.posts == [0, 1]
    assert done.watching[1] == Watched(1, START, FAILED, failed_runs=0)


def test_a_long_wait_is_told_once_and_a_short_one_is_not(deliver: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_BACKOFF", 0.1)
    waits = {1: 0.05, 2: 0.4}
    done = deliver(Api(lambda number, tries: too_many(waits[tries]) if number == 0 and tries in waits else OK), 3)
    assert done.error is None
    assert 1 == sum(f"⏳ {ADDRESSED} asks us to wait 0 s" in line for line in done.lines)


def test_a_short_wait_makes_everyone_pause_and_go_on(deliver: Deliver, clock: Clock) -> None:
    """The pause is 50 s long on a clock that stands still until everyone has had the time to break it."""
    together = threading.Barrier(4)
    begun_in_pause: list[int] = []

    def pause_over() -> None:
        time.sleep(0.5)
        begun_in_pause.append(len(api.posts))
        clock.now += 51

    def reply(number: int, tries: int) -> Answer:
        if 1 <= number <= 4 and tries == 1:
            together.wait(timeout=30)
            if number == 1:
                timer.start()
                return unavailable(50)
            time.sleep(0.1)  # the others come back when the pause has begun
        return OK

    timer = threading.Thread(target=pause_over)
    api = Api(reply)
    done = deliver(api, 60)
    timer.join()
    assert done.error is None
    assert begun_in_pause == [5]
    assert (done.tally.delivered, done.tally.failed) == (60, 0)


# An API that refuses us


def test_a_refusal_stops_the_run_at_once_and_rejects_nothing(deliver: Deliver) -> None:
    api = Api(always(REFUSED))
    done = deliver(api, 30)
    assert done.api_error.startswith(f"{ADDRESSED} cannot be used: 401 Unauthorized. Nothing is lost")
    assert api.posts == [0]
    assert (done.tally.rejected, done.rejected) == (0, [])
    assert set(done.watching) == set(range(30))


def test_a_refusal_lets_what_is_in_flight_finish(deliver: Deliver) -> None:
    together = threading.Barrier(4)
    answers = {2: REFUSED, 3: Answer(Meaning.REFUSED, "403 Forbidden")}

    def reply(number: int, _: int) -> Answer:
        if 1 <= number <= 4:
            together.wait(timeout=30)
            time.sleep(0 if number == 2 else 0.1)  # the refusal comes first
        return answers.get(number, OK)

    api = Api(reply)
    done = deliver(api, 30)
    assert done.api_error.startswith(f"{ADDRESSED} cannot be used: 401"), "the first error is told"
    assert set(done.watching) == {2, 3, *range(5, 30)}
    assert len(api.posts) == 5


# Poison

ALMOST = FAILED_RUNS_TO_REJECT - 1


def refusal_after_two(number: int, _: int) -> Answer:
    """The third call fails on its own account, and from the fifth on the API refuses."""
    return {2: ERROR}.get(number, REFUSED if number > 3 else OK)


POISON = [
    pytest.param(only(2, ERROR), 10, 0, 1, id="the first while others pass"),
    pytest.param(only(2, ERROR), 10, ALMOST - 1, ALMOST, id="the ninth"),
    pytest.param(lambda number, _: ERROR if number == 2 else UNSTORABLE, 10, 0, 0, id="not while others are rejected"),
    pytest.param(only(2, ERROR), 10, ALMOST, None, id="the tenth rejects"),
    pytest.param(only(2, too_many()), 10, ALMOST, ALMOST, id="never for 429"),
    pytest.param(always(ERROR), 3, ALMOST, ALMOST, id="not when none passes"),
    pytest.param(always(ERROR), 30, ALMOST, ALMOST, id="not when the API is down"),
    pytest.param(lambda number, _: OK if number < 2 else ERROR, 30, ALMOST, ALMOST, id="not when the API goes down"),
    pytest.param(refusal_after_two, 30, ALMOST, ALMOST, id="not when the API begins to refuse"),
    pytest.param(lambda _, tries: ERROR if tries < 3 else OK, 10, ALMOST, None, id="nor one that got through"),
]


@pytest.mark.parametrize(("reply", "calls", "before", "after"), POISON)
def test_failed_runs_count_the_runs_in_which_a_call_failed_while_others_passed(
    deliver: Deliver, reply: Reply, calls: int, before: int, after: int | None
) -> None:
    """Call 2 comes with ``before`` and leaves with ``after`` failed_runs, or is watched no longer."""
    done = deliver(Api(reply), calls, failed_runs={2: before}, max_retries="2", concurrency="1")
    assert after == (done.watching[2].failed_runs if 2 in done.watching else None)
    if done.error:
        assert (done.tally.rejected, done.rejected) == (0, [])


def test_the_tenth_failed_run_puts_a_call_into_the_rejected_file(deliver: Deliver) -> None:
    done = deliver(Api(only(2, ERROR)), 10, failed_runs={2: ALMOST})
    assert done.error is None
    why = "failed in 10 runs while others passed; last: 500 Internal Server Error"
    assert [(entry["why"], entry["payload"]) for entry in done.rejected] == [(why, payload(call(2), {}))]
    assert done.lines[-1] == f"✗ {START}.2: failed: {why}; rejected"
    assert (done.tally.failed, done.tally.rejected) == (1, 1)


# Time is up


def test_no_post_begins_after_the_deadline(deliver: Deliver, clock: Clock) -> None:
    deadline = clock.now + 50
    api = Api(at(5, lambda: setattr(clock, "now", deadline)))
    done = deliver(api, 30, deadline=deadline, concurrency="1")
    assert done.error is None
    assert api.posts == [0, 1, 2, 3, 4, 5]
    assert set(done.watching) == set(range(6, 30))
    assert {watched.reason for watched in done.watching.values()} == {TO_SEND}


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    """What a hanging POST waits for; it comes when the test is over."""
    event = threading.Event()
    before = set(threading.enumerate())
    yield event
    event.set()
    for thread in set(threading.enumerate()) - before:
        thread.join()


def test_a_post_that_hangs_is_abandoned_a_timeout_after_the_deadline_and_its_answer_changes_nothing(
    deliver: Deliver, hang: threading.Event, before_recording: BeforeRecording
) -> None:
    """The next run may be at work when it comes."""
    recorded: list[int] = []
    before_recording(recorded.append)
    api = Api(at(3, lambda: hang.wait(60)))
    began = time.monotonic()
    done = deliver(api, 10, deadline=began + 0.5, api_timeout="0.5")
    assert 1.0 <= time.monotonic() - began < 20
    assert done.error is None
    assert done.watching == {3: Watched(3, START, UNANSWERED)}
    assert (done.tally.delivered, done.tally.failed) == (9, 1)

    tally, lines = Tally(**vars(done.tally)), list(done.lines)
    hang.set()
    wait_for(lambda: api.closed == api.opened)
    assert len(recorded) == 9
    assert (done.tally, done.lines, done.error) == (tally, lines, None)


# Signals, bugs, disks


def test_after_a_signal_a_failing_call_is_not_tried_again(deliver: Deliver) -> None:
    stop = StopSignal()
    api = Api(at(1, lambda: setattr(stop, "number", signal.SIGINT), ERROR))
    done = deliver(api, 50, stop=stop, concurrency="1", failed_runs={1: ALMOST})
    assert isinstance(done.error, Stopped)
    assert api.posts == [0, 1]
    assert done.watching[1] == Watched(1, START, FAILED, failed_runs=ALMOST)


def raises(error: Exception) -> Callable[[], NoReturn]:
    def raise_it() -> NoReturn:
        raise error

    return raise_it


def test_a_bug_in_a_worker_surfaces(deliver: Deliver) -> None:
    bug = ZeroDivisionError("a bug")
    api = Api(at(7, raises(bug)))
    assert deliver(api, 1000, concurrency="1").error is bug
    assert api.posts == list(range(8))
    assert api.closed == api.opened


def test_a_session_that_cannot_be_opened_surfaces(deliver: Deliver) -> None:
    api = Api(always(OK))
    api.open_session = raises(OSError("too many open files"))  # type: ignore[method-assign]
    done = deliver(api, 50)
    assert str(done.error) == "too many open files"
    assert set(done.watching) == set(range(50))


def test_a_disk_that_is_full_stops_the_sending(deliver: Deliver, before_recording: BeforeRecording) -> None:
    full = raises(CheckpointError("No room for the checkpoint"))
    before_recording(lambda recorded: full() if recorded == 4 else None)
    api = Api(always(OK))
    done = deliver(api, 100, concurrency="1")
    assert isinstance(done.error, CheckpointError)
    assert api.posts == list(range(5))
    assert set(done.watching) == set(range(4, 100))


def test_an_error_of_the_poll_stops_the_sending_and_lets_what_is_in_flight_finish(deliver: Deliver) -> None:
    """The database went away while calls were being sent."""
    in_flight = threading.Event()

    def slow() -> None:
        in_flight.set()
        time.sleep(0.2)

    def database_gone() -> None:
        in_flight.wait(30)
        raise LookupError

    api = Api(at(0, slow))
    done = deliver(api, 1, last=database_gone)
    assert isinstance(done.error, LookupError)
    assert (done.tally.delivered, done.watching) == (1, {})
    assert (api.in_flight, api.closed) == (0, api.opened)
