"""ApiSession against real sockets: whatever the network does becomes an Answer with a sentence of its own."""

import datetime
import errno
import gzip
import json
import os
import socket
import ssl
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from email.utils import format_datetime
from pathlib import Path

import pytest
from urllib3.exceptions import NewConnectionError, ProtocolError

from rehearsal import did_optimizer as faults
from rehearsal.did_optimizer import HTML, DidOptimizer, Fault, answer
from rehearsal.ports import Listener, Script
from tests.certificates import valid
from tests.conftest import make_settings
from vicisync import __version__
from vicisync.did_optimizer.answer import Answer, Meaning
from vicisync.did_optimizer.failure import answer_of_failure
from vicisync.did_optimizer.session import LARGEST_ANSWER, ApiSession

KEY = "sk-0123456789abcdef"
CALL = {"uniqueid": "1729785600.1", "phoneNumber": "2125550100", "campaignId": "CAMP01", "disposition": "SALE"}

Open = Callable[..., ApiSession]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


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


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """What a server needs that has a certificate, and the file of the CA that vouches for it."""
    folder = tmp_path_factory.mktemp("certified")
    return valid().context(folder), str(folder / "ca.pem")


# What a server does on a connection


def try_again(words: str, retry_after: float | None = None, *, throttled: bool = False) -> Answer:
    return Answer(Meaning.TRY_AGAIN, words, retry_after=retry_after, throttled=throttled)


def lost(words: str) -> Answer:
    """The call may be stored all the same."""
    return Answer(Meaning.TRY_AGAIN, words, perhaps_stored=True)


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
GOODBYE = http("200 OK", b'{"success": true, "message": "Call result recorded"}', "Connection: close")
HALF = b'{"success": true, "message": "Call res'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

DELIVERED = Answer(Meaning.DELIVERED, "200 OK: Call result recorded", by_api=True)
AGAIN = DELIVERED._replace(perhaps_stored=True, perhaps_twice=True)  # on a fresh connection, as on the one before
DONE = Answer(Meaning.DELIVERED, "200 OK", by_api=True)
NEVER = Answer(Meaning.REJECTED, "400 Bad Request: Missing required fields: campaignId", by_api=True)
THROTTLED = try_again("429 Too Many Requests", 900.0, throttled=True)
CUT = lost("the connection was cut without an answer")
TWICE_CUT = CUT._replace(perhaps_twice=True)
TWICE_NOT_HTTP = lost("the answer is not HTTP")._replace(perhaps_twice=True)
BROKE_OFF = lost("the answer broke off")
NOT_HTTP = lost("the answer is not HTTP")
NO_ANSWER = lost("no answer within 0.3 s")
REFUSED = try_again("connection refused")


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


def resets(*replies: bytes) -> Script:
    """As ``says``, with a reset in the place of the close."""

    def script(connection: socket.socket) -> None:
        says(*replies)(connection)
        time.sleep(0.2)  # a reset overtakes what has not been read
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    return script


answers_then_cuts = says(STORED, b"")
"""Answer one request, read another, and close: it came just as the connection ran out."""


# What the request is


