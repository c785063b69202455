"""What comes on a connection with the API: one answer to one request, within one timeout in all."""

import http.client
import io
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError, ReadTimeoutError
from urllib3.util.connection import allowed_gai_family

from vicisync.did_optimizer.failure import CUT

_AS_NUMBERS = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
_LENGTH = re.compile(rb"(?<=\r\nContent-Length: )\d+")


class Posting(urllib3.connection.HTTPConnection):
    """A connection that sends a POST's head with its body, and a further POST under the same head.

    To have http.client write them apart, and urllib3 make each head anew, costs a third of a POST's CPU.
    """

    _head, _has_body = b"", True

    def connect(self) -> None:
        """Connect; raise where that has taken all the time: what is sent then is stored, and its answer never read."""
        until = time.monotonic() + cast("float", self.timeout)
        try:
            super().connect()
            if time.monotonic() >= until:
                raise TimeoutError("timed out")
        except (TimeoutError, *CUT) as error:  # of TLS or a proxy, too
            self.close()
            raise NewConnectionError(self, str(error)) from error

    def _new_conn(self) -> socket.socket:
        """Connect to the first address that answers; a dead one, such as IPv6's, takes its share of the time."""
        until, host, found = time.monotonic() + cast("float", self.timeout), self._dns_host, [self._dns_host]
        try:
            with suppress(UnicodeError):  # for which there are words below
                asked = host.strip("[]"), self.port, allowed_gai_family(), socket.SOCK_STREAM
                found = [socket.getnameinfo(each[4], _AS_NUMBERS)[0] for each in socket.getaddrinfo(*asked)]
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error
        while True:
            self.timeout, self._dns_host = max(0.1, until - time.monotonic()) / len(found), found.pop(0)
            try:
                sock = super()._new_conn()
                sock.settimeout(max(0.1, until - time.monotonic()))  # what is left is for TLS and a proxy's answer
                return sock
            except HTTPError:
                if not found:
                    raise
            finally:
                self._dns_host = host

    def send(self, data: bytes) -> None:  # type: ignore[override]
        """Keep the head until the body comes; what a proxy is told (CONNECT) goes as it is."""
        if data.startswith(b"POST "):
            self._head, self._has_body = data, False
        else:
            super().send(data if self._has_body else self._head + data)
            self._has_body = True

    def post_again(self, body: bytes, seconds: float) -> urllib3.HTTPResponse:
        """POST another body, and return the answer's beginning, which has so many seconds; raise urllib3's errors."""
        try:
            self.sock.settimeout(seconds)
            self.sock.sendall(_LENGTH.sub(b"%d" % len(body), self._head, 1) + body)
            response = self.response_class(self.sock, method="POST")
            response.begin()
        except TimeoutError as error:
            raise ReadTimeoutError(None, None, str(error)) from error  # type: ignore[arg-type]
        except (OSError, http.client.HTTPException) as error:
            raise ProtocolError(str(error), error) from error
        raw: Any = {"preload_content": False, "decode_content": False, "request_method": "POST"}
        headers = urllib3.HTTPHeaderDict(response.headers.items())
        return urllib3.HTTPResponse(response, headers, response.status, original_response=response, **raw)


class Response(http.client.HTTPResponse):
    """The answer that is final, until a moment; ``mistrust`` is called where more came than was asked for."""

    def __init__(self, mistrust: Callable[[], None], sock: socket.socket, *args: Any, **options: Any) -> None:
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
            with suppress(TimeoutError):
                self.peek(1)
                self._mistrust()
        super().close()


class _UntilTimeout(io.RawIOBase):
    """What is read of a socket within its timeout in all: by itself, it starts again with every byte that trickles."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
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
