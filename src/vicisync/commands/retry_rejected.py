"""Sending the rejected calls again: the same delivery, with the rejected file as its book."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from vicisync.calls.call import Call
from vicisync.did_optimizer.delivery import Delivery, Session, StopSignal
from vicisync.report import Report, Tally
from vicisync.settings.security import security_warnings
from vicisync.settings.settings import Settings
from vicisync.state.checkpoint_file import CheckpointFile
from vicisync.state.rejected import add_delivered, forget_delivered, read_rejected


def resend_rejected(settings: Settings, report: Report, stop: StopSignal, open_session: Callable[[], Session]) -> int:
    """Send every call of the rejected file once more; give how many are left in it.

    What gets through is noted line by line and taken out at the end: a kill repeats only what was in flight. Raises a
    VicisyncError where the API cannot be given everything; the file then holds what is left.
    """
    began = time.monotonic()
    tally = Tally()
    with CheckpointFile(settings.checkpoint_file):
        calls, unreadable = read_rejected(settings.rejected_file)
        for number in unreadable:
            report.warning(f"{settings.rejected_file} line {number} holds no call; left as it is")
        report.resending(len(calls))
        for security_warning in security_warnings(settings) if calls else ():
            report.warning(security_warning)
        delivery = Delivery(
            settings,
            open_session,
            _Book(settings.rejected_file),
            report,
            tally,
            stop,
            deadline=began + (settings.max_runtime or float("inf")),
        )
        with delivery:
            # In any order: calls that can never be stored must not stand before all others each time.
            for call in random.sample(list(calls.values()), len(calls)):
                if not delivery.offer(call):
                    break
        forget_delivered(settings.rejected_file)  # also what a killed retry had noted
    report.resent(tally, len(calls) - tally.delivered, time.monotonic() - began)
    if delivery.error:
        raise delivery.error
    return len(calls) - tally.delivered


class _Book:
    """The rejected file as a delivery's book: what gets through is noted, all else stands in it already."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def delivered(self, call: Call) -> None:
        add_delivered(self._path, call.uniqueid)

    def rejected(self, call: Call, why: str, payload: Mapping[str, object]) -> None:
        """Leave the call where it is."""

    def failed(self, uniqueid: str) -> None:
        """Leave the call where it is."""

    def count_failed_run(self, uniqueid: str) -> int:  # noqa: ARG002 -- a Book's signature
        """Count nothing: the call is rejected already."""
        return 0
