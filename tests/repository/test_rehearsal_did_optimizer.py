"""The rehearsal's DID Optimizer keeps the documented contract, and breaks it exactly where it is told to."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from rehearsal.did_optimizer import (
    CUT_BEFORE,
    ERROR_500,
    GARBAGE,
    GZIP,
    HALF_ANSWER,
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

KEY = "rehearsal-key"


@pytest.fixture
def api() -> Iterator[DidOptimizer]:
    with DidOptimizer(api_key=KEY) as server:
        yield server


@pytest.fixture
def client() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers["x-api-key"] = KEY
        yield session


def call(uniqueid: str = "1729785600.1", **other: object) -> dict[str, Any]:
    return {
        "uniqueid": uniqueid,
        "phoneNumber": "2125550100",
        "campaignId": "CAMP01",
        "disposition": "SALE",
        **other,
    }


def post(
    api: DidOptimizer, client: requests.Session, payload: object, timeout: float = 5, key: str | None = None
) -> requests.Response:
    url = f"{api.url}/api/v1/call-results"
    headers = {} if key is None else {"x-api-key": key}
    return client.post(url, json=payload, headers=headers, timeout=timeout, allow_redirects=False)


def test_a_call_is_recorded_once_and_known_from_then_on(api: DidOptimizer, client: requests.Session) -> None:
    first = post(api, client, call())
    second = post(api, client, call(disposition="NI"))

    assert first.status_code == second.status_code == 200
    assert first.json()["success"] is True
    assert first.json()["data"].keys() == {"recordId", "uniqueid", "disposition"}
    assert "duplicate" not in first.json()
    assert second.json()["duplicate"] is True
    assert api.records == {"1729785600.1": call()}
    assert api.repeats == 1
    assert [(p.http_status, p.stored, p.repeat) for p in api.posts] == [(200, True, False), (200, False, True)]
    assert api.posts[0].headers["X-API-Key"] == KEY
    assert api.posts[0].at == pytest.approx(time.time(), abs=5)


@pytest.mark.parametrize("key", [None, "another"], ids=["no key", "unknown key"])
def test_without_its_key_nothing_is_stored(api: DidOptimizer, client: requests.Session, key: str | None) -> None:
    del client.headers["x-api-key"]
    response = post(api, client, call(), key=key)

    assert response.status_code == 401
    assert response.json()["success"] is False
    assert api.records == {}
    assert [p.http_status for p in api.posts] == [401]


@pytest.mark.parametrize(
    "payload",
    [call(uniqueid=""), call(phoneNumber=""), call(campaignId=None), {"uniqueid": "1.1"}, [], "text"],
    ids=["uniqueid empty", "number empty", "campaign null", "fields missing", "a list", "a string"],
)
def test_a_call_without_what_is_required_is_a_bad_request(
    api: DidOptimizer, client: requests.Session, payload: object
) -> None:
    response = post(api, client, payload)

    assert response.status_code == 400
    assert response.json()["success"] is False
    assert api.records == {}


@pytest.mark.parametrize(
    ("method", "path", "key", "status", "kind"),
    [
        ("GET", "/api/health", KEY, 200, "application/json"),
        ("GET", "/api/health", "another", 401, "application/json"),
        ("GET", "/api/v1/health", KEY, 200, "application/json"),
        ("POST", "/api/v1/health", KEY, 200, "application/json"),
        ("GET", "/", KEY, 200, "text/html"),
        ("POST", "/api/v1/call-result", KEY, 200, "text/html"),
        ("GET", "/api/v1/call-results", KEY, 200, "text/html"),
    ],
)
def test_health_answers_to_the_key_and_every_other_path_is_the_web_app(
    api: DidOptimizer, client: requests.Session, method: str, path: str, key: str, status: int, kind: str
) -> None:
    response = client.request(method, api.url + path, headers={"x-api-key": key}, timeout=5)

    assert (response.status_code, response.headers["Content-Type"].split(";")[0]) == (status, kind)
    assert api.posts == []


@pytest.mark.parametrize(
    ("fault", "status", "body", "stores"),
    [
        (ERROR_500, 500, '"success": false', False),
        (unavailable_503(), 503, "<!DOCTYPE html>", False),
        (rate_limited_429(), 429, "Too many requests", False),
        (HTML_200, 200, "<!DOCTYPE html>", False),
        (SUCCESS_FALSE, 200, '"success": false', False),
        (REDIRECT, 301, "<!DOCTYPE html>", False),
        (answer(402, {"X-Reason": "unpaid"}, b"pay"), 402, "pay", False),
        (GZIP, 200, '"success": true', True),
        (slow(0.01), 200, '"success": true', True),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_a_fault_answers_in_its_own_way(
    api: DidOptimizer, client: requests.Session, fault: Fault, status: int, body: str, stores: bool
) -> None:
    api.fault_for = lambda _: fault
    response = post(api, client, call())

    assert response.status_code == status
    assert body in response.text
    assert bool(api.records) is stores
    assert [(p.http_status, p.stored) for p in api.posts] == [(status, stores)]
    assert api.lost_answers == 0


def test_faults_carry_their_headers(api: DidOptimizer, client: requests.Session) -> None:
    found = {}
    for fault in (unavailable_503(retry_after=7), rate_limited_429(retry_after=900), REDIRECT, GZIP):
        api.fault_for = lambda _, fault=fault: fault
        found[fault.name] = post(api, client, call()).headers

    assert found["unavailable_503"]["Retry-After"] == "7"
    assert found["rate_limited_429"]["Retry-After"] == "900"
    assert found["rate_limited_429"]["Content-Type"].startswith("text/plain")
    assert found["redirect"]["Location"].startswith("https://")
    assert found["gzip"]["Content-Encoding"] == "gzip"


@pytest.mark.parametrize(
    ("fault", "stores"),
    [(CUT_BEFORE, False), (LOST_ANSWER, True), (HALF_ANSWER, True), (GARBAGE, False), (slow(1), True)],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_an_answer_that_does_not_arrive_leaves_the_call_stored_or_not(
    api: DidOptimizer, client: requests.Session, fault: Fault, stores: bool
) -> None:
    """Whether it was stored is what the client cannot know; the next POST is then right, and counted as a repeat."""
    api.fault_for = lambda _: fault
    with pytest.raises(requests.RequestException):
        post(api, client, call(), timeout=0.2)
    if fault.wait:
        time.sleep(fault.wait)
    api.fault_for = None
    again = post(api, client, call()).json()

    assert again.get("duplicate", False) is stores
    assert api.lost_answers == api.repeats == int(stores)
    assert [(p.http_status, p.stored) for p in api.posts] == [(None, stores), (200, not stores)]


def test_a_lost_answer_cannot_store_what_the_contract_refuses(api: DidOptimizer, client: requests.Session) -> None:
    api.fault_for = lambda _: LOST_ANSWER
    with pytest.raises(requests.ConnectionError):
        post(api, client, call(campaignId=""))

    assert (api.records, api.lost_answers) == ({}, 0)


def test_the_rule_sees_the_payload_and_decides_for_each_call(api: DidOptimizer, client: requests.Session) -> None:
    api.fault_for = lambda payload: ERROR_500 if payload["leadId"] == "13" else None

    assert [post(api, client, call(f"1.{n}", leadId=str(n))).status_code for n in (12, 13, 14)] == [200, 500, 200]


def test_faults_at_random_come_at_their_rate_and_the_same_each_time(client: requests.Session) -> None:
    def statuses() -> list[int]:
        with DidOptimizer(fail_rate=0.3, seed=5) as api:
            api.random_faults = (ERROR_500,)
            return [post(api, client, call(f"1.{n}")).status_code for n in range(200)]

    first = statuses()

    assert first == statuses()
    assert 30 < first.count(500) < 90
    assert set(first) == {200, 500}


def test_latency_and_calls_in_flight_are_seen(api: DidOptimizer) -> None:
    api.latency = 0.2

    def send(number: int) -> None:
        with requests.Session() as client:
            post(api, client, call(f"1.{number}"), key=KEY)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert time.monotonic() - begun >= 0.2
    assert api.max_in_flight == 4
    assert len(api.records) == 4


def test_kept_alive_connections_are_counted_once(api: DidOptimizer, client: requests.Session) -> None:
    for number in range(3):
        post(api, client, call(f"1.{number}"))

    assert api.connections == 1


def test_an_idle_connection_is_closed_without_notice(api: DidOptimizer, client: requests.Session) -> None:
    api.close_idle_after = 0.05
    for number in range(3):
        response = post(api, client, call(f"1.{number}"))
        assert "Connection" not in response.headers
        time.sleep(0.15)

    assert api.connections == 3


def test_down_refuses_connections_and_up_takes_them_on_the_same_port(
    api: DidOptimizer, client: requests.Session
) -> None:
    post(api, client, call("1.1"))
    url = api.url
    api.down()
    with pytest.raises(requests.ConnectionError, match="refused"):
        post(api, client, call("1.2"))
    api.up()

    assert post(api, client, call("1.2")).status_code == 200
    assert api.url == url
    assert api.records.keys() == {"1.1", "1.2"}


def test_an_answer_under_way_when_the_server_goes_down_is_lost(api: DidOptimizer, client: requests.Session) -> None:
    api.fault_for = lambda _: slow(30)
    threading.Timer(0.2, api.down).start()
    with pytest.raises(requests.ConnectionError):
        post(api, client, call(), timeout=5)
    api.down()

    assert api.lost_answers == 1
    assert api.records.keys() == {"1729785600.1"}


def test_a_client_killed_before_it_has_said_all_stores_nothing_and_makes_no_noise(
    api: DidOptimizer, client: requests.Session, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(("127.0.0.1", api.port)) as killed:
        killed.sendall(b"POST /api/v1/call-results HTTP/1.1\r\nHost: api\r\nContent-Length: 99\r\n\r\n{")
        while not api.max_in_flight:
            time.sleep(0.01)

    assert post(api, client, call()).status_code == 200
    assert len(api.posts) == 1
    assert caplog.text == ""


def test_in_a_process_of_its_own_it_records_each_post_before_it_answers(
    tmp_path: Path, client: requests.Session
) -> None:
    record = tmp_path / "posts.jsonl"
    command = [
        sys.executable,
        "-m",
        "rehearsal.did_optimizer",
        "--port",
        "0",
        "--api-key",
        KEY,
        "--record",
        str(record),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        client.post(f"{url}/api/v1/call-results", json=call(), timeout=5)
        client.post(f"{url}/api/v1/call-results", json=call(campaignId=""), timeout=5)
        lines = [json.loads(line) for line in record.read_text().splitlines()]
        process.send_signal(signal.SIGTERM)

    assert process.returncode == 0
    assert [(line["uniqueid"], line["status"], line["stored"]) for line in lines] == [
        ("1729785600.1", 200, True),
        ("1729785600.1", 400, False),
    ]
    assert lines[0]["payload"] == call()
    assert lines[0]["at"] == pytest.approx(time.time(), abs=5)
