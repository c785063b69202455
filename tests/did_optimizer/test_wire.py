"""No answer ever reaches another call, and none takes longer than its time, on real sockets."""

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import urllib3

from rehearsal.ports import Listener, Script
from tests.did_optimizer.test_session import (
    CALL,
    DELIVERED,
    NO_ANSWER,
    STORED,
    certified,
    http,
    open_session,
    read_request,
    says,
)
from vicisync.did_optimizer.answer import Answer, Meaning
from vicisync.did_optimizer.session import ApiSession

__all__ = ["certified", "open_session"]  # the fixtures

Open = Callable[..., ApiSession]
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
UNSTORABLE = http("400 Bad Request", b'{"success": false, "error": "no campaign"}')
REJECTED = Answer(Meaning.REJECTED, "400 Bad Request: no campaign", by_api=True)


def of(uniqueid: str) -> dict[str, object]:
    return {**CALL, "uniqueid": uniqueid}


def stored(uniqueid: object) -> bytes:
    return http("200 OK", json.dumps({"success": True, "data": {"uniqueid": uniqueid}}).encode())


def answers(*before: bytes, after: bytes = b"", wait: float = 0.0) -> Script:
    """Store calls but those that end in .2, which are refused, with more around each answer than was asked for."""

    def script(connection: socket.socket) -> None:
        while request := read_request(connection):
            verdict = UNSTORABLE if b'.2"' in request else STORED
            connection.sendall(b"".join(before) + verdict + (b"" if wait else after))
            if wait:
                time.sleep(wait)
                connection.sendall(after)

    return script


@pytest.mark.parametrize("secured", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    "script",
    [
        pytest.param(answers(HINTS), id="early hints"),
        pytest.param(answers(PROCESSING, PROCESSING, HINTS), id="several informational answers"),
        pytest.param(answers(after=UNSTORABLE), id="an answer too many"),
        pytest.param(answers(after=UNSTORABLE, wait=0.05), id="an answer too many, a moment later"),
        pytest.param(answers(after=b"HTTP/1.1 200"), id="the beginning of another answer"),
    ],
)
def test_each_call_gets_its_own_answer_whatever_else_comes(
    open_session: Open, certified: tuple[ssl.SSLContext, str], script: Script, secured: bool
) -> None:
    context, ca_file = certified
    with Listener(script, context=context if secured else None) as server:
        session = open_session(server.url, verify_ssl=ca_file)
        for number in (1, 2, 3, 2, 1):
            assert (REJECTED if number == 2 else DELIVERED) == session.post(of(f"1729785600.{number}"))
            time.sleep(0.1)  # for what else comes
        assert 5 <= server.connections, "a connection that gave more than was asked for was used again"


def test_a_verdict_on_a_used_connection_is_asked_for_again_on_a_fresh_one(open_session: Open) -> None:
    """It may be an answer too many that came when the call was on its way."""
    with Listener(says(STORED, UNSTORABLE), says(STORED, STORED)) as server:
        session = open_session(server.url)
        assert DELIVERED == session.post(of("1729785600.1"))
        assert DELIVERED._replace(perhaps_stored=True, perhaps_twice=True) == session.post(of("1729785600.3"))
        assert 2 == server.connections


