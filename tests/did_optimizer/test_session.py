"""ApiSession against real sockets: whatever the network does becomes an Answer with a sentence of its own."""

from __future__ import annotations

import datetime
import gzip
import json
import socket
import ssl
import struct
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Callable

import pytest
import trustme

from rehearsal.did_optimizer import (
    CUT_BEFORE,
    ERROR_500,
    GARBAGE,
    GZIP,
    HALF_ANSWER,
    HTML,
    HTML_200,
    LOST_ANSWER,
    REDIRECT,
    SUCCESS_FALSE,
    DidOptimizer,
    Fault,
    answer,
    rate_limited_429,
    slow,
    unavailable_503,
)
from tests.conftest import make_settings
from vicisync import __version__
from vicisync.did_optimizer.answer import Answer, Meaning
from vicisync.did_optimizer.session import LARGEST_ANSWER, ApiSession

KEY = "sk-0123456789abcdef"
CALL = {"uniqueid": "1729785600.1", "phoneNumber": "2125550100", "campaignId": "CAMP01", "disposition": "SALE"}

Open = Callable[..., ApiSession]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def open_session(tmp_path: Path) -> Iterator[Open]:
    with ExitStack() as stack:

        def open_session(url: str, **texts: str) -> ApiSession:
            texts = {"api_base_url": url, "api_key": KEY, "api_timeout": "5", **texts}
            session = ApiSession(make_settings(tmp_path, **texts))
            stack.callback(session.close)
            return session

        yield open_session


@pytest.fixture
def api() -> Iterator[DidOptimizer]:
    with DidOptimizer(api_key=KEY) as server:
        yield server


# A server of exact bytes


Script = Callable[[socket.socket], None]
"""What happens on one connection; its end closes it."""


class Wire:
    """A listening socket whose connections follow scripts, one after the other; the last script serves all further."""

    def __init__(self, scripts: tuple[Script, ...], context: ssl.SSLContext | None) -> None:
        self._scripts = scripts
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        self.connections = 0

    def start(self) -> None:
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            connection.settimeout(30)  # no test waits for ever
            self._open.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection, script)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket, script: Script) -> None:
        with connection, suppress(OSError):
            if self._context is None:
                script(connection)
                return
            with self._context.wrap_socket(connection, server_side=True) as secured:
                self._open.append(secured)  # the bare one is detached by now
                script(secured)

    def refuse(self) -> None:
        """Listen no longer."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()

    def stop(self) -> None:
        self.refuse()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


@contextmanager
def wire(*scripts: Script, context: ssl.SSLContext | None = None) -> Iterator[Wire]:
    server = Wire(scripts, context)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def read_request(connection: socket.socket) -> bytes:
    """The next request, whole; empty where the client closed instead."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        if not part:
            return b""
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


STORED = http("200 OK", b'{"success": true, "message": "Call result recorded"}', "Content-Type: application/json")
DELIVERED = Answer(Meaning.DELIVERED, "200 OK: Call result recorded")
CUT = Answer(Meaning.TRY_AGAIN, "the connection was cut without an answer")


def says(*replies: bytes) -> Script:
    """Answer as many requests with these bytes, then close."""

    def script(connection: socket.socket) -> None:
        for reply in replies:
            if not read_request(connection):
                return
            connection.sendall(reply)

    return script


def stores_all(connection: socket.socket) -> None:
    while read_request(connection):
        connection.sendall(STORED)


