"""Delivery: calls on their way to the API, several at once, tried again and given up by rule.

One worker starts, with one call; when that has got through, the others join. So an API that is down is met by one
call at a time, and a backlog by all workers. A call that has to be tried again waits aside while others pass. Each
worker writes an answer into the book before it takes the next call: a kill repeats only what was in flight.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import NamedTuple, Protocol

from vicisync.calls.call import Call, payload
from vicisync.did_optimizer.answer import Answer, Meaning
from vicisync.errors import ApiError, Stopped
from vicisync.report import Report, Tally
from vicisync.settings.settings import Settings

FAILURES_BEFORE_OUTAGE = 5
"""Calls in a row that cannot get through before the API counts as down."""

FAILED_RUNS_TO_REJECT = 10
"""Runs in which a call may fail while others pass; the API answers 500 also for rows that it can never store."""

FIRST_BACKOFF = 1.0
"""Seconds: the longest wait before the first retry, doubled for each further one."""

LONGEST_BACKOFF = 10.0
"""Seconds."""

_AT_HAND = 8
"""Calls that lie ready for each worker: it must not run dry while the next ones are read, nor they grow stale."""

POLL_INTERVAL = 0.2
"""Seconds between two looks at the time and at whether a signal has come in."""


class Session(Protocol):
    """What a worker sends through."""

    def post(self, payload: Mapping[str, object]) -> Answer:
        """Send one call, once."""

    def close(self) -> None:
        """Close the connection."""


class Book(Protocol):
    """Where it is written down what became of a call."""

    def delivered(self, call: Call) -> None:
        """The API has stored it."""

    def rejected(self, call: Call, why: str, payload: Mapping[str, object]) -> None:
        """It can never be stored."""

    def failed(self, uniqueid: str) -> None:
        """It did not get through this time."""

    def count_failed_run(self, uniqueid: str) -> int:
        """It failed while others passed; give in how many runs that has happened."""


class StopSignal:
    """Set by a signal's handler, looked at by the run: the number of the signal, or 0."""

    number = 0


class Attempt(NamedTuple):
    """A call on its way."""

    call: Call
    failed_after: int | None
    """How many others had passed when it first failed, 0 for an earlier run; None while it has not.

    Once others have passed since, its failing tells nothing new of the API.
    """
    tries: int = 0


class Failure(NamedTuple):
    """A call that was given up for this run."""

    call: Call
    answer: Answer


def backoff(tries: int) -> float:
    """Return the seconds to wait before the next try: anything up to a bound that doubles each time."""
    bound = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (tries - 1))
    return random.uniform(0, bound)  # noqa: S311 -- it spreads the load, and guards no secret


