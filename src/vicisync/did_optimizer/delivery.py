"""Delivery: calls on their way to the API, several at once.

One thread decides, the one that asks for the answers; workers only POST. It hands calls over through one queue and
takes answers from another, and hands over no more than ``concurrency`` that have not come back: a kill repeats those.
Until a call has got through, one goes at a time, so that an API that is down is met by five calls and not by a backlog.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Protocol

from vicisync.calls.call import Call, payload
from vicisync.did_optimizer.answer import Answer
from vicisync.did_optimizer.retries import Attempt, Retries
from vicisync.errors import ApiError, Stopped
from vicisync.settings.settings import Settings

POLL_INTERVAL = 0.2
"""Seconds after which the deciding thread looks at the clock and for a signal, also where no answer comes."""


class Session(Protocol):
    """What a worker sends through."""

    def post(self, payload: Mapping[str, object]) -> Answer:
        """Send one call, once."""

    def close(self) -> None:
        """Close the connection."""


class StopSignal:
    """The number of the signal that asked the run to end, or 0; set by the signal's handler."""

    number = 0


class Delivery:
    """The delivery of one run.

    ``deadline`` is on the monotonic clock: no POST begins after it, and one that has not come back a timeout later is
    no longer waited for. ``note`` is told what an operator wants to know of a delivery that goes on.
    """

    def __init__(
        self,
        settings: Settings,
        open_session: Callable[[], Session],
        stop_signal: StopSignal,
        deadline: float,
        note: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._open_session = open_session
        self._stop_signal = stop_signal
        self._deadline = deadline
        self._note = note
        self._retries = Retries(f"DID Optimizer at {settings.api_base_url}", settings.max_retries, deadline)
        self._fresh: Iterator[Attempt] = iter(())
        self._next: Attempt | None = None
        self._has_taken_all = False
        self._attempts: SimpleQueue[Attempt | None] = SimpleQueue()
        self._results: SimpleQueue[tuple[Attempt, Answer | BaseException]] = SimpleQueue()
        self._workers: list[threading.Thread] = []
        self._in_flight = 0
        self._over_since: float | None = None
        self._error: BaseException | None = None

    def answers(self, attempts: Iterator[Attempt]) -> Iterator[tuple[Call, Answer]]:
        """Send the calls; yield each with the answer that decides about it in this run.

        Once the run is over, nothing more is sent, and what is in flight still comes. Whoever takes an answer has
        recorded it before asking for the next one.
        """
        self._fresh = attempts
        while not self.is_over():
            self._hand_over()
            if self._has_taken_all and not (self._in_flight or self._retries.waiting):
                break
            yield from self._next_answer()
        yield from self._retries.end()
        while self._in_flight and not self._is_overdue():
            yield from self._next_answer()
        self._dismiss()

    def stop(self, error: BaseException | None) -> None:
        """Begin no further POST. The first error counts; None is no reason to complain."""
        if self._over_since is None:
            self._over_since = time.monotonic()
        self._error = self._error or error

    @contextmanager
    def stopped_by_errors(self) -> Iterator[None]:
        """Stop the sending where an answer cannot be handled; the error is raised when what is in flight has come."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 -- see `error`
            self.stop(error)

    def is_over(self) -> bool:
        """Return whether no further call is sent: time is up, a signal came, or something ended the run."""
        if self._over_since is None:
            if self._stop_signal.number:
                self.stop(Stopped(self._stop_signal.number))
            elif time.monotonic() >= self._deadline:
                self.stop(None)
        return self._over_since is not None

    @property
    def error(self) -> BaseException | None:
        """Why the API could not be given everything; None where it could, or time was up."""
        return self._error or self._retries.nothing_got_through(self._in_flight)

    @property
    def failed_while_others_passed(self) -> list[tuple[Call, Answer]]:
        """The calls that failed though the API was well; none where it was down or refused us."""
        if self._error is not None or not self._retries.got_through:
            return []
        return [(call, answer) for call, answer in self._retries.given_up if not answer.throttled]

    def _hand_over(self) -> None:
        """Give the workers what can begin now."""
        while not self.is_over() and (attempt := self._take(time.monotonic())):
            self._in_flight += 1
            if self._in_flight > len(self._workers):
                self._hire()
            self._attempts.put(attempt)

    def _take(self, now: float) -> Attempt | None:
        """Return the next call to send, if one may begin at ``now``: one whose wait is over, or a fresh one."""
        flowing = self._retries.flowing
        if now < self._retries.paused_until or self._in_flight >= (self._settings.concurrency if flowing else 1):
            return None
        if retry := self._retries.take(now):
            return retry
        return None if self._retries.waiting and not flowing else self._take_fresh()

    def _take_fresh(self) -> Attempt | None:
        while not self._has_taken_all:
            try:
                self._next = self._next or next(self._fresh, None)
            except Exception as error:  # noqa: BLE001 -- the run raises it, when what is in flight has been recorded
                self.stop(error)
                return None
            if self._next and self._next.in_company and not self._retries.got_through:
                if self._in_flight or self._retries.waiting:
                    return None  # it is not known yet whether another gets through
                self._next = None  # none has: its turn does not come in this run
                continue
            attempt, self._next = self._next, None
            self._has_taken_all = attempt is None
            return attempt
        return None

    def _hire(self) -> None:
        # A daemon, since no lost connection may keep the process alive.
        worker = threading.Thread(target=self._post, daemon=True)
        worker.start()
        self._workers.append(worker)

    def _post(self) -> None:
        """POST what is handed over: all that a worker does."""
        session: Session | None = None
        while attempt := self._attempts.get():
            result: Answer | BaseException
            try:
                session = session or self._open_session()
                result = session.post(payload(attempt.call, self._settings.dispositions))
            except BaseException as error:  # noqa: BLE001 -- carried to the run, which raises it
                result = error
            self._results.put((attempt, result))
        if session:
            session.close()

    def _dismiss(self) -> None:
        """Have the workers close their connections; one that hangs is not waited for."""
        for _ in self._workers:
            self._attempts.put(None)
        for worker in () if self._in_flight else self._workers:
            worker.join(POLL_INTERVAL)

    def _next_answer(self) -> Iterator[tuple[Call, Answer]]:
        """Wait for an answer, or until something may be sent; yield an answer that decides about its call."""
        wait = self._retries.due - time.monotonic()
        try:
            attempt, result = self._results.get(timeout=min(POLL_INTERVAL, wait) if wait > 0 else POLL_INTERVAL)
        except Empty:
            return
        self._in_flight -= 1
        if isinstance(result, BaseException):
            self.stop(result)
            return
        try:
            decides = self._retries.take_in(attempt, result, time.monotonic())
        except ApiError as error:
            self.stop(error)
            decides = True
        if self._retries.note:
            self._note(self._retries.note)
        if decides:
            yield attempt.call, result

    def _is_overdue(self) -> bool:
        patience = self._settings.api_timeout + POLL_INTERVAL
        return time.monotonic() > (self._over_since or 0) + patience