def test_a_request_carries_exactly_the_payload_and_says_who_asks_and_nothing_of_netrc_and_cookies(
    open_session: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    payload = {"uniqueid": "1.1", "comments": 'é "\\ \udcff \u2028', "duration": -3, "callDate": None}
    heard: list[bytes] = []

    def hears(connection: socket.socket) -> None:
        while request := read_request(connection):
            heard.append(request)
            connection.sendall(http("200 OK", b'{"success": true}', "Set-Cookie: sid=1"))

    with Listener(hears) as server:
        session = open_session(f"{server.url}/behind/a/proxy")
        for _ in range(2):
            session.post(payload)
    assert [heard[0]] * 2 == heard
    head, _, body = heard[0].partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    assert first == "POST /behind/a/proxy/api/v1/call-results HTTP/1.1"
    assert dict(line.split(": ", 1) for line in lines) == {
        "Host": f"127.0.0.1:{server.port}", "x-api-key": KEY, "User-Agent": f"vicisync/{__version__}",
        "Content-Type": "application/json", "Accept-Encoding": "gzip, deflate",
        "Content-Length": str(len(body)),
    }  # fmt: skip
    assert body == json.dumps(payload).encode("ascii")
    assert json.loads(body) == payload


def test_one_connection_serves_a_probe_and_many_calls_each_with_its_own_payload_whatever_their_answers(
    open_session: Open, api: DidOptimizer
) -> None:
    answers = [None, faults.ERROR_500, None, faults.SUCCESS_FALSE, faults.REDIRECT, faults.GZIP]
    answers += [faults.rate_limited_429(), answer(404, {}, HTML)]
    payloads = [{**CALL, "number": number, "uniqueid": "1." + "0" * (9 - number)} for number in range(len(answers))]
    session = open_session(api.url)
    assert 400 == session.try_key().http_status
    api.fault_for = lambda payload: answers[payload["number"]]
    for payload in payloads:
        session.post(payload)
    assert [post.payload for post in api.posts] == [{}, *payloads]
    assert api.connections == 1


# What an answer means


@pytest.mark.parametrize(
    ("fault", "payload", "expected"),
    [
        pytest.param(None, CALL, DELIVERED, id="stored"),
        pytest.param(faults.GZIP, CALL, DELIVERED, id="gzip"),
        pytest.param(faults.EARLY_HINTS, CALL, DELIVERED, id="early hints"),
        pytest.param(faults.ANSWER_TOO_MANY, CALL, DELIVERED, id="an answer too many"),
        pytest.param(None, {**CALL, "campaignId": ""}, NEVER, id="400"),
        pytest.param(faults.unavailable_503(7), CALL, try_again("503 Service Unavailable", 7.0), id="503"),
        pytest.param(faults.rate_limited_429(900), CALL, THROTTLED, id="429"),
        pytest.param(faults.CUT_BEFORE, CALL, CUT, id="cut before the call was stored"),
        pytest.param(faults.LOST_ANSWER, CALL, CUT, id="cut after the call was stored"),
        pytest.param(faults.HALF_ANSWER, CALL, BROKE_OFF, id="half an answer"),
        pytest.param(faults.GARBAGE, CALL, NOT_HTTP, id="another protocol"),
        pytest.param(faults.slow(0.3), CALL, DELIVERED, id="just in time"),
    ],
)
def test_an_answer_is_understood(
    open_session: Open, api: DidOptimizer, fault: Fault | None, payload: Mapping[str, str], expected: Answer
) -> None:
    api.fault_for = lambda _: fault
    assert open_session(api.url).post(payload) == expected
    assert len(api.posts) == 1


def test_a_call_that_the_api_knew_is_a_duplicate(open_session: Open, api: DidOptimizer) -> None:
    api.knows_repeats = True
    session = open_session(api.url)
    assert [session.post(CALL).duplicate, session.post(CALL).duplicate] == [False, True]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        pytest.param(HEAD + HALF, BROKE_OFF, id="cut in a body of known length"),
        pytest.param(CHUNKED + b"5a\r\n" + HALF, BROKE_OFF, id="cut in a chunk"),
        pytest.param(CHUNKED + b'11\r\n{"success": true}\r\n', BROKE_OFF, id="cut between chunks"),
        pytest.param(CHUNKED + b'11\r\n{"success": true}\r\n0\r\n\r\n', DONE, id="chunks"),
        pytest.param(b'HTTP/1.0 200 OK\r\n\r\n{"success": true}', DONE, id="HTTP 1.0, to the end"),
        pytest.param(
            http("200 OK", gzip.compress(STORED)[:-9] + b"?" * 9, "Content-Encoding: gzip"),
            lost("the answer cannot be decompressed"),
            id="broken gzip",
        ),
        pytest.param(b"HTTP/1.1 2", NOT_HTTP, id="cut in the status line"),
        pytest.param(b"220 mail.example ESMTP\r\n", NOT_HTTP, id="a mail server"),
        pytest.param(b"\x00\xff" * 5000, NOT_HTTP, id="noise"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000, NOT_HTTP, id="a header without an end"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 100_000, NOT_HTTP, id="headers without an end"),
        pytest.param(http("503 Out"), try_again("503 Service Unavailable"), id="a reason phrase of its own"),
        pytest.param(
            http("400 Bad Request", b"<h1>The plain HTTP request was sent to HTTPS port</h1>"),
            Answer(Meaning.REFUSED, "400 Bad Request: the server expects https; write https:// in api_base_url"),
            id="nginx with TLS on this port",
        ),
        pytest.param(b"", CUT, id="nothing"),
        pytest.param(HEAD.replace(b"90\r\n", b"2\r\nContent-Length: 3\r\n") + b"{} ", NOT_HTTP, id="two lengths"),
    ],
)
def test_bytes_are_understood(open_session: Open, reply: bytes, expected: Answer) -> None:
    with Listener(says(reply)) as server:
        assert open_session(server.url).post(CALL) == expected
        assert server.connections == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param("Retry-After: 7", pytest.approx(7), id="seconds"),
        pytest.param("retry-after: 7", pytest.approx(7), id="small letters"),
        pytest.param("Retry-After: {in_5_minutes}", pytest.approx(290, abs=60), id="a date to come"),
        pytest.param("Retry-After: Wed, 21 Oct 2015 07:28:00 GMT", pytest.approx(0), id="a date gone by"),
        pytest.param("X-Nothing: 1", None, id="none"),
        pytest.param("Retry-After: soon", None, id="a word"),
        pytest.param("Retry-After: -1", None, id="a negative number"),
        pytest.param("Retry-After: Fri, 31 Dec 99999 23:59:59 GMT", None, id="a date beyond the calendar"),
        pytest.param(f"Retry-After: {'9' * 5000}", None, id="a number beyond reason"),
    ],
)
def test_retry_after_is_read_in_seconds_or_as_a_date(open_session: Open, header: str, seconds: float | None) -> None:
    in_5_minutes = format_datetime(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=5), True)
    header = header.format(in_5_minutes=in_5_minutes)
    with Listener(says(http("503 Service Unavailable", b"", header))) as server:
        assert open_session(server.url).post(CALL) == try_again("503 Service Unavailable", seconds)


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent"])
def test_a_redirect_is_never_followed_and_its_target_named(open_session: Open, status: str) -> None:
    with Listener(stores_all) as target:
        elsewhere = f"https://127.0.0.1:{target.port}"
        with Listener(says(http(status, HTML, f"Location: {elsewhere}/api/v1/call-results"))) as server:
            refused = open_session(server.url).post(CALL)
        assert (server.connections, target.connections) == (1, 0)
    assert refused.meaning is Meaning.REFUSED
    assert refused.words.endswith(f": the API has moved; write api_base_url={elsewhere}")