def waits(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


# What the request is


def test_a_request_says_who_asks_and_carries_exactly_the_payload(open_session: Open) -> None:
    payload = {"uniqueid": "1.1", "comments": 'é "\\ \udcff \u2028', "duration": -3, "callDate": None}
    requests: list[bytes] = []

    def script(connection: socket.socket) -> None:
        requests.append(read_request(connection))
        connection.sendall(STORED)

    with wire(script) as server:
        open_session(f"{server.url}/behind/a/proxy").post(payload)

    head, _, body = requests[0].partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    assert first == "POST /behind/a/proxy/api/v1/call-results HTTP/1.1"
    assert dict(line.split(": ", 1) for line in lines) == {
        "Host": f"127.0.0.1:{server.port}",
        "x-api-key": KEY,
        "User-Agent": f"vicisync/{__version__}",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "gzip, deflate",
        "Content-Length": str(len(body)),
    }
    assert body == json.dumps(payload).encode("ascii")
    assert json.loads(body) == payload


def test_each_request_carries_its_own_payload(open_session: Open, api: DidOptimizer) -> None:
    payloads = [{**CALL, "uniqueid": "1." + "0" * digits} for digits in (9, 1, 5)]

    session = open_session(api.url)
    for payload in payloads:
        session.post(payload)

    assert [post.payload for post in api.posts] == payloads


def test_one_connection_serves_many_calls_whatever_their_answers(open_session: Open, api: DidOptimizer) -> None:
    faults = [None, ERROR_500, None, SUCCESS_FALSE, HTML_200, REDIRECT, GZIP, rate_limited_429(), answer(404, {}, HTML)]
    api.fault_for = lambda payload: faults[payload["number"]]

    session = open_session(api.url)
    for number in range(len(faults)):
        session.post({**CALL, "number": number})

    assert len(api.posts) == len(faults)
    assert api.connections == 1


def test_netrc_and_cookies_add_nothing_to_a_request(
    open_session: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    requests: list[bytes] = []

    def script(connection: socket.socket) -> None:
        for _ in range(2):
            requests.append(read_request(connection))
            connection.sendall(http("200 OK", b'{"success": true}', "Set-Cookie: sid=1"))

    with wire(script) as server:
        session = open_session(server.url)
        session.post(CALL)
        session.post(CALL)

    assert len(requests) == 2
    assert not any(name in request.lower() for request in requests for name in (b"authorization:", b"cookie:"))


# What an answer means

UNSTORABLE = {**CALL, "campaignId": ""}

ANSWERS = [
    pytest.param(None, CALL, DELIVERED, id="stored"),
    pytest.param(GZIP, CALL, DELIVERED, id="gzip"),
    pytest.param(
        None, UNSTORABLE, Answer(Meaning.REJECTED, "400 Bad Request: Missing required fields: campaignId"), id="400"
    ),
    pytest.param(
        SUCCESS_FALSE, CALL, Answer(Meaning.REJECTED, "200 OK: Call result not accepted"), id="success is false"
    ),
    pytest.param(
        answer(401, {}, b'{"error": "API key required"}'),
        CALL,
        Answer(Meaning.REFUSED, "401 Unauthorized: API key required; check api_key"),
        id="401",
    ),
    pytest.param(
        answer(404, {"Content-Type": "text/html"}, HTML),
        CALL,
        Answer(Meaning.REFUSED, "404 Not Found; check api_base_url"),
        id="404 page",
    ),
    pytest.param(
        HTML_200,
        CALL,
        Answer(Meaning.REFUSED, "200 OK, but not in the words of DID Optimizer; check api_base_url"),
        id="200 page",
    ),
    pytest.param(
        ERROR_500,
        CALL,
        Answer(Meaning.TRY_AGAIN, "500 Internal Server Error: Failed to record call result"),
        id="500",
    ),
    pytest.param(
        unavailable_503(7), CALL, Answer(Meaning.TRY_AGAIN, "503 Service Unavailable", retry_after=7.0), id="503"
    ),
    pytest.param(
        rate_limited_429(900),
        CALL,
        Answer(Meaning.TRY_AGAIN, "429 Too Many Requests", retry_after=900.0, throttled=True),
        id="429 in plain text",
    ),
    pytest.param(CUT_BEFORE, CALL, CUT, id="cut before the call was stored"),
    pytest.param(LOST_ANSWER, CALL, CUT, id="cut after the call was stored"),
    pytest.param(HALF_ANSWER, CALL, Answer(Meaning.TRY_AGAIN, "the answer broke off"), id="half an answer"),
    pytest.param(GARBAGE, CALL, Answer(Meaning.TRY_AGAIN, "the answer is not HTTP"), id="another protocol"),
]


@pytest.mark.parametrize(("fault", "payload", "expected"), ANSWERS)
def test_an_answer_is_understood(
    open_session: Open, api: DidOptimizer, fault: Fault | None, payload: dict[str, Any], expected: Answer
) -> None:
    api.fault_for = lambda _: fault

    assert open_session(api.url).post(payload) == expected
    assert len(api.posts) == 1


def test_a_call_that_the_api_knew_is_a_duplicate(open_session: Open, api: DidOptimizer) -> None:
    session = open_session(api.url)

    assert [session.post(CALL).duplicate, session.post(CALL).duplicate] == [False, True]


def test_a_wrong_key_is_refused_and_not_repeated_to_the_reader(open_session: Open, api: DidOptimizer) -> None:
    refused = open_session(api.url, api_key="another-key").post(CALL)

    assert refused == Answer(Meaning.REFUSED, "401 Unauthorized: Invalid API key; check api_key")


HALF = b'{"success": true, "message": "Call res'
BROKE_OFF = Answer(Meaning.TRY_AGAIN, "the answer broke off")
NOT_HTTP = Answer(Meaning.TRY_AGAIN, "the answer is not HTTP")

BYTES = [
    pytest.param(
        b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n" + HALF, BROKE_OFF, id="cut in a body of known length"
    ),
    pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5a\r\n" + HALF, BROKE_OFF, id="cut in a chunk"),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n" + b'{"success": true}' + b"\r\n",
        BROKE_OFF,
        id="cut between chunks",
    ),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n" + b'{"success": true}' + b"\r\n0\r\n\r\n",
        Answer(Meaning.DELIVERED, "200 OK"),
        id="chunks",
    ),
    pytest.param(
        b'HTTP/1.0 200 OK\r\n\r\n{"success": true}', Answer(Meaning.DELIVERED, "200 OK"), id="HTTP 1.0, to the end"
    ),
    pytest.param(
        http("200 OK", gzip.compress(STORED)[:-9] + b"?" * 9, "Content-Encoding: gzip"),
        Answer(Meaning.TRY_AGAIN, "the answer cannot be decompressed"),
        id="broken gzip",
    ),
    pytest.param(b"HTTP/1.1 2", NOT_HTTP, id="cut in the status line"),
    pytest.param(b"220 mail.example ESMTP\r\n", NOT_HTTP, id="a mail server"),
    pytest.param(b"\x00\xff" * 5000, NOT_HTTP, id="noise"),
    pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000, NOT_HTTP, id="a header without an end"),
    pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 100_000, NOT_HTTP, id="headers without an end"),
    pytest.param(
        http("503 Out", b"", "Retry-After: soon"),
        Answer(Meaning.TRY_AGAIN, "503 Service Unavailable"),
        id="a reason phrase of its own",
    ),
    pytest.param(
        http("400 Bad Request", b"<h1>The plain HTTP request was sent to HTTPS port</h1>"),
        Answer(Meaning.REFUSED, "400 Bad Request: the server expects https; write https:// in api_base_url"),
        id="nginx with TLS on this port",
    ),
    pytest.param(b"", CUT, id="nothing"),
]


