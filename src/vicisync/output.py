"""Where words go: a terminal, or a log with a time stamp before each line. Calls are worth more than words."""

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from select import select
from typing import Protocol, TextIO

from vicisync.calls.times import LOCAL

PIECE = 4096  # bytes that a pipe takes at once where it takes any (Linux's PIPE_BUF)
KEPT = 1024 * 1024  # bytes that are kept for whoever has stopped reading; what comes beyond them is not told
PATIENCE = 1.0  # seconds that the end of a command waits for them, when all is done and the lock is free


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
    """A stream that people read; one that takes no more words, or that nobody reads any more, holds up no call."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        try:
            self._fd = stream.fileno()
        except OSError:  # text in memory
            self._fd = -1
        self._may_block = self._fd >= 0
        with suppress(OSError):  # what goes into a file is never held up
            self._may_block = not stat.S_ISREG(os.fstat(self._fd).st_mode)
        self._is_terminal = stream.isatty()
        self._bar: ProgressBar | None = None
        self._steps = 0
        self._stamp = (0, "")
        self._unwritten = bytearray()

    def line(self, line: str) -> None:
        """Write a line, at once and in one piece; on a terminal, over the bar."""
        before = "\r\x1b[K" if self._bar else "" if self._is_terminal else self._now()
        self.write(f"{before}{printable(line)}\n")

    def _now(self) -> str:
        """Return the time stamp of a line; many lines share a second."""
        second = int(time.time())
        if second != self._stamp[0]:
            self._stamp = second, time.strftime(f"{LOCAL} %z ", time.localtime(second))
        return self._stamp[1]

    def write(self, text: str) -> None:
        """Write text, or keep it until it can be written."""
        if self._fd < 0:
            self._stream.write(text)
            self._stream.flush()
        elif len(self._unwritten) < KEPT:
            self._unwritten += text.encode(self._stream.encoding or "utf-8", self._stream.errors or "backslashreplace")
        self.flush()

    def flush(self, patience: float = 0.0) -> None:
        """Write what has been kept, as far as somebody reads it, or begins to within so many seconds."""
        until = time.monotonic() + patience
        with self._silent_on_error():
            while self._unwritten and (not self._may_block or self._is_read(until)):
                with suppress(BlockingIOError):  # of a terminal that another program has made so
                    del self._unwritten[: os.write(self._fd, self._unwritten[:PIECE])]

    def _is_read(self, until: float) -> bool:
        return bool(select([], [self._fd], [], max(0.0, until - time.monotonic()))[1])

    def isatty(self) -> bool:
        """Return whether it is a terminal, as the bar asks."""
        return self._is_terminal

    def begin_bar(self, open_bar: Callable[["Output", int], ProgressBar], steps: int) -> None:
        """Show a bar from here on, if this is a terminal."""
        if self._is_terminal:
            self._bar = open_bar(self, steps)

    def advance_bar(self) -> bool:
        """Move the bar on by a call; return whether there is one."""
        self._steps += 1
        if self._bar and not self._unwritten:
            self._bar.update(self._steps)
            self._steps = 0
        return self._bar is not None

    def end_bar(self) -> None:
        """Leave the bar as it stands."""
        if self._bar:
            self._bar.render_finish()
            self._bar = None

    @contextmanager
    def _silent_on_error(self) -> Iterator[None]:
        """Go on without words: the log's disk is full, or whoever read them has gone."""
        try:
            yield
        except OSError as error:
            self._unwritten.clear()
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
