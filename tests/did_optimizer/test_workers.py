"""Workers where the system gives no further thread: fewer of them, and no call is lost by that."""

import threading
import time
from collections.abc import Callable, Mapping

import pytest

from tests.did_optimizer.test_delivery import call
from vicisync.did_optimizer.answer import Answer, Meaning
from vicisync.did_optimizer.attempt import Attempt
from vicisync.did_optimizer.workers import Result, Workers

STORED = Answer(Meaning.DELIVERED, "200 OK")
ATTEMPTS = [Attempt(call(number)) for number in range(6)]


class Session:
    """The API; it tells in which thread it was asked."""

    def __init__(self, threads: list[threading.Thread]) -> None:
        self._threads = threads
        self.closed = False

    def post(self, payload: Mapping[str, object]) -> Answer:  # noqa: ARG002 -- a session's signature
        self._threads.append(threading.current_thread())
        return STORED

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def threads_left(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let no more than so many threads begin."""
    start = threading.Thread.start

    def leave(left: int) -> None:
        started: list[threading.Thread] = []

        def start_or_not(thread: threading.Thread) -> None:
            if len(started) >= left:
                raise RuntimeError("can't start new thread")
            started.append(thread)
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", start_or_not)

    return leave


@pytest.mark.parametrize(("most", "left"), [(1, 0), (1, 1), (3, 3), (4, 6)])
def test_where_no_further_thread_is_given_calls_go_through_those_there_are(
    most: int, left: int, threads_left: Callable[[int], None]
) -> None:
    threads_left(left)
    told: list[str] = []
    used: list[threading.Thread] = []
    sessions: list[Session] = []

    def open_session() -> Session:
        sessions.append(Session(used))
        return sessions[-1]

    workers = Workers(open_session, {}, 4, 10, told.append)
    sent = 0
    results: list[Result | None] = []
    while len(results) < len(ATTEMPTS):
        while sent < len(ATTEMPTS) and len(workers.in_flight) < workers.most:
            workers.hand_over(ATTEMPTS[sent])
            sent += 1
        results.append(workers.next_result(5))
    workers.dismiss(5)
    assert sorted((attempt, STORED) for attempt in ATTEMPTS) == sorted(result for result in results if result)
    assert most == workers.most
    assert {threading.main_thread()} == set(used) if left == 0 else threading.main_thread() not in used
    assert all(session.closed for session in sessions)
    few = f"⚠ No further thread can be had (can't start new thread); going on with {most} at a time"
    assert ([few] if left < 4 else []) == told


def test_what_does_not_come_in_time_is_still_in_flight() -> None:
    workers = Workers(lambda: Session([]), {}, 4, 10, print)
    assert workers.next_result(0.01) is None
    workers.hand_over(ATTEMPTS[0])
    assert [ATTEMPTS[0]] == list(workers.in_flight.values())
    assert (ATTEMPTS[0], STORED) == workers.next_result(5)
    assert {} == workers.in_flight
    workers.dismiss(5)


def test_a_post_that_hangs_beyond_every_timeout_counts_as_lost_and_holds_up_no_other() -> None:
    """The look-up of a name takes as long as it likes."""
    looked_up = threading.Event()

    class Hanging(Session):
        def post(self, payload: Mapping[str, object]) -> Answer:
            if payload["uniqueid"] == ATTEMPTS[0].call.uniqueid:
                looked_up.wait(10)
            return super().post(payload)

    workers = Workers(lambda: Hanging([]), {}, 1, 0.2, print)
    try:
        workers.hand_over(ATTEMPTS[0])
        time.sleep(0.25)
        words = "no answer within 0.2 s, the look-up of its name included"
        lost = Answer(Meaning.TRY_AGAIN, words, perhaps_stored=True)
        assert (ATTEMPTS[0], lost) == workers.next_result(5)
        again = ATTEMPTS[0]._replace(tries=1)
        for attempt in (ATTEMPTS[1], ATTEMPTS[2]):
            workers.hand_over(attempt)
            assert (attempt, STORED) == workers.next_result(5)
        workers.hand_over(again)
        looked_up.set()
        results = [workers.next_result(5), workers.next_result(5)]
        assert (again, STORED) in results, "what came too late was taken for the answer to the next try"
        assert None in results
        assert {} == workers.in_flight
    finally:
        looked_up.set()
        workers.dismiss(5)


def test_a_result_that_is_there_counts_however_long_it_took(threads_left: Callable[[int], None]) -> None:
    """Without a thread, the POST is over by the time that anybody looks at the clock."""
    threads_left(0)

    class Slow(Session):
        def post(self, payload: Mapping[str, object]) -> Answer:
            time.sleep(0.1)
            return super().post(payload)

    workers = Workers(lambda: Slow([]), {}, 1, 0.05, print)
    workers.hand_over(ATTEMPTS[0])
    assert (ATTEMPTS[0], STORED) == workers.next_result(5)
    workers.dismiss(5)