@pytest.mark.parametrize(("reply", "expected"), BYTES)
def test_bytes_are_understood(open_session: Open, reply: bytes, expected: Answer) -> None:
    with wire(says(reply)) as server:
        assert open_session(server.url).post(CALL) == expected
        assert server.connections == 1


def test_a_reset_in_an_answer_is_told_from_one_before_it(open_session: Open) -> None:
    def resets_within(connection: socket.socket) -> None:
        says(STORED)(connection)
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n" + HALF)
        time.sleep(0.2)  # a reset overtakes what has not been read
        reset(connection)

    def resets_before(connection: socket.socket) -> None:
        read_request(connection)
        reset(connection)

    with wire(resets_within, resets_before) as server:
        session = open_session(server.url)
        assert [session.post(CALL) for _ in range(3)] == [DELIVERED, BROKE_OFF, CUT]
        assert server.connections == 2


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


SOON = format_datetime(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=5), usegmt=True)

RETRY_AFTER = [
    pytest.param("Retry-After: 7", pytest.approx(7), id="seconds"),
    pytest.param("retry-after: 7", pytest.approx(7), id="small letters"),
    pytest.param(f"Retry-After: {SOON}", pytest.approx(290, abs=60), id="a date to come"),
    pytest.param("Retry-After: Wed, 21 Oct 2015 07:28:00 GMT", pytest.approx(0), id="a date gone by"),
    pytest.param("X-Nothing: 1", None, id="none"),
    pytest.param("Retry-After: soon", None, id="a word"),
    pytest.param("Retry-After: -1", None, id="a negative number"),
    pytest.param("Retry-After: Fri, 31 Dec 99999 23:59:59 GMT", None, id="a date beyond the calendar"),
    pytest.param(f"Retry-After: {'9' * 5000}", None, id="a number beyond reason"),
]


@pytest.mark.parametrize(("header", "seconds"), RETRY_AFTER)
def test_retry_after_is_read_in_seconds_or_as_a_date(open_session: Open, header: str, seconds: float | None) -> None:
    with wire(says(http("503 Service Unavailable", b"", header))) as server:
        refused = open_session(server.url).post(CALL)

    assert refused.meaning is Meaning.TRY_AGAIN
    assert refused.retry_after == seconds


