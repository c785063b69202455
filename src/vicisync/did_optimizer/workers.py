"""Workers: threads that POST what they are handed over, and nothing else."""

import threading
import time
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from typing import Protocol

from vicisync.calls.call import payload
from vicisync.did_optimizer.answer import Answer, Meaning
from vicisync.did_optimizer.attempt import Attempt


class Session(Protocol):
    """What a worker sends through."""

    def post(self, payload: Mapping[str, object]) -> Answer: ...
    def close(self) -> None: ...


Result = tuple[Attempt, Answer | BaseException]


class Workers:
    """At most ``most`` threads; where the system gives fewer, those that there are, or the one that hands over.

    ``note`` is told of that once. A POST that has not come back after ``patience`` seconds is waited for no longer: no
    timeout of a socket ends the look-up of a name.
    """

    def __init__(
        self,
        open_session: Callable[[], Session],
        dispositions: Mapping[str, str],
        most: int,
        patience: float,
        note: Callable[[str], None],
    ) -> None:
        self.most = most
        self.in_flight: dict[str, Attempt] = {}  # by uniqueid
        self._open_session, self._dispositions, self._note = open_session, dispositions, note
        self._patience = patience
        self._began: dict[str, float] = {}  # when each in flight was handed over, the oldest first
        self._hanging = 0  # threads that have not come back in time
        self._threads: list[threading.Thread] = []
        self._may_hire = True
        self._attempts: SimpleQueue[Attempt | None] = SimpleQueue()
        self._results: SimpleQueue[Result] = SimpleQueue()

    def hand_over(self, attempt: Attempt) -> None:
        """Have a call sent; its result comes from `next_result`."""
        self.in_flight[attempt.call.uniqueid] = attempt
        self._began[attempt.call.uniqueid] = time.monotonic()
        if len(self.in_flight) > len(self._threads) - self._hanging and self._may_hire:
            self._hire()
        self._attempts.put(attempt)
        if not self._threads:
            self._attempts.put(None)
            self._work()

    def _hire(self) -> None:
        # A daemon, since no lost connection may keep the process alive.
        thread = threading.Thread(target=self._work, daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:  # ulimit -u, -v; a service's TasksMax
            self._may_hire, self.most = False, max(1, len(self._threads))
            self._note(f"⚠ No further thread can be had ({error}); going on with {self.most} at a time")
        else:
            self._threads.append(thread)

    def _work(self) -> None:
        session: Session | None = None
        while attempt := self._attempts.get():
            result: Answer | BaseException
            try:
                session = session or self._open_session()
                result = session.post(payload(attempt.call, self._dispositions))
            except BaseException as error:  # noqa: BLE001 -- carried to the run, which raises it
                result = error
            self._results.put((attempt, result))
        if session:
            session.close()

    def next_result(self, timeout: float) -> Result | None:
        """Wait at most so many seconds for what came of a call; None where nothing has."""
        oldest = next(iter(self._began), None) if self._results.empty() else None
        if oldest and time.monotonic() - self._began[oldest] > self._patience:
            self._hanging += 1
            words = f"no answer within {self._patience:g} s, the look-up of its name included"
            return self._forget(oldest), Answer(Meaning.TRY_AGAIN, words, perhaps_stored=True)
        try:
            attempt, result = self._results.get(timeout=timeout)
        except Empty:
            return None
        if self.in_flight.get(attempt.call.uniqueid) is not attempt:  # it has come after all
            self._hanging -= 1
            return None
        return self._forget(attempt.call.uniqueid), result

    def _forget(self, uniqueid: str) -> Attempt:
        del self._began[uniqueid]
        return self.in_flight.pop(uniqueid)

    def dismiss(self, patience: float) -> None:
        """Have the connections closed; one that hangs is not waited for, and no other longer than ``patience``."""
        for _ in self._threads:
            self._attempts.put(None)
        for thread in () if self.in_flight or self._hanging else self._threads:
            thread.join(patience)
