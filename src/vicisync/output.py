"""Where words go: a terminal, or a log with a time stamp before each line. Calls are worth more than words."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from vicisync.calls.times import LOCAL


def printable(text: str) -> str:
    """Return text of others so that it can neither steer a terminal nor forge a line of the log."""
    if text.isprintable():  # nearly all of a line a call is
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)


class ProgressBar(Protocol):
    """What a terminal shows of a backlog."""

    def update(self, n_steps: int) -> None: ...
    def render_finish(self) -> None: ...


class Output:
    """A stream that people read; one that takes no more words ends no run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._bar: ProgressBar | None = None

    def line(self, line: str) -> None:
        """Write a line, at once and in one piece; on a terminal, over the bar."""
        before = time.strftime(f"{LOCAL} %z ") if not self._is_terminal else "\r\x1b[K" if self._bar else ""
        with self._silent_on_error():
            self._stream.write(f"{before}{printable(line)}\n")
            self._stream.flush()

    def begin_bar(self, open_bar: Callable[[int], ProgressBar], steps: int) -> None:
        """Show a bar from here on, if this is a terminal."""
        if self._is_terminal:
            with self._silent_on_error():
                self._bar = open_bar(steps)

    def advance_bar(self) -> bool:
        """Move the bar on by a call; return whether there is one."""
        if self._bar:
            with self._silent_on_error():
                self._bar.update(1)
        return self._bar is not None

    def end_bar(self) -> None:
        """Leave the bar as it stands."""
        if self._bar:
            with self._silent_on_error():
                self._bar.render_finish()
            self._bar = None

    @contextmanager
    def _silent_on_error(self) -> Iterator[None]:
        """Go on without words: the log's disk is full, or whoever read them has gone."""
        try:
            yield
        except OSError as error:
            send_to_nowhere(self._stream)
            try:
                sys.stderr.write(f"❌ Cannot write what the run does: {error.strerror}; it goes on in silence\n")
                sys.stderr.flush()
            except OSError:  # both are one file, on one full disk
                send_to_nowhere(sys.stderr)


def send_to_nowhere(stream: TextIO) -> None:
    """Let what a stream still holds be flushed: Python would end with exit code 120 over words that it cannot write."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