# Redirects


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent"])
def test_a_redirect_is_never_followed_and_its_target_named(open_session: Open, status: str) -> None:
    with wire(stores_all) as target:
        elsewhere = f"https://127.0.0.1:{target.port}"
        with wire(says(http(status, HTML, f"Location: {elsewhere}/api/v1/call-results"))) as server:
            refused = open_session(server.url).post(CALL)
        assert (server.connections, target.connections) == (1, 0)

    assert refused.meaning is Meaning.REFUSED
    assert refused.words.endswith(f": the API has moved; write api_base_url={elsewhere}")


@pytest.mark.parametrize("location", ["https://[", "gopher://x", "//", "\x80", "/login"])
def test_a_redirect_to_nowhere_is_refused_as_well(open_session: Open, location: str) -> None:
    with wire(says(http("302 Found", b"", f"Location: {location}"))) as server:
        refused = open_session(server.url).post(CALL)

    assert refused.meaning is Meaning.REFUSED
    assert refused.words.startswith("302 Found: the API has moved to '")


# Too much, too slow

MEGABYTE = b"x" * 1_000_000


@pytest.mark.parametrize(
    ("head", "words"),
    [
        pytest.param("200 OK\r\nContent-Length: 100000000", "200 OK, but not in the words", id="a page"),
        pytest.param("200 OK", "200 OK, but not in the words", id="a page without a length"),
        pytest.param("302 Found\r\nLocation: /x\r\nContent-Length: 100000000", "302 Found", id="a redirect"),
        pytest.param("500 X\r\nContent-Length: 100000000", "500 Internal Server Error", id="an error"),
    ],
)
def test_of_an_endless_answer_only_the_beginning_is_read(open_session: Open, head: str, words: str) -> None:
    sent = 0

    def script(connection: socket.socket) -> None:
        nonlocal sent
        if read_request(connection):
            connection.sendall(f"HTTP/1.1 {head}\r\n\r\n".encode())
            while sent < 100:
                connection.sendall(MEGABYTE)
                sent += 1

    with wire(script, stores_all) as server:
        session = open_session(server.url)
        assert session.post(CALL).words.startswith(words)
        assert session.post(CALL) == DELIVERED

    assert sent < 30  # the rest of it fits into the buffers of both sockets


def test_a_body_that_unpacks_to_100_mb_is_not_unpacked(open_session: Open) -> None:
    bomb = gzip.compress(b"\0" * 100_000_000)
    with wire(says(http("200 OK", bomb, "Content-Encoding: gzip"))) as server:
        session = open_session(server.url)
        tracemalloc.start()
        try:
            refused = session.post(CALL)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert refused.meaning is Meaning.REFUSED
    assert peak < 50 * LARGEST_ANSWER


