"""A server that plays DID Optimizer as its newest versions behave, and on request everything that can go wrong between.

In a thread of the test::

    with DidOptimizer() as api:
        api.fault_for = lambda payload: LOST_ANSWER if payload["uniqueid"].endswith(".7") else None
        ...
        assert api.records["1729785600.7"]["disposition"] == "SALE"

In a process of its own, which prints its address as first line and ends on SIGTERM::

    python -m rehearsal.did_optimizer --port 0 --api-key KEY --fail-rate 0.09 --record posts.jsonl

Each POST of a call result becomes a line of the record file before it is answered: ``uniqueid``, ``payload``,
``status`` (null: the connection was cut instead), ``stored``, ``repeat`` and ``at`` (epoch seconds).
"""

import argparse
import asyncio
import gzip
import json
import random
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import uvloop
from aiohttp import web

from rehearsal.ports import hold_port

REQUIRED = ("uniqueid", "phoneNumber", "campaignId")
HTML = b"<!DOCTYPE html><html><head><title>DID Optimizer</title></head><body><div id=root></div></body></html>\n"


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, in place of the one that the contract asks for."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one POST of a call result.

    The call is stored, if the contract allows, when ``stores``; the answer is ``answer`` or else the contract's, after
    ``wait`` seconds; only its ``part`` (0 to 1) is sent before the connection is cut, or all of it when None.
    """

    name: str
    stores: bool = False
    answer: Answer | None = None
    wait: float = 0.0
    part: float | None = None
    gzips: bool = False
    raw: bytes | None = None
    """Bytes to send instead of HTTP, before the connection is cut."""
    before: bytes = b""
    """What is sent in front of the answer."""
    after: bytes = b""
    """What is sent behind the answer, on the same connection."""
    trickles: bool = False
    """Whether only the answer's head comes, ten bytes a second, and then the connection is cut."""


