"""What comes on a connection with the API: one answer to one request, within one timeout in all."""

import http.client
import io
import time
from collections.abc import Callable
from socket import socket
from typing import Any


class InOnePiece:
    """A connection that sends a POST's head with its body: apart, as http.client does, they cost a tenth more CPU."""

    _head = b""

    def send(self, data: bytes) -> None:
        """Keep the head until the body comes; what a proxy is told (CONNECT) goes as it is."""
        if data.startswith(b"POST "):
            self._head = data
        else:
            head, self._head = self._head, b""
            super().send(head + data)  # type: ignore[misc]


class Response(http.client.HTTPResponse):
    """The answer that is final, until a moment; ``mistrust`` is called where more came than was asked for."""

    def __init__(self, mistrust: Callable[[], None], sock: socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._mistrust = mistrust
        self.fp = _Reader(_UntilTimeout(self.fp.detach(), sock), mistrust)

    def begin(self) -> None:
        """Wait for the answer behind informational ones: http.client would take 103 for it, and shift all others."""
        super().begin()
        while 100 <= self.status < 200:
            self._mistrust()
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()


class _Reader(io.BufferedReader):
    """What is read of an answer; closed at its end, when nothing more may have come."""

    def __init__(self, raw: "_UntilTimeout", mistrust: Callable[[], None]) -> None:
        super().__init__(raw)
        self._socket, self._mistrust = raw, mistrust

    def close(self) -> None:
        """Look into the buffer, without another read, and close."""
        if not self.closed:
            self._socket.until = 0.0
            try:
                self.peek(1)
            except TimeoutError:
                pass
            else:
                self._mistrust()
        super().close()


class _UntilTimeout(io.RawIOBase):
    """What is read of a socket within its timeout in all: by itself, it starts again with every byte that trickles."""

    def __init__(self, raw: io.RawIOBase, sock: socket) -> None:
        self._raw, self._sock, self._has_read = raw, sock, False
        self.until = time.monotonic() + (sock.gettimeout() or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        if self._has_read:  # the first read has the timeout that is set
            self._sock.settimeout(left)
        self._has_read = True
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