def test_an_answer_that_names_another_call_is_no_answer_and_ends_its_connection(open_session: Open) -> None:
    def shifted(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(stored("1729785600.9"))
        read_request(connection)

    def right(connection: socket.socket) -> None:
        while request := read_request(connection):
            connection.sendall(stored(json.loads(request.partition(b"\r\n\r\n")[2])["uniqueid"]))

    with Listener(shifted, right) as server:
        session = open_session(server.url)
        first = session.post(of("1729785600.1"))
        assert (Meaning.TRY_AGAIN, True) == (first.meaning, first.perhaps_stored)
        assert first.words.endswith("but the answer is to another call, 1729785600.9")
        assert Meaning.DELIVERED is session.post(of("1729785600.2")).meaning
        assert 2 == server.connections


def trickles(data: bytes, until: int) -> Script:
    """Answer with ``data``, up to the byte ``until`` one in 50 ms."""

    def script(connection: socket.socket) -> None:
        read_request(connection)
        for place in range(until):
            connection.sendall(data[place : place + 1])
            time.sleep(0.05)
        connection.sendall(data[until:])
        read_request(connection)

    return script


@pytest.mark.parametrize("secured", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("where", [12, len(STORED) - 60, len(STORED)], ids=["status", "headers", "body"])
def test_an_answer_that_trickles_is_given_up_in_time_and_its_rest_reaches_no_other_call(
    open_session: Open, certified: tuple[ssl.SSLContext, str], where: int, secured: bool
) -> None:
    context, ca_file = certified
    with Listener(trickles(STORED, where), answers(), context=context if secured else None) as server:
        session = open_session(server.url, verify_ssl=ca_file, api_timeout="0.3")
        began = time.monotonic()
        assert NO_ANSWER == session.post(of("1729785600.1"))
        assert 0.25 < time.monotonic() - began < 2
        assert REJECTED == session.post(of("1729785600.2"))


def test_endless_informational_answers_are_given_up_in_time(open_session: Open) -> None:
    def endless(connection: socket.socket) -> None:
        read_request(connection)
        while True:
            connection.sendall(PROCESSING)

    with Listener(endless) as server:
        assert NO_ANSWER == open_session(server.url, api_timeout="0.3").post(of("1729785600.1"))


def stores_first(*afterwards: Callable[[socket.socket], None]) -> Script:
    """Store one call, then answer further ones on the same connection in these ways."""

    def script(connection: socket.socket) -> None:
        for answer in (lambda connection: connection.sendall(STORED), *afterwards):
            read_request(connection)
            answer(connection)
        read_request(connection)

    return script


def too_late(connection: socket.socket) -> None:
    time.sleep(0.45)
    connection.sendall(STORED)


def too_large(connection: socket.socket) -> None:
    connection.sendall(http("503 Service Unavailable", b"x" * 200_000)[:-1])
    time.sleep(0.2)
    connection.sendall(b"x" + STORED)


@pytest.mark.parametrize("secured", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    ("second", "means"),
    [
        pytest.param(too_late, NO_ANSWER, id="too late"),
        pytest.param(too_large, Answer(Meaning.TRY_AGAIN, "503 Service Unavailable"), id="too large"),
    ],
)
def test_what_comes_late_of_a_further_answer_on_a_connection_reaches_no_other_call(
    open_session: Open,
    certified: tuple[ssl.SSLContext, str],
    second: Callable[[socket.socket], None],
    means: Answer,
    secured: bool,
) -> None:
    context, ca_file = certified
    with Listener(stores_first(second), answers(), context=context if secured else None) as server:
        session = open_session(server.url, verify_ssl=ca_file, api_timeout="0.3")
        assert DELIVERED == session.post(of("1729785600.1"))
        assert means == session.post(of("1729785600.3"))
        assert REJECTED == session.post(of("1729785600.2"))
        assert 2 == server.connections


def test_each_answer_on_a_connection_has_the_whole_timeout_however_long_the_one_before_took(open_session: Open) -> None:
    def slowly(connection: socket.socket) -> None:
        connection.sendall(STORED[:20])
        time.sleep(0.4)
        connection.sendall(STORED[20:-1])
        time.sleep(0.2)
        connection.sendall(STORED[-1:])

    with Listener(stores_first(slowly, slowly, slowly)) as server:
        session = open_session(server.url, api_timeout="0.8")
        assert [DELIVERED] * 4 == [session.post(of(f"1729785600.{number}")) for number in range(4)]
        assert 1 == server.connections


# The way there


@contextmanager
def named(monkeypatch: pytest.MonkeyPatch, port: int, *addresses: str, wait: float = 0.0) -> Iterator[str]:
    """Yield an URL whose name has these addresses; behind 127.0.0.9 and the like nobody answers."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]
    look_up = socket.getaddrinfo

    def getaddrinfo(host: str, *more: Any, **options: Any) -> Any:
        if host != "api.example":
            return look_up(host, *more, **options)
        time.sleep(wait)
        return list(found)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with ExitStack() as stack:
        for address in {*addresses} - {"127.0.0.1"}:
            listener = stack.enter_context(socket.create_server((address, port), backlog=0))
            for _ in range(8):  # fill the queue of those who wait to be accepted
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(listener.getsockname())
        yield f"http://api.example:{port}"


@pytest.mark.parametrize("secured", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("dead", [1, 3])
def test_dead_addresses_in_front_leave_the_one_that_answers_its_share_of_the_time(
    open_session: Open, monkeypatch: pytest.MonkeyPatch, certified: tuple[ssl.SSLContext, str], dead: int, secured: bool
) -> None:
    addresses = [f"127.0.0.{number}" for number in range(9, 9 - dead, -1)]
    heard: list[bytes] = []

    def script(connection: socket.socket) -> None:
        while request := read_request(connection):
            heard.append(request)
            connection.sendall(STORED)

    with (
        Listener(script, context=certified[0] if secured else None) as server,
        named(monkeypatch, server.port, *addresses, "127.0.0.1") as url,
    ):
        session = open_session(url.replace("http:", "https:" if secured else "http:"), api_timeout="1", verify_ssl="0")
        began = time.monotonic()
        assert [session.post(of("1.1")), session.post(of("1.3"))] == [DELIVERED] * 2
        assert time.monotonic() - began < 2
    assert all(b"\r\nHost: api.example:" in request for request in heard)


def test_what_the_way_there_leaves_no_time_for_is_not_sent(open_session: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []
    with (
        Listener(lambda connection: heard.append(read_request(connection))) as server,
        named(monkeypatch, server.port, "127.0.0.1", wait=0.4) as url,
    ):
        answer = open_session(url, api_timeout="0.3").post(CALL)
        assert answer == Answer(Meaning.TRY_AGAIN, "no connection within 0.3 s")
    assert heard in ([], [b""])


def test_an_address_of_many_has_all_the_time_that_is_left_for_the_handshake(
    open_session: Open, certified: tuple[ssl.SSLContext, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(connection: socket.socket) -> None:
        time.sleep(0.8)
        with certified[0].wrap_socket(connection, server_side=True) as secured:
            answers()(secured)

    with Listener(slow) as server, named(monkeypatch, server.port, "127.0.0.1", "127.0.0.9", "127.0.0.8") as url:
        session = open_session(url.replace("http:", "https:"), api_timeout="2", verify_ssl="0")
        assert session.post(CALL) == DELIVERED
        session.close()  # which the server waits for


def test_an_address_of_one_link_alone_keeps_that(open_session: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def getaddrinfo(host: str, *_: object, **__: object) -> Any:
        asked.append(host)
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 80, 0, socket.if_nametoindex("lo")))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    open_session("http://api.example", api_timeout="0.3").post(CALL)
    assert ["api.example", "fe80::1%lo"] == asked


def test_a_name_is_looked_up_once_for_the_addresses_that_this_machine_can_reach(
    open_session: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver that is dead takes ten seconds to say so; without IPv6, ::1 is no address of localhost."""
    asked: list[tuple[object, ...]] = []

    def getaddrinfo(*args: object, **_: object) -> Any:
        asked.append(args)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(urllib3.util.connection, "HAS_IPV6", False)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    unresolved = "the name in api_base_url cannot be resolved; correct it, or this machine's DNS"
    assert open_session("http://api.example").post(CALL) == Answer(Meaning.TRY_AGAIN, unresolved)
    assert [("api.example", 80, socket.AF_INET, socket.SOCK_STREAM)] == asked
