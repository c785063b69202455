"""A call on its way, and how long it waits before it is tried again."""

import random
from typing import NamedTuple

from vicisync.calls.call import Call

FIRST_BACKOFF = 1.0  # seconds: the longest wait before the first retry, doubled for each further one
LONGEST_BACKOFF = 10.0


class Attempt(NamedTuple):
    """A call on its way."""

    call: Call
    failed_after: int | None = None
    """How many others had got through when it first failed, 0 for an earlier run; None while it has not.

    Once others have got through since, its failing tells nothing new about the API.
    """
    poisoned: bool = False  # it failed in earlier runs while others passed: alone, that tells nothing of the API
    was_rejected: bool = False  # another verdict against it tells nothing new, neither of it nor of the API
    perhaps_stored: bool = False  # an earlier POST of it may have been stored, though no answer said so
    tries: int = 0


def backoff(tries: int) -> float:
    """Return the seconds to wait before the next try: anything up to a bound that doubles each time (full jitter)."""
    bound = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (tries - 1))
    return random.uniform(0, bound)  # noqa: S311 -- it spreads the load, and guards no secret