# Too much, too slow


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
                connection.sendall(b"x" * 1_000_000)
                sent += 1

    with Listener(script, stores_all) as server:
        session = open_session(server.url)
        assert session.post(CALL).words.startswith(words)
        assert session.post(CALL) == DELIVERED
    assert sent < 30  # the rest of it fits into the buffers of both sockets


def test_a_body_that_unpacks_to_100_mb_is_not_unpacked(open_session: Open) -> None:
    bomb = gzip.compress(b"\0" * 100_000_000)
    with Listener(says(http("200 OK", bomb, "Content-Encoding: gzip"))) as server:
        session = open_session(server.url)
        tracemalloc.start()
        try:
            refused = session.post(CALL)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert refused.meaning is Meaning.REFUSED
    assert peak < 50 * LARGEST_ANSWER


def trickles(connection: socket.socket) -> None:
    says(HEAD)(connection)
    for _ in range(1000):
        connection.sendall(b" ")
        time.sleep(0.05)


def stalls_after(beginning: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        says(beginning)(connection)
        waits(connection)

    return script


@pytest.mark.parametrize(
    ("script", "scheme", "expected"),
    [
        pytest.param(trickles, "http:", NO_ANSWER, id="trickles"),
        pytest.param(stalls_after(b""), "http:", NO_ANSWER, id="never begins"),
        pytest.param(stalls_after(b"HTTP/1.1 200 OK\r\n"), "http:", NO_ANSWER, id="stops in the head"),
        pytest.param(stalls_after(HEAD + HALF), "http:", NO_ANSWER, id="stops in the body"),
        pytest.param(waits, "https:", try_again("no connection within 0.3 s"), id="no handshake"),
    ],
)
def test_an_answer_that_does_not_come_is_given_up(
    open_session: Open, script: Script, scheme: str, expected: Answer
) -> None:
    """Until TLS stands nothing was sent, and nothing is stored."""
    with Listener(script) as server:
        began = time.monotonic()
        assert open_session(server.url.replace("http:", scheme), api_timeout="0.3").post(CALL) == expected
        assert time.monotonic() - began < 10
        assert server.connections == 1


# No connection


def test_a_refused_connection_is_said(open_session: Open, closed_port: int) -> None:
    assert open_session(f"http://127.0.0.1:{closed_port}").post(CALL) == REFUSED


def test_a_name_that_is_unknown_is_said(open_session: Open) -> None:
    unknown = open_session("http://did-optimizer.invalid").post(CALL)
    assert unknown == try_again("the name in api_base_url cannot be resolved; correct it, or this machine's DNS")


def test_a_server_that_does_not_accept_is_given_up(open_session: Open) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):  # fill the queue of those who wait to be accepted
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        session = open_session(f"http://127.0.0.1:{listener.getsockname()[1]}", api_timeout="0.3")
        assert session.post(CALL) == try_again("no connection within 0.3 s")


