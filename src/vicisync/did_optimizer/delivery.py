"""Delivery: calls on their way to the API, several at once, tried again and given up by rule.

One thread decides, the one that asks for the answers; workers only POST. It hands calls over through one queue and
takes answers from another, and hands over no more than ``concurrency`` that have not come back: a kill repeats those.
Until a call has got through, one goes at a time, so that an API that is down is met by five calls and not by a backlog.
"""

import heapq
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vicisync.calls.call import Call
from vicisync.did_optimizer.answer import Answer, Meaning
from vicisync.did_optimizer.attempt import LONGEST_BACKOFF, Attempt, backoff
from vicisync.did_optimizer.workers import Session, Workers
from vicisync.errors import CURE, ApiError, Stopped
from vicisync.settings.settings import Settings

FAILURES_BEFORE_OUTAGE = 5  # calls in a row that cannot get through before the API counts as down
GRACE = 1.0  # seconds beyond its timeout after which a POST counts as lost
POLL_INTERVAL = 0.2  # seconds after which the deciding thread looks at the clock and for a signal
_KEPT = "Nothing is lost: the calls are kept for the next try"


class StopSignal:
    """The number of the signal that asked the run to end, or 0; set by the signal's handler."""

    number = 0


class Delivery:
    """The delivery of one run; ``note`` is told what an operator wants to know of one that goes on.

    No POST begins after ``deadline``, a monotonic time; one that has not come back a timeout later is not waited for.
    """

    def __init__(
        self,
        settings: Settings,
        open_session: Callable[[], Session],
        stop_signal: StopSignal,
        deadline: float,
        note: Callable[[str], None],
    ) -> None:
        self._settings, self._stop_signal, self._deadline, self._note = settings, stop_signal, deadline, note
        self._api = f"DID Optimizer at {settings.api_base_url}"
        patience = settings.api_timeout + GRACE
        self._workers = Workers(open_session, settings.dispositions, settings.concurrency, patience, note)
        self._fresh: Iterator[Attempt] = iter(())
        self._next: Attempt | None = None
        self._has_taken_all = self._tried_alone = self._is_outage = False
        self._retries: list[tuple[float, int, Attempt, Answer]] = []  # a heap by the time at which each is due
        self._retry_numbers = itertools.count()
        self._paused_until = 0.0
        self._got_through = self._failing_in_a_row = self._given_up_in_a_row = 0
        self._given_up: list[tuple[Attempt, Answer]] = []
        self._verdicts: list[tuple[Attempt, Answer]] = []  # against calls, since the last that got through
        self._perhaps_twice: set[str] = set()
        self._over_since: float | None = None
        self._error: BaseException | None = None

    def answers(self, attempts: Iterator[Attempt]) -> Iterator[tuple[Call, Answer]]:
        """Send the calls; yield each with the answer that decides about it in this run, to be recorded before the next.

        Once the run is over, nothing more is sent, and what is in flight still comes.
        """
        self._fresh = attempts
        while not self.is_over():
            self._hand_over()
            if self._has_taken_all and not (self._workers.in_flight or self._retries):
                break
            yield from self._next_answer()
        yield from (self._give_up(attempt, answer) for _, _, attempt, answer in self._retries)
        until = (self._over_since or 0) + self._settings.api_timeout + POLL_INTERVAL
        while self._workers.in_flight and time.monotonic() <= until:
            yield from self._next_answer()
        yield from self._judged()
        # A verdict counts only from an API that is seen to work: it stored another call, before or since.
        for attempt, answer in self._verdicts:
            yield attempt.call, answer._replace(meaning=Meaning.TRY_AGAIN, perhaps_stored=attempt.perhaps_stored)
        late = Answer(Meaning.TRY_AGAIN, "no answer in time", throttled=True, perhaps_stored=True)
        yield from (self._give_up(attempt, late) for attempt in self._workers.in_flight.values())
        self._workers.dismiss(POLL_INTERVAL)

    def stop(self, error: BaseException | None) -> None:
        """Begin no further POST. The first error counts; None is no reason to complain."""
        self._over_since = self._over_since or time.monotonic()
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
        if not self._over_since:
            if self._stop_signal.number:
                self.stop(Stopped(self._stop_signal.number))
            elif time.monotonic() >= self._deadline:
                self.stop(None)
        return self._over_since is not None

    @property
    def error(self) -> BaseException | None:
        """Why the API could not be given everything; None where it could, or time was up."""
        verdicts = [each for each in self._verdicts if not each[0].was_rejected]
        given_up = [answer for attempt, answer in (*self._given_up, *verdicts) if not attempt.poisoned]
        if self._error is None and not self._got_through and given_up:
            why, cure = given_up[-1].why_and_cure
            return ApiError(f"No call got through to {self._api}: {why}. {_KEPT}{cure}")
        return self._error

    @property
    def perhaps_twice(self) -> int:
        """How many calls were sent again after a POST whose answer was lost: the API may have stored them twice."""
        return len(self._perhaps_twice)

    @property
    def failed_while_others_passed(self) -> list[tuple[Call, Answer]]:
        """The calls that failed though the API was well; none where it was down or refused us."""
        is_well = self._error is None and self._got_through
        return [(attempt.call, answer) for attempt, answer in self._given_up if is_well and not answer.throttled]

    def _hand_over(self) -> None:
        """Give the workers what can begin now."""
        while not self.is_over() and (attempt := self._take(time.monotonic())):
            self._workers.hand_over(attempt)

    def _take(self, now: float) -> Attempt | None:
        """Return the next call to send, if one may begin at ``now``: one whose wait is over, or a fresh one."""
        flowing = self._got_through > 0 and self._failing_in_a_row < FAILURES_BEFORE_OUTAGE
        if now < self._paused_until or len(self._workers.in_flight) >= (self._workers.most if flowing else 1):
            return None
        if self._retries and self._retries[0][0] <= now:
            return heapq.heappop(self._retries)[2]
        return None if self._retries and not flowing else self._take_fresh()

    def _take_fresh(self) -> Attempt | None:
        while not self._has_taken_all:
            try:
                self._next = self._next or next(self._fresh, None)
            except Exception as error:  # noqa: BLE001 -- the run raises it, when what is in flight has been recorded
                self.stop(error)
                return None
            if self._next and self._next.poisoned and not self._got_through:
                if self._workers.in_flight or self._retries:
                    return None  # it is not known yet whether another gets through
                if self._tried_alone:
                    self._next = None  # none has: its turn does not come in this run
                    continue
                self._tried_alone = True
            attempt, self._next = self._next, None
            self._has_taken_all = attempt is None
            return attempt
        return None

    def _next_answer(self) -> Iterator[tuple[Call, Answer]]:
        """Wait for an answer, or until something may be sent; yield an answer that decides about its call."""
        wait = max(self._paused_until, self._retries[0][0] if self._retries else 0.0) - time.monotonic()
        got = self._workers.next_result(min(POLL_INTERVAL, wait) if wait > 0 else POLL_INTERVAL)
        if got is None:
            return
        attempt, result = got
        if isinstance(result, BaseException):
            self.stop(result)
            return
        is_stored = result.meaning is Meaning.DELIVERED
        twice = result.perhaps_twice or (attempt.perhaps_stored and (is_stored or result.perhaps_stored))
        if twice and not result.duplicate:
            self._perhaps_twice.add(attempt.call.uniqueid)
        if is_stored:
            self._got_through += 1
            self._failing_in_a_row = self._given_up_in_a_row = 0
            yield from self._judged()
            yield attempt.call, result
        elif result.meaning is Meaning.REJECTED:
            self._verdicts.append((attempt, result))
            if not attempt.was_rejected:
                self._count_given_up(attempt, result)
        elif result.meaning is Meaning.REFUSED:
            why, cure = result.why_and_cure
            self.stop(ApiError(f"{self._api} cannot be used: {why}. {_KEPT}{cure}"))
            yield self._give_up(attempt, result)
        elif not self._will_retry(attempt._replace(tries=attempt.tries + 1), result):
            yield self._give_up(attempt, result)

    def _judged(self) -> Iterator[tuple[Call, Answer]]:
        """Yield the verdicts against calls so far, if the API is seen to work; of an outage, none that led to it."""
        while self._got_through and self._verdicts and not self._is_outage:
            attempt, answer = self._verdicts.pop(0)
            yield attempt.call, answer

    def _will_retry(self, attempt: Attempt, answer: Answer) -> bool:
        """Return whether a call waits for another try in this run."""
        self._failing_in_a_row += 1
        first = self._got_through if attempt.failed_after is None else attempt.failed_after
        attempt = attempt._replace(failed_after=first, perhaps_stored=attempt.perhaps_stored or answer.perhaps_stored)
        due = time.monotonic() + backoff(attempt.tries)
        if answer.retry_after is not None:
            due = max(due, self._pause(answer, answer.retry_after))
        if attempt.tries <= self._settings.max_retries and due < self._deadline and not self._over_since:
            heapq.heappush(self._retries, (due, next(self._retry_numbers), attempt, answer))
            return True
        self._count_given_up(attempt, answer)
        return False

    def _count_given_up(self, attempt: Attempt, answer: Answer) -> None:
        """Stop at the fifth call in a row that did not get through, where none has since it first failed."""
        self._given_up_in_a_row += attempt.failed_after in (None, self._got_through)
        if self._given_up_in_a_row >= FAILURES_BEFORE_OUTAGE:
            self._is_outage = True
            what, (why, cure) = "is down", answer.why_and_cure
            if answer.by_api:
                what, cure = "answers, but stores nothing", f"{CURE}tell who runs it"
            why = f"{FAILURES_BEFORE_OUTAGE} calls in a row failed, {why}"
            self.stop(ApiError(f"{self._api} {what}: {why}. {_KEPT}{cure}"))

    def _pause(self, answer: Answer, seconds: float) -> float:
        """Have all workers wait as long as Retry-After says; where that outlasts the run, end it. Return until when."""
        until = time.monotonic() + seconds
        wait = f"{self._api} asks us to wait {seconds:.0f} s ({answer.words})"
        if until >= self._deadline or seconds > (self._settings.max_runtime or float("inf")):
            cure = f"{CURE}have its operator lift the limit for this server" if answer.throttled else ""
            self.stop(ApiError(f"{wait}. {_KEPT}{cure}"))
        elif seconds > LONGEST_BACKOFF and until > self._paused_until + POLL_INTERVAL:  # told once, not by each worker
            self._note(f"⏳ {wait}")
        self._paused_until = max(self._paused_until, until)
        return self._paused_until

    def _give_up(self, attempt: Attempt, answer: Answer) -> tuple[Call, Answer]:
        self._given_up.append((attempt, answer))
        return attempt.call, answer._replace(perhaps_stored=attempt.perhaps_stored or answer.perhaps_stored)