class Delivery:
    """The workers of one run; a context whose end waits for what is in flight.

    ``deadline`` is on the monotonic clock: no POST begins after it, and one that has not come back a timeout later
    is no longer waited for.
    """

    def __init__(
        self,
        settings: Settings,
        open_session: Callable[[], Session],
        book: Book,
        report: Report,
        tally: Tally,
        stop: StopSignal,
        deadline: float,
    ) -> None:
        self._settings = settings
        self._at_hand = _AT_HAND * settings.concurrency
        self._api = f"DID Optimizer at {settings.api_base_url}"
        self._open_session = open_session
        self._book = book
        self._report = report
        self._tally = tally
        self._stop = stop
        self._deadline = deadline
        lock = threading.RLock()
        self._work = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._workers: list[threading.Thread] = []
        self._fresh: deque[Attempt] = deque()
        self._retries: list[tuple[float, int, Attempt, Answer]] = []
        self._retry_number = itertools.count()
        self._in_flight = 0
        self._passed = 0
        self._failing_in_a_row = 0
        self._failures: list[Failure] = []
        self._failures_in_a_row = 0
        self._paused_until = 0.0
        self._closing = False
        self._abandoned = False
        self._over_since: float | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Delivery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for all that was offered; where the run is over, for what is in flight alone."""
        with self._work:
            self._closing = True
            if error is not None:
                self._stop_sending(None)
            self._work.notify_all()
        while any(worker.is_alive() for worker in self._workers) and not self._is_overdue():
            for worker in tuple(self._workers):  # the first one may be hiring the others just now
                worker.join(POLL_INTERVAL / len(self._workers))
        with self._work:
            self._abandoned = True
            for _, _, attempt, answer in self._retries:
                self._give_up(attempt.call, answer)
            self._count_failed_runs()

    @property
    def error(self) -> BaseException | None:
        """Why the API could not be given everything; None where it could, or time was up."""
        if self._error is None and not self._passed and (self._failures or self._in_flight):
            why = self._failures[-1].answer.words if self._failures else "none was answered in time"
            return ApiError(f"No call got through to {self._api}: {why}. {_KEPT}")
        return self._error

    @property
    def has_left_any(self) -> bool:
        """Whether calls were offered whose turn did not come before the run was over."""
        return bool(self._fresh)

    def offer(self, call: Call, *, failed_before: bool = False) -> bool:
        """Hand over a call that the ledger holds as about to be sent, when there is room. False: the run is over."""
        with self._room:
            if len(self._fresh) >= self._at_hand:
                # Woken for many calls at a time: the run's thread and the workers share one interpreter.
                while len(self._fresh) > self._at_hand // 2 and not self.is_over():
                    self._room.wait(POLL_INTERVAL)
            if self.is_over():
                return False
            self._fresh.append(Attempt(call, 0 if failed_before else None))
            if not self._workers:
                self._hire(1)
            self._work.notify()
        return True

    def has_passed_any(self) -> bool:
        """Wait until a call has got through, or none is on its way any more, and say which."""
        with self._room:
            while not self._passed and (self._fresh or self._retries or self._in_flight) and not self.is_over():
                self._room.wait(POLL_INTERVAL)
            return self._passed > 0

    def _hire(self, workers: int) -> None:
        for _ in range(workers):
            # A daemon, since no lost connection may keep the process alive.
            worker = threading.Thread(target=self._deliver, daemon=True)
            worker.start()
            self._workers.append(worker)

    def _deliver(self) -> None:
        """Do a worker's job."""
        try:
            session = self._open_session()
            try:
                while (attempt := self._next()) is not None:
                    answer = session.post(payload(attempt.call, self._settings.dispositions))
                    self._settle(attempt, answer)
            finally:
                session.close()
        except BaseException as error:  # noqa: BLE001 -- carried to the run, which raises it
            with self._work:
                self._stop_sending(error)

    def _next(self) -> Attempt | None:
        """Return a worker its next call; None when there is none left, or the run is over."""
        with self._work:
            while not self.is_over():
                now = time.monotonic()
                if now >= self._paused_until:
                    if self._retries and self._retries[0][0] <= now:
                        attempt = heapq.heappop(self._retries)[2]
                        self._in_flight += 1
                        return attempt
                    if self._fresh and self._may_begin_another():
                        self._in_flight += 1
                        if len(self._fresh) <= self._at_hand // 2 + 1:
                            self._room.notify()
                        return self._fresh.popleft()
                if self._closing and not self._fresh and not self._retries:
                    break
                self._work.wait(self._until_next_look(now))
        return None

    def _may_begin_another(self) -> bool:
        """Until a call has got through, and while many fail, one has to be through with before another begins."""
        flowing = self._passed > 0 and self._failing_in_a_row < FAILURES_BEFORE_OUTAGE
        return flowing or not (self._in_flight or self._retries)

    def _until_next_look(self, now: float) -> float:
        due = max(self._paused_until, self._retries[0][0]) if self._retries else now + POLL_INTERVAL
        return min(POLL_INTERVAL, max(due - now, 0.001))

    def _settle(self, attempt: Attempt, answer: Answer) -> None:
        """Do what follows from an answer."""
        with self._work:
            if self._abandoned:
                return  # the run stopped waiting for it; the next one sends the call again
            self._in_flight -= 1
            call = attempt.call
            if answer.meaning is Meaning.DELIVERED:
                self._book.delivered(call)
                self._tally.delivered += 1
                self._tally.duplicates += answer.duplicate
                self._report.delivered(call, duplicate=answer.duplicate)
                self._got_through()
            elif answer.meaning is Meaning.REJECTED:
                self._tally.failed += 1
                self._reject(call, answer.words)
                self._got_through()
            elif answer.meaning is Meaning.REFUSED:
                self._give_up(call, answer)
                self._stop_sending(ApiError(f"{self._api} refuses us: {answer.words}. {_KEPT}"))
            else:
                self._retry_or_give_up(attempt._replace(tries=attempt.tries + 1), answer)

    def _got_through(self) -> None:
        self._passed += 1
        self._failing_in_a_row = self._failures_in_a_row = 0
        if self._passed == 1:
            self._hire(self._settings.concurrency - 1)

    def _reject(self, call: Call, why: str) -> None:
        self._book.rejected(call, why, payload(call, self._settings.dispositions))
        self._tally.rejected += 1
        self._report.rejected(call, why)

    def _retry_or_give_up(self, attempt: Attempt, answer: Answer) -> None:
        self._failing_in_a_row += 1
        if attempt.failed_after is None:
            attempt = attempt._replace(failed_after=self._passed)
        now = time.monotonic()
        due = now + backoff(attempt.tries)
        if answer.retry_after is not None:
            # Whoever says so speaks for the whole API: everyone waits.
            tells = (
                answer.retry_after > LONGEST_BACKOFF and now + answer.retry_after > self._paused_until + POLL_INTERVAL
            )
            self._paused_until = max(self._paused_until, now + answer.retry_after)
            due = max(due, self._paused_until)
            if self._paused_until >= self._deadline:
                self._give_up(attempt.call, answer)
                wait = f"asks us to wait {answer.retry_after:.0f} s ({answer.words})"
                cure = "; its operator can lift the limit for this server" if answer.throttled else ""
                self._stop_sending(ApiError(f"{self._api} {wait}{cure}. {_KEPT}"))
                return
            if tells:
                self._report.note(f"⏳ {self._api} asks us to wait {answer.retry_after:.0f} s ({answer.words})")
        if attempt.tries <= self._settings.max_retries and due < self._deadline and self._over_since is None:
            heapq.heappush(self._retries, (due, next(self._retry_number), attempt, answer))
            self._work.notify()
            return
        self._give_up(attempt.call, answer)
        if attempt.failed_after == self._passed:
            self._failures_in_a_row += 1
        if self._failures_in_a_row >= FAILURES_BEFORE_OUTAGE:
            self._stop_sending(
                ApiError(
                    f"{self._api} is down: {FAILURES_BEFORE_OUTAGE} calls in a row failed, {answer.words}. {_KEPT}"
                )
            )

    def _give_up(self, call: Call, answer: Answer) -> None:
        self._book.failed(call.uniqueid)
        self._tally.failed += 1
        self._report.failed(call, answer.words)
        self._failures.append(Failure(call, answer))

    def _count_failed_runs(self) -> None:
        """Reject what keeps failing while others pass; an API that is down or refuses us counts against no call."""
        if self._error is not None or not self._passed:
            return
        for call, answer in self._failures:
            if not answer.throttled and self._book.count_failed_run(call.uniqueid) >= FAILED_RUNS_TO_REJECT:
                self._reject(call, f"failed in {FAILED_RUNS_TO_REJECT} runs while others passed; last: {answer.words}")

    def is_over(self) -> bool:
        """Return whether no further call is taken: time is up, a signal came, or something ended the run."""
        if self._over_since is None:
            if self._stop.number:
                self._stop_sending(Stopped(self._stop.number))
            elif time.monotonic() >= self._deadline:
                self._stop_sending(None)
        return self._over_since is not None

    def _stop_sending(self, error: BaseException | None) -> None:
        """Begin no further POST. The first error counts; None is no reason to complain."""
        with self._work:
            if self._over_since is None:
                self._over_since = time.monotonic()
            self._error = self._error or error
            self._work.notify_all()
            self._room.notify_all()

    def _is_overdue(self) -> bool:
        patience = self._settings.api_timeout + POLL_INTERVAL
        return self.is_over() and time.monotonic() > (self._over_since or 0) + patience


_KEPT = "Nothing is lost: the calls are kept for the next try"