def test_what_has_no_sentence_of_its_own_is_said_in_the_systems_words(
    open_session: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_route(*_: object, **__: object) -> None:
        raise OSError(113, "No route to host")

    monkeypatch.setattr(socket.socket, "connect", no_route)
    assert open_session("http://127.0.0.1:9").post(CALL) == try_again("No route to host")


def test_a_proxy_that_does_not_work_is_not_taken_for_the_api(
    open_session: Open, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("http_proxy", f"http://someone:secret@127.0.0.1:{closed_port}")
    failed = open_session("http://192.0.2.1").post(CALL)
    words = "the proxy that the environment names does not let us through; check it, or name the API in no_proxy"
    assert failed == try_again(words)


# Kept-alive connections


@pytest.mark.parametrize("secured", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    ("scripts", "answers"),
    [
        pytest.param([says(b"")], [CUT], id="a first connection that is cut"),
        pytest.param([answers_then_cuts, stores_all], [DELIVERED, AGAIN, DELIVERED], id="one that had run out"),
        pytest.param([resets(STORED, b""), stores_all], [DELIVERED, AGAIN, DELIVERED], id="nor one that was reset"),
        pytest.param([says(STORED), stores_all], [DELIVERED] * 2, id="one known to be closed"),
        pytest.param([says(GOODBYE), says(b"")], [DELIVERED, CUT], id="a fresh one after a goodbye"),
        pytest.param(
            [answers_then_cuts, says(b""), says(b""), stores_all], [DELIVERED, TWICE_CUT, CUT, DELIVERED],
            id="a fresh one after one that had run out, and the next",
        ),
        pytest.param(
            [resets(STORED, HEAD + HALF), resets(b"")], [DELIVERED, BROKE_OFF, CUT], id="a reset within, then before"
        ),
        pytest.param([answers_then_cuts, says(b"SSH-2.0\r\n")], [DELIVERED, TWICE_NOT_HTTP], id="garbage"),
    ],
)  # fmt: skip
def test_only_the_cut_of_a_fresh_connection_is_a_failure(
    open_session: Open, certified: tuple[ssl.SSLContext, str], scripts: list[Script], answers: list[Answer],
    secured: bool,
) -> None:  # fmt: skip
    context, ca_file = certified
    with Listener(*scripts, context=context if secured else None) as server:
        session = open_session(server.url, verify_ssl=ca_file)
        for expected in answers:
            assert session.post(CALL) == expected
            time.sleep(0.1)  # for an end to arrive
        assert server.connections == len(scripts)


def test_when_the_server_is_gone_for_good_the_fresh_connection_says_so(open_session: Open) -> None:
    with Listener(answers_then_cuts) as server:
        session = open_session(server.url)
        session.post(CALL)
        server.refuse()
        assert session.post(CALL) == REFUSED._replace(perhaps_stored=True)


# TLS; test_tls has the certificates that are not to be trusted


def test_a_ca_that_the_environment_names_is_trusted(
    open_session: Open, certified: tuple[ssl.SSLContext, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, ca_file = certified
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_file)
    with Listener(stores_all, context=context) as server:
        session = open_session(server.url)
        assert [session.post(CALL), session.post(CALL)] == [DELIVERED] * 2
        assert server.connections == 1


def test_plain_http_behind_https_needs_a_person(open_session: Open, api: DidOptimizer) -> None:
    refused = open_session(api.url.replace("http:", "https:")).post(CALL)
    words = "it does not speak TLS at that port (WRONG_VERSION_NUMBER); check https:// and the port in api_base_url"
    assert refused == Answer(Meaning.REFUSED, words)
    assert not api.posts


def test_a_cut_in_the_handshake_may_pass_and_nothing_was_sent(open_session: Open) -> None:
    with Listener(lambda connection: connection.recv(65536)) as server:
        assert open_session(server.url.replace("http:", "https:")).post(CALL) == try_again(CUT.words)


def test_a_ca_file_that_went_away_needs_a_person(open_session: Open, tmp_path: Path) -> None:
    with Listener(stores_all, context=valid().context(tmp_path)) as server:
        session = open_session(server.url, verify_ssl=str(tmp_path / "ca.pem"))
        (tmp_path / "ca.pem").unlink()
        refused = session.post(CALL)
    assert refused.meaning is Meaning.REFUSED
    assert refused.words.startswith("its certificate cannot be verified: ")
    assert str(tmp_path / "ca.pem") in refused.words


# Requests that carry no call


@pytest.mark.parametrize(("key", "status"), [(KEY, 400), ("wrong", 401)])
def test_an_empty_call_tells_whether_the_key_is_right_and_nothing_is_recorded(
    key: str, status: int, api: DidOptimizer, open_session: Open
) -> None:
    probe = open_session(api.url, api_key=key).try_key()
    assert (status, True) == (probe.http_status, b'"success":' in probe.body)
    assert ([{}], {}) == ([post.payload for post in api.posts], api.records)


@pytest.mark.parametrize("perhaps", [False, True], ids=["before it is connected", "after"])
def test_what_the_network_says_once_the_call_is_on_its_way_tells_nothing_of_whether_it_is_stored(perhaps: bool) -> None:
    unreachable = OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
    error = ProtocolError("", unreachable) if perhaps else NewConnectionError(None, "")  # type: ignore[arg-type]
    error.__cause__ = unreachable
    assert try_again("No route to host")._replace(perhaps_stored=perhaps) == answer_of_failure(error, 10)
