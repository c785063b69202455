"""A ping tells what happened, takes five seconds at most, and keeps its URL to itself."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from tests.conftest import Pings
from vicisync.sync import ping as module
from vicisync.sync.ping import PingFailed, ping


@pytest.mark.parametrize(
    ("suffix", "path"),
    [("start", "/s3cret-id/start"), ("", "/s3cret-id"), ("4", "/s3cret-id/4")],
    ids=["start", "success", "failure"],
)
def test_the_service_is_told_by_the_path(suffix: str, path: str, pings: Pings) -> None:
    ping(pings.url, suffix)
    assert [path] == pings.paths


def test_a_query_stays_behind_the_path(pings: Pings) -> None:
    ping(f"{pings.url}/?create=1", "start")
    assert ["/s3cret-id/start?create=1"] == pings.paths


@pytest.mark.parametrize("answer", [302, 404, 500])
def test_a_service_that_does_not_take_it_fails_the_ping(answer: int, pings: Pings) -> None:
    pings.answer = answer
    with pytest.raises(PingFailed, match=f"^answered {answer}$"):
        ping(pings.url)


def test_what_cannot_be_reached_is_said_without_the_url() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(PingFailed) as failure:
        ping(f"http://127.0.0.1:{port}/s3cret-id")
    assert "cannot be reached" == str(failure.value)
    assert failure.value.__context__ is None


def test_a_service_that_keeps_silent_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 5.0 == module.TIMEOUT
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        began = time.monotonic()
        with pytest.raises(PingFailed, match=r"^did not answer within 5 s$"):
            ping(f"http://127.0.0.1:{server.getsockname()[1]}/s3cret-id")
    assert time.monotonic() - began < 4


def test_a_service_that_answers_a_byte_at_a_time_is_left_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.5)
    given_up = threading.Event()

    def trickle(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            while not given_up.wait(0.1):
                connection.sendall(b"H")

    with socket.create_server(("127.0.0.1", 0)) as server:
        trickling = threading.Thread(target=trickle, args=(server,))
        trickling.start()
        try:
            with pytest.raises(PingFailed, match=r"^did not answer within 5 s$"):
                ping(f"http://127.0.0.1:{server.getsockname()[1]}/s3cret-id")
        finally:
            given_up.set()
            trickling.join()