def test_an_answer_that_trickles_is_given_up(open_session: Open) -> None:
    def trickles(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            connection.sendall(b" ")
            time.sleep(0.05)

    with wire(trickles) as server:
        began = time.monotonic()
        assert open_session(server.url, api_timeout="0.3").post(CALL) == NO_ANSWER
        assert time.monotonic() - began < 10


NO_ANSWER = Answer(Meaning.TRY_AGAIN, "no answer within 0.3 s")


@pytest.mark.parametrize(
    "beginning", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n" + HALF]
)
def test_an_answer_that_stops_coming_is_given_up(open_session: Open, beginning: bytes) -> None:
    def stalls(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(beginning)
        waits(connection)

    with wire(stalls) as server:
        assert open_session(server.url, api_timeout="0.3").post(CALL) == NO_ANSWER
        assert server.connections == 1


def test_an_answer_just_in_time_counts(open_session: Open, api: DidOptimizer) -> None:
    api.fault_for = lambda _: slow(0.3)

    assert open_session(api.url).post(CALL) == DELIVERED


# No connection


def test_a_refused_connection_is_said(open_session: Open) -> None:
    with wire(waits) as server:
        server.refuse()
        assert open_session(server.url).post(CALL) == Answer(Meaning.TRY_AGAIN, "connection refused")


def test_a_name_that_is_unknown_is_said(open_session: Open) -> None:
    unknown = open_session("http://did-optimizer.invalid").post(CALL)

    assert unknown == Answer(Meaning.TRY_AGAIN, "the name in api_base_url cannot be resolved")


def test_a_server_that_does_not_accept_is_given_up(open_session: Open) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):  # fill the queue of those who wait to be accepted
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        session = open_session(f"http://127.0.0.1:{listener.getsockname()[1]}", api_timeout="0.3")

        assert session.post(CALL) == Answer(Meaning.TRY_AGAIN, "no connection within 0.3 s")


def test_what_has_no_sentence_of_its_own_is_said_in_the_systems_words(
    open_session: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_route(*_: object, **__: object) -> None:
        raise OSError(113, "No route to host")

    monkeypatch.setattr(socket.socket, "connect", no_route)

    assert open_session("http://127.0.0.1:9").post(CALL) == Answer(Meaning.TRY_AGAIN, "No route to host")


def test_a_proxy_that_does_not_work_is_not_taken_for_the_api(
    open_session: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wire(waits) as server:
        server.refuse()
        monkeypatch.setenv("http_proxy", f"http://someone:secret@127.0.0.1:{server.port}")
        failed = open_session("http://192.0.2.1").post(CALL)

    assert failed == Answer(Meaning.TRY_AGAIN, "the proxy that the environment names does not let us through")


# Kept-alive connections


def answers_then_cuts(connection: socket.socket) -> None:
    """Answer one request, read another, and close: it came just as the connection ran out."""
    read_request(connection)
    connection.sendall(STORED)
    read_request(connection)


def answers_then_resets(connection: socket.socket) -> None:
    answers_then_cuts(connection)
    reset(connection)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def server_context(ca: trustme.CA, *names: str, not_after: datetime.datetime | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*(names or ("127.0.0.1",)), not_after=not_after).configure_cert(context)
    return context


@pytest.mark.parametrize("secured", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("end", [answers_then_cuts, answers_then_resets])
def test_a_connection_that_had_run_out_is_no_failure(
    open_session: Open, ca: trustme.CA, end: Script, secured: bool
) -> None:
    with wire(end, stores_all, context=server_context(ca) if secured else None) as server:
        session = open_session(server.url, verify_ssl="0")
        assert [session.post(CALL) for _ in range(3)] == [DELIVERED] * 3
        assert server.connections == 2


@pytest.mark.parametrize("secured", [False, True], ids=["http", "https"])
def test_a_connection_known_to_be_closed_is_not_used(open_session: Open, ca: trustme.CA, secured: bool) -> None:
    with wire(says(STORED), stores_all, context=server_context(ca) if secured else None) as server:
        session = open_session(server.url, verify_ssl="0")
        first = session.post(CALL)
        time.sleep(0.2)  # for the end to arrive

        assert [first, session.post(CALL)] == [DELIVERED] * 2
        assert server.connections == 2


@pytest.mark.parametrize(
    ("scripts", "connections"),
    [
        pytest.param([says(b"")], 1, id="a first connection"),
        pytest.param([answers_then_cuts, says(b""), stores_all], 2, id="the fresh one after a kept-alive one"),
        pytest.param(
            [says(http("200 OK", b'{"success": true}', "Connection: close")), says(b""), stores_all],
            2,
            id="the one after a goodbye",
        ),
    ],
)
def test_a_fresh_connection_that_is_cut_is_a_failure(
    open_session: Open, scripts: list[Script], connections: int
) -> None:
    with wire(*scripts) as server:
        session = open_session(server.url)
        posts = [session.post(CALL) for _ in range(connections)]

        assert posts[-1] == CUT
        assert server.connections == connections


def test_after_a_cut_the_next_failure_counts_at_once(open_session: Open) -> None:
    with wire(answers_then_cuts, says(b""), says(b""), stores_all) as server:
        session = open_session(server.url)
        posts = [session.post(CALL) for _ in range(4)]

        assert [post.meaning for post in posts] == [
            Meaning.DELIVERED,
            Meaning.TRY_AGAIN,
            Meaning.TRY_AGAIN,
            Meaning.DELIVERED,
        ]
        assert server.connections == 4


def test_when_the_server_is_gone_for_good_the_fresh_connection_says_so(open_session: Open) -> None:
    with wire(answers_then_cuts) as server:
        session = open_session(server.url)
        session.post(CALL)
        server.refuse()

        assert session.post(CALL) == Answer(Meaning.TRY_AGAIN, "connection refused")


def test_garbage_on_the_fresh_connection_is_not_taken_for_the_cut_before_it(open_session: Open) -> None:
    with wire(answers_then_cuts, says(b"SSH-2.0-OpenSSH\r\n")) as server:
        session = open_session(server.url)
        session.post(CALL)

        assert session.post(CALL) == NOT_HTTP


# TLS


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> str:
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


def test_a_certificate_of_the_named_ca_is_trusted(open_session: Open, ca: trustme.CA, ca_file: str) -> None:
    with wire(stores_all, context=server_context(ca)) as server:
        session = open_session(server.url, verify_ssl=ca_file)
        assert [session.post(CALL), session.post(CALL)] == [DELIVERED] * 2
        assert server.connections == 1


def test_a_ca_that_the_environment_names_is_trusted(
    open_session: Open, ca: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_file)
    with wire(stores_all, context=server_context(ca)) as server:
        assert open_session(server.url).post(CALL) == DELIVERED


def test_without_verification_any_certificate_will_do_and_nothing_warns(open_session: Open, ca: trustme.CA) -> None:
    with wire(stores_all, context=server_context(ca, "another.example")) as server:
        assert open_session(server.url, verify_ssl="0").post(CALL) == DELIVERED


LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)

UNTRUSTED = [
    pytest.param(
        (), None, "1", ["unable to get local issuer certificate", "name that CA's file in verify_ssl"], id="unknown CA"
    ),
    pytest.param((), LONG_AGO, None, ["certificate has expired", "have it renewed"], id="expired"),
    pytest.param(
        ("another.example",), None, None, ["127.0.0.1", "write the name it is for in api_base_url"], id="wrong host"
    ),
]


@pytest.mark.parametrize(("names", "not_after", "verify", "words"), UNTRUSTED)
def test_a_certificate_that_is_not_to_be_trusted_needs_a_person(
    open_session: Open,
    ca: trustme.CA,
    ca_file: str,
    names: tuple[str, ...],
    not_after: datetime.datetime | None,
    verify: str | None,
    words: list[str],
) -> None:
    requests: list[bytes] = []
    context = server_context(ca, *names, not_after=not_after)
    with wire(lambda connection: requests.append(read_request(connection)), context=context) as server:
        refused = open_session(server.url, verify_ssl=verify or ca_file).post(CALL)
        assert server.connections == 1

    assert refused.meaning is Meaning.REFUSED
    assert refused.words.startswith("its certificate is not to be trusted (")
    assert [word for word in words if word not in refused.words] == []
    assert not any(requests)


def test_plain_http_behind_https_needs_a_person(open_session: Open, api: DidOptimizer) -> None:
    refused = open_session(api.url.replace("http:", "https:")).post(CALL)

    assert refused == Answer(Meaning.REFUSED, "the server does not speak TLS as we do; check https:// in api_base_url")
    assert not api.posts


def test_a_cut_in_the_handshake_may_pass(open_session: Open) -> None:
    def cuts(connection: socket.socket) -> None:
        connection.recv(65536)

    with wire(cuts) as server:
        assert open_session(server.url.replace("http:", "https:")).post(CALL) == CUT


def test_a_handshake_that_does_not_come_is_given_up(open_session: Open) -> None:
    with wire(waits) as server:
        assert open_session(server.url.replace("http:", "https:"), api_timeout="0.3").post(CALL) == NO_ANSWER


def test_a_ca_file_that_went_away_needs_a_person(open_session: Open, ca: trustme.CA, ca_file: str) -> None:
    with wire(stores_all, context=server_context(ca)) as server:
        session = open_session(server.url, verify_ssl=ca_file)
        Path(ca_file).unlink()
        refused = session.post(CALL)

    assert refused.meaning is Meaning.REFUSED
    assert refused.words.startswith("its certificate cannot be verified: ")
    assert ca_file in refused.words


# Secrets


def test_the_key_stands_in_no_repr(open_session: Open, api: DidOptimizer) -> None:
    session = open_session(api.url)
    shown = [repr(session), repr(session.post(CALL)), repr(session.post(UNSTORABLE))]
    api.down()
    shown.append(repr(session.post(CALL)))

    assert [text for text in shown if KEY in text] == []


# Requests that carry no call


@pytest.mark.parametrize(("key", "status"), [(KEY, 400), ("wrong", 401)])
def test_an_empty_call_tells_whether_the_key_is_right_and_nothing_is_recorded(
    key: str, status: int, api: DidOptimizer, open_session: Open
) -> None:
    probe = open_session(api.url, api_key=key).try_key()
    assert (status, True) == (probe.http_status, probe.is_json)
    assert ([{}], {}) == ([post.payload for post in api.posts], api.records)


def test_a_probe_and_calls_share_one_connection(api: DidOptimizer, open_session: Open) -> None:
    session = open_session(api.url)
    assert 400 == session.try_key().http_status
    assert Meaning.DELIVERED is session.post(CALL).meaning
    assert 1 == api.connections
