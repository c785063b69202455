"""What the commands that send calls share: sessions with the API, the signals that stop them, a progress bar."""

import signal
import time
from collections.abc import Callable, Mapping
from typing import TextIO, cast

import click

from vicisync.did_optimizer.answer import Answer, Meaning
from vicisync.did_optimizer.delivery import StopSignal
from vicisync.did_optimizer.workers import Session
from vicisync.output import Output, ProgressBar
from vicisync.settings.settings import Settings


def session_of(settings: Settings) -> Callable[[], Session]:
    """Return what opens a session with the API."""

    def open_session() -> Session:
        from vicisync.did_optimizer.session import ApiSession  # requests takes longer to import than an idle run needs

        return ApiSession(settings)

    return open_session


class Unsent:
    """The session of a dry run: nothing leaves the machine."""

    def post(self, payload: Mapping[str, object]) -> Answer:  # noqa: ARG002 -- a Session's signature
        """Return what the API answers when all is well."""
        return Answer(Meaning.DELIVERED, "dry run")

    def close(self) -> None:
        """Close nothing."""


def stop_on_signals() -> StopSignal:
    """Return where SIGTERM, SIGINT and SIGHUP are noted from now on; they end the process no more."""
    stop = StopSignal()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # under nohup the run goes on
            signal.signal(number, lambda number, _: setattr(stop, "number", number))
    return stop


def progress_bar(output: Output, calls: int) -> ProgressBar:
    """Open a bar over a backlog, with calls per second and the time left."""
    began = time.monotonic()

    def speed(_: object) -> str:
        return f"{bar.pos / max(time.monotonic() - began, 0.001):.0f} calls/s"

    bar: click._termui_impl.ProgressBar[int] = click.progressbar(
        length=calls,
        show_pos=True,
        item_show_func=speed,
        file=cast("TextIO", output),
        width=0,  # as wide as there is room for
        update_min_steps=max(1, calls // 500),
    )
    bar.render_progress()
    return bar
