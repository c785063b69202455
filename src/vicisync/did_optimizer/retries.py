"""Which calls are tried again, when, and when the API counts as down: decisions over the answers as they come."""

from __future__ import annotations

import heapq
import itertools
import random
from typing import NamedTuple

from vicisync.calls.call import Call
from vicisync.did_optimizer.answer import Answer, Meaning
from vicisync.errors import ApiError

FAILURES_BEFORE_OUTAGE = 5
"""Calls in a row that cannot get through before the API counts as down."""

FIRST_BACKOFF = 1.0
"""Seconds: the longest wait before the first retry, doubled for each further one."""

LONGEST_BACKOFF = 10.0
"""Seconds."""

SAME_PAUSE = 0.2
"""Seconds within which the ends of a pause lie that several workers are told of at once."""

_KEPT = "Nothing is lost: the calls are kept for the next try"


class Attempt(NamedTuple):
    """A call on its way."""

    call: Call
    failed_after: int | None = None
    """How many others had got through when it first failed, 0 for an earlier run; None while it has not.

    Once others have got through since, its failing tells nothing new about the API.
    """
    in_company: bool = False
    """Whether it is sent only once another has got through."""
    tries: int = 0


class Retry(NamedTuple):
    """A call that waits to be tried again."""

    due: float
    """On the monotonic clock, as all times here."""
    number: int
    attempt: Attempt
    answer: Answer
    """The last one."""


def backoff(tries: int) -> float:
    """Return the seconds to wait before the next try: anything up to a bound that doubles each time (full jitter)."""
    bound = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (tries - 1))
    return random.uniform(0, bound)  # noqa: S311 -- it spreads the load, and guards no secret


class Retries:
    """What the answers of a run mean for the calls that are still to be sent.

    ``api`` is how messages call the API; after ``deadline`` no call is tried again.
    """

    def __init__(self, api: str, max_retries: int, deadline: float) -> None:
        self._api = api
        self._max_retries = max_retries
        self._deadline = deadline
        self._number = itertools.count()
        self._failing_in_a_row = 0
        self._given_up_in_a_row = 0
        self.waiting: list[Retry] = []
        """The soonest first."""
        self.paused_until = 0.0
        """Retry-After pauses all workers."""
        self.got_through = 0
        """Calls that the API has given its verdict on."""
        self.given_up: list[tuple[Call, Answer]] = []
        """Calls that are left to a later run."""
        self.note = ""
        """What an operator wants to know of the last answer."""

    @property
    def flowing(self) -> bool:
        """Whether several calls may be in flight; else one at a time."""
        return self.got_through > 0 and self._failing_in_a_row < FAILURES_BEFORE_OUTAGE

    @property
    def due(self) -> float:
        """When something is to be sent at the earliest, where it has to wait for that."""
        return max(self.paused_until, self.waiting[0].due if self.waiting else 0.0)

    def take(self, now: float) -> Attempt | None:
        """Return a call whose wait is over."""
        return heapq.heappop(self.waiting).attempt if self.waiting and self.waiting[0].due <= now else None

    def take_in(self, attempt: Attempt, answer: Answer, now: float) -> bool:
        """Note an answer; return whether it decides about the call, so that it is not tried again in this run.

        Raises ApiError, with the call given up, where nothing more is to be sent.
        """
        self.note = ""
        if answer.meaning in (Meaning.DELIVERED, Meaning.REJECTED):
            self.got_through += 1
            self._failing_in_a_row = self._given_up_in_a_row = 0
            return True
        if answer.meaning is Meaning.REFUSED:
            self.given_up.append((attempt.call, answer))
            raise ApiError(f"{self._api} refuses us: {answer.words}. {_KEPT}")
        return not self._wait(attempt._replace(tries=attempt.tries + 1), answer, now)

    def _wait(self, attempt: Attempt, answer: Answer, now: float) -> bool:
        """Return whether a call waits for another try; where it does not, it is given up."""
        self._failing_in_a_row += 1
        if attempt.failed_after is None:
            attempt = attempt._replace(failed_after=self.got_through)
        due = now + backoff(attempt.tries)
        if answer.retry_after is not None:
            self._pause(attempt, answer, now + answer.retry_after)
            due = max(due, self.paused_until)
        if attempt.tries <= self._max_retries and due < self._deadline:
            heapq.heappush(self.waiting, Retry(due, next(self._number), attempt, answer))
            return True
        self.given_up.append((attempt.call, answer))
        if attempt.failed_after == self.got_through:
            self._given_up_in_a_row += 1
        if self._given_up_in_a_row >= FAILURES_BEFORE_OUTAGE:
            in_a_row = f"{FAILURES_BEFORE_OUTAGE} calls in a row failed"
            raise ApiError(f"{self._api} is down: {in_a_row}, {answer.words}. {_KEPT}")
        return False

    def _pause(self, attempt: Attempt, answer: Answer, until: float) -> None:
        """Have all workers wait as long as the API asks; raise ApiError where that outlasts the run."""
        wait = f"{self._api} asks us to wait {answer.retry_after:.0f} s ({answer.words})"
        if until >= self._deadline:
            self.given_up.append((attempt.call, answer))
            cure = "; its operator can lift the limit for this server" if answer.throttled else ""
            raise ApiError(f"{wait}{cure}. {_KEPT}")
        if (answer.retry_after or 0) > LONGEST_BACKOFF and until > self.paused_until + SAME_PAUSE:
            self.note = f"⏳ {wait}"
        self.paused_until = max(self.paused_until, until)

    def end(self) -> list[tuple[Call, Answer]]:
        """Give up all that waits, and return it with the answers of the last tries."""
        left = [(retry.attempt.call, retry.answer) for retry in self.waiting]
        self.waiting.clear()
        self._deadline = 0.0
        self.given_up += left
        return left

    def nothing_got_through(self, in_flight: int) -> ApiError | None:
        """Return the error of a run in which no call got through, though some were sent."""
        if self.got_through or not (self.given_up or in_flight):
            return None
        why = self.given_up[-1][1].words if self.given_up else "none was answered in time"
        return ApiError(f"No call got through to {self._api}: {why}. {_KEPT}")