def answer(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Fault:
    """Any answer at all; nothing is stored."""
    return Fault(f"answer_{status}", answer=Answer(status, headers or {}, body))


def unavailable_503(retry_after: int = 1) -> Fault:
    """The proxy in front has lost its server; ``retry_after`` in seconds."""
    return Fault("unavailable_503", answer=Answer(503, {"Retry-After": str(retry_after), **_HTML_TYPE}, HTML))


def rate_limited_429(retry_after: int = 1) -> Fault:
    """The limit of requests per address; plain text, as the real server's. ``retry_after`` in seconds."""
    body = b"Too many requests from this IP, please try again later."
    return Fault("rate_limited_429", answer=Answer(429, {"Retry-After": str(retry_after), **_TEXT_TYPE}, body))


def slow(seconds: float) -> Fault:
    """The call is stored at once, the answer comes after ``seconds``; who gave up before has lost it."""
    return Fault("slow", stores=True, wait=seconds)


_HTML_TYPE = {"Content-Type": "text/html; charset=utf-8"}
_TEXT_TYPE = {"Content-Type": "text/plain; charset=utf-8"}
_JSON_TYPE = {"Content-Type": "application/json; charset=utf-8"}

ERROR_500 = Fault(
    "error_500", answer=Answer(500, _JSON_TYPE, b'{"success": false, "error": "Failed to record call result"}')
)
CUT_BEFORE = Fault("cut_before", part=0.0)
"""The connection ends before the call is stored, without an answer."""
LOST_ANSWER = Fault("lost_answer", stores=True, part=0.0)
"""The call is stored, then the connection ends without an answer."""
HALF_ANSWER = Fault("half_answer", stores=True, part=0.5)
"""The call is stored, then the connection ends in the middle of the answer's body."""
HTML_200 = Fault("html_200", answer=Answer(200, _HTML_TYPE, HTML))
"""The web app answers, as it does on every unknown path."""
SUCCESS_FALSE = Fault(
    "success_false", answer=Answer(200, _JSON_TYPE, b'{"success": false, "error": "Call result not accepted"}')
)
NOT_ACCEPTED = Fault(
    "not_accepted", answer=Answer(400, _JSON_TYPE, b'{"success": false, "error": "Call result not accepted"}')
)
"""The API's own verdict: this call can never be stored."""
REDIRECT = Fault(
    "redirect", answer=Answer(301, {"Location": "https://127.0.0.1/api/v1/call-results", **_HTML_TYPE}, HTML)
)
GARBAGE = Fault("garbage", raw=b"\x16\x03\x01\x00\x2aSSH-2.0-OpenSSH_9.2\r\n\x00\xff\xfe\r\n\r\n")
"""Something that does not speak HTTP listens on the port."""
GZIP = Fault("gzip", stores=True, gzips=True)
"""Nothing wrong: the call is stored and the answer compressed."""

EARLY_HINTS = Fault(
    "early_hints", stores=True, before=b"HTTP/1.1 103 Early Hints\r\nLink: </app.css>; rel=preload\r\n\r\n"
)
"""Nothing wrong: the call is stored, and an informational answer comes before the real one."""
ANSWER_TOO_MANY = Fault(
    "answer_too_many", stores=True, after=b'HTTP/1.1 400 Bad Request\r\nContent-Length: 18\r\n\r\n{"success": false}'
)
"""The call is stored; behind the answer comes another, as if it were that of the next call."""
TRICKLE = Fault("trickle", stores=True, trickles=True)
"""The call is stored, and its answer takes longer than anybody waits."""
NGINX_400 = Fault(
    "nginx_400",
    answer=Answer(
        400,
        {**_HTML_TYPE, "Server": "nginx/1.22.1"},
        b"<html><head><title>400 No required SSL certificate was sent</title></head></html>",
    ),
)
"""Not the API's verdict, but that of what is in front of it."""

FaultRule = Callable[[dict[str, Any]], Fault | None]


@dataclass(frozen=True)
class Post:
    """One POST of a call result, as it arrived."""

    payload: dict[str, Any]
    """The JSON object; empty where the body was none."""
    headers: Mapping[str, str]
    """Case does not matter in their names."""
    at: float
    """Epoch seconds."""
    http_status: int | None
    """What was answered; None while it is not yet, and where the connection was cut instead."""
    stored: bool
    """Whether this POST put the call on record."""
    repeat: bool
    """Whether the call was on record already, so that this POST counted it twice."""


@dataclass
class _Tally:
    """What the server has seen; written by its thread, read under the lock."""

    posts: list[Post] = field(default_factory=list)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    repeats: int = 0
    lost_answers: int = 0
    connections: int = 0
    in_flight: int = 0
    max_in_flight: int = 0


class DidOptimizer:
    """The server, in a thread of its own from ``with`` to the end of the block; ``down`` and ``up`` in between at will.

    These may be set at any time:

    - ``latency``: seconds from the arrival of each request to its answer
    - ``fault_for``: asked with each payload for the fault to commit, or None
    - ``fail_rate``: share (0 to 1) of the other POSTs that suffer one of ``random_faults``, drawn from ``seed``
    - ``knows_repeats``: whether a call that is on record is answered ``duplicate: true``, as the setup guide has it; no
      published version does, and counts it again
    - ``lacks_index``: whether the index is missing without which a fresh server answers 500 to every call
    - ``close_idle_after``: seconds after which an idle connection is closed without notice; None: 75 s, as usual
    """

    def __init__(
        self,
        *,
        port: int = 0,
        api_key: str = "rehearsal-key",
        latency: float = 0.0,
        fail_rate: float = 0.0,
        seed: int = 1,
        record: Path | None = None,
        ssl_context: ssl.SSLContext | None = None,
        new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> None:
        self.api_key = api_key
        self.latency = latency
        self.fault_for: FaultRule | None = None
        self.fail_rate = fail_rate
        self.random_faults: Sequence[Fault] = (ERROR_500, unavailable_503(), CUT_BEFORE, LOST_ANSWER)
        self.knows_repeats = False
        self.lacks_index = False
        self.close_idle_after: float | None = None
        self.port = port
        self._random = random.Random(seed)  # noqa: S311 - faults that can be repeated, no secrets
        self._record_path = record
        self._record: IO[str] | None = None
        self._ssl_context = ssl_context
        self._lock = threading.Lock()
        self._switch = threading.Lock()
        self._tally = _Tally()
        self._port_holder: socket.socket | None = None
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="DID Optimizer", daemon=True)
        self._web: web.Server | None = None
        self._listener: asyncio.Server | None = None
        self._after: dict[int, bytes] = {}  # by the request's identity
        self._idle: dict[asyncio.Transport, asyncio.TimerHandle] = {}

    @property
    def url(self) -> str:
        """The base address, as ``api_base_url`` wants it; before ``with`` its port may not be known."""
        return f"{'https' if self._ssl_context else 'http'}://127.0.0.1:{self.port}"

    @property
    def posts(self) -> list[Post]:
        """Every POST of a call result since the start, in order of arrival."""
        with self._lock:
            return list(self._tally.posts)

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """The payload of each call on record by its uniqueid, as it was first stored."""
        with self._lock:
            return dict(self._tally.records)

    @property
    def repeats(self) -> int:
        """How many POSTs carried a call that was on record already."""
        return self._tally.repeats

    @property
    def lost_answers(self) -> int:
        """How many POSTs put a call on record, or repeated one, and were not answered, so that a repeat is right."""
        return self._tally.lost_answers

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        return self._tally.connections

    @property
    def max_in_flight(self) -> int:
        """How many requests were at work at the same time at most."""
        return self._tally.max_in_flight

    def forget(self) -> None:
        """Begin anew, with nothing on record."""
        with self._lock:
            self._tally = _Tally()

    def __enter__(self) -> "DidOptimizer":
        self._port_holder = hold_port(self.port)
        self.port = self._port_holder.getsockname()[1]
        if self._record_path is not None:
            self._record = self._record_path.open("a", encoding="utf-8", buffering=1)
        self._thread.start()
        try:
            self.up()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.down()
        self._end()

    def up(self) -> None:
        """Listen, on the same port as before."""
        with self._switch:
            asyncio.run_coroutine_threadsafe(self._up(), self._loop).result()

    def down(self) -> None:
        """Close the port and every connection: who calls now is refused."""
        with self._switch:
            asyncio.run_coroutine_threadsafe(self._down(), self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._port_holder is not None:
            self._port_holder.close()
        if self._record is not None:
            self._record.close()

    async def _up(self) -> None:
        if self._listener is not None:
            return
        server = web.Server(self._handle, access_log=None)

        def accept() -> asyncio.Protocol:
            self._tally.connections += 1
            return server()

        self._listener = await self._loop.create_server(
            accept, "127.0.0.1", self.port, ssl=self._ssl_context, family=socket.AF_INET, backlog=1024
        )
        self._web = server

    async def _down(self) -> None:
        if self._listener is None or self._web is None:
            return
        self._listener.close()
        await self._web.shutdown(0.001)  # 0 would wait for the clients to close
        # Nothing else runs on this loop: what is left are answers under way, and they note that they are lost.
        handlers = asyncio.all_tasks() - {asyncio.current_task()}
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        self._listener = self._web = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        tally = self._tally
        tally.in_flight += 1
        tally.max_in_flight = max(tally.max_in_flight, tally.in_flight)
        transport = request.transport
        idle = self._idle.pop(transport, None) if transport is not None else None
        if idle is not None:
            idle.cancel()
        try:
            if request.method == "POST" and request.path == "/api/v1/call-results":
                response = await self._call_result(request)
            else:
                response = await self._anything_else(request)
            await response.prepare(request)
            await response.write_eof()
            if (after := self._after.pop(id(request), b"")) and request.transport is not None:
                request.transport.write(after)
        finally:
            tally.in_flight -= 1
        if self.close_idle_after is not None and transport is not None and not transport.is_closing():
            self._idle[transport] = self._loop.call_later(self.close_idle_after, self._close_idle, transport)
        return response

    def _close_idle(self, transport: asyncio.Transport) -> None:
        del self._idle[transport]
        transport.close()

    async def _anything_else(self, request: web.BaseRequest) -> web.Response:
        await self._until(self._loop.time() + self.latency)
        if not request.path.startswith("/api/"):
            return web.Response(body=HTML, headers=_HTML_TYPE)
        if (request.method, request.path) != ("GET", "/api/health"):
            return _respond(_json(404, {"success": False, "error": "API endpoint not found"}))
        refusal = self._refuse_key(request)
        return _respond(refusal or _json(200, {"success": True, "status": "healthy"}))

    async def _call_result(self, request: web.BaseRequest) -> web.StreamResponse:
        arrived = self._loop.time()
        try:
            body = await request.read()
        except ConnectionResetError:  # the client was killed before it had said all
            return _Nothing()
        payload = _json_object(body)
        fault = self._choose_fault(payload)
        now = time.time()
        if fault is None or fault.stores:
            honest, stored, repeat = self._take(request, payload)
        else:
            honest, stored, repeat = None, False, False
        with self._lock:
            number = len(self._tally.posts)
            self._tally.posts.append(Post(payload or {}, request.headers, now, None, stored, repeat))
        try:
            await self._until(arrived + self.latency + (fault.wait if fault else 0.0))
        except asyncio.CancelledError:  # the server goes down with the answer unsent
            self._settle(number, None)
            raise
        sent = (fault.answer if fault else None) or honest
        # Who did not wait for the answer has lost it as surely as if the connection had been cut.
        cuts = fault is not None and (fault.part is not None or fault.raw is not None or fault.trickles)
        whole = not cuts and _is_connected(request)
        self._settle(number, sent.status if sent is not None and whole else None)
        if fault is not None and fault.trickles:
            await self._trickle(request)
        if sent is None or not whole:
            return self._cut(request, fault, sent)
        if fault is not None and request.transport is not None:
            request.transport.write(fault.before)
            self._after[id(request)] = fault.after
            self._tally.lost_answers += bool(fault.after)  # the next call's may be taken for nothing
        return _respond(_gzipped(sent) if fault is not None and fault.gzips else sent)

    async def _until(self, due: float) -> None:
        wait = due - self._loop.time()
        if wait > 0:
            await asyncio.sleep(wait)

    def _choose_fault(self, payload: dict[str, Any] | None) -> Fault | None:
        fault = self.fault_for(payload or {}) if self.fault_for is not None else None
        if fault is None and self.fail_rate and self._random.random() < self.fail_rate:
            fault = self._random.choice(self.random_faults)
        return fault

    def _take(self, request: web.BaseRequest, payload: dict[str, Any] | None) -> tuple[Answer, bool, bool]:
        """Do as the contract says: return the answer, whether the call was stored, and whether it was known."""
        refusal = self._refuse_key(request)
        if refusal is not None:
            return refusal, False, False
        missing = [name for name in REQUIRED if not (payload or {}).get(name)]
        if payload is None or missing:
            error = "Missing required fields: " + ", ".join(missing)
            return _json(400, {"success": False, "error": error}), False, False
        if self.lacks_index or (payload.get("duration") or 0) < 0:
            error = "unable to find index for $geoNear query" if self.lacks_index else "duration is below the minimum"
            return _json(500, {"success": False, "error": error}), False, False
        uniqueid = str(payload["uniqueid"])
        with self._lock:
            known = uniqueid in self._tally.records
            if known:
                self._tally.repeats += 1
            else:
                self._tally.records[uniqueid] = payload
        found: dict[str, Any] = {
            "success": True,
            "message": "Call result recorded",
            "data": {
                "recordId": f"{len(self._tally.posts):024x}",
                "disposition": payload.get("disposition"),
            },
        }
        if known and self.knows_repeats:
            found["duplicate"] = True
        return _json(200, found), not known, known

    def _refuse_key(self, request: web.BaseRequest) -> Answer | None:
        key = request.headers.get("x-api-key")
        if key == self.api_key:
            return None
        return _json(401, {"success": False, "error": "Invalid API key" if key else "API key required"})

    def _settle(self, number: int, status: int | None) -> None:
        """Note what POST ``number`` is about to be answered, so that whoever has the answer finds it noted."""
        with self._lock:
            post = replace(self._tally.posts[number], http_status=status)
            self._tally.posts[number] = post
            if status is None and (post.stored or post.repeat):
                self._tally.lost_answers += 1
        if self._record is not None:
            line = {
                "uniqueid": post.payload.get("uniqueid"),
                "payload": post.payload,
                "status": status,
                "stored": post.stored,
                "repeat": post.repeat,
                "at": post.at,
            }
            self._record.write(json.dumps(line) + "\n")

    async def _trickle(self, request: web.BaseRequest) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100:
            if request.transport is None or request.transport.is_closing():
                return
            request.transport.write(bytes([byte]))
            await asyncio.sleep(0.1)

    def _cut(self, request: web.BaseRequest, fault: Fault | None, unsent: Answer | None) -> web.StreamResponse:
        """Send what the fault lets through, and end the connection."""
        transport = request.transport
        if transport is not None and not transport.is_closing():
            if fault is not None and fault.raw is not None:
                transport.write(fault.raw)
            elif fault is not None and fault.part and unsent is not None:
                head = "".join(f"{name}: {value}\r\n" for name, value in unsent.headers.items())
                head = f"HTTP/1.1 {unsent.status} OK\r\n{head}Content-Length: {len(unsent.body)}\r\n\r\n"
                transport.write(head.encode("ascii") + unsent.body[: int(len(unsent.body) * fault.part)])
            transport.close()
        return _Nothing()


class _Nothing(web.Response):
    """For a connection that is closed already: aiohttp wants a response, and this one writes nothing."""

    async def prepare(self, request: web.BaseRequest) -> None:  # noqa: ARG002
        return None

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002
        return None


def _is_connected(request: web.BaseRequest) -> bool:
    return request.transport is not None and not request.transport.is_closing()


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _json(status: int, value: dict[str, Any]) -> Answer:
    return Answer(status, _JSON_TYPE, json.dumps(value).encode())


def _gzipped(plain: Answer) -> Answer:
    return Answer(plain.status, {**plain.headers, "Content-Encoding": "gzip"}, gzip.compress(plain.body))


def _respond(sent: Answer) -> web.Response:
    return web.Response(status=sent.status, headers=sent.headers, body=sent.body)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.did_optimizer", description="Plays DID Optimizer.")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--api-key", required=True)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that each answer takes")
    parser.add_argument("--fail-rate", type=float, default=0.0, help="share (0 to 1) of POSTs that fail at random")
    parser.add_argument("--seed", type=int, default=1, help="which POSTs those are")
    parser.add_argument("--record", type=Path, help="file that gets a line of JSON for each POST")
    options = parser.parse_args(arguments)
    # Blocked before the server's thread begins, which inherits it: the signals then wait for sigwait.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    with DidOptimizer(
        port=options.port,
        api_key=options.api_key,
        latency=options.latency,
        fail_rate=options.fail_rate,
        seed=options.seed,
        record=options.record,
        new_loop=uvloop.new_event_loop,  # costs a client less of its answers' time, which benchmarks want
    ) as api:
        sys.stdout.write(f"{api.url}\n")
        sys.stdout.flush()
        signal.sigwait(ends)


if __name__ == "__main__":
    main()
