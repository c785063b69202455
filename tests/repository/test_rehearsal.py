"""The parts that the tests play: DID Optimizer keeps its documented contract, and rows live as VICIdial lets them."""

import time

import pytest
import requests

from rehearsal import dialer as lives
from rehearsal import did_optimizer as faults
from rehearsal.dialer import Call, Dialer, Final, Life
from rehearsal.did_optimizer import DidOptimizer, Fault
from rehearsal.mariadb import MariaDB

# DID Optimizer

CALL_RESULTS = "/api/v1/call-results"
CALL = {"uniqueid": "1729785600.1", "phoneNumber": "2125550100", "campaignId": "CAMP01", "disposition": "SALE"}


def post(api: DidOptimizer, **other: object) -> requests.Response:
    headers = {"x-api-key": api.api_key}
    return requests.post(
        f"{api.url}{CALL_RESULTS}", json={**CALL, **other}, headers=headers, timeout=0.5, allow_redirects=False
    )


def test_a_call_is_recorded_once_and_known_from_then_on(api: DidOptimizer) -> None:
    first, second = post(api), post(api, disposition="NI")
    assert (200, 200) == (first.status_code, second.status_code)
    assert {"recordId", "uniqueid", "disposition"} == first.json()["data"].keys()
    assert (True, None) == (first.json()["success"], first.json().get("duplicate"))
    assert (True, True) == (second.json()["success"], second.json()["duplicate"])
    assert {CALL["uniqueid"]: CALL} == api.records
    assert [(200, True, False), (200, False, True)] == [(p.http_status, p.stored, p.repeat) for p in api.posts]


@pytest.mark.parametrize(
    ("fault", "http_status", "words", "stores"),
    [
        (faults.ERROR_500, 500, '"success": false', False),
        (faults.unavailable_503(retry_after=7), 503, "'Retry-After': '7'", False),
        (faults.rate_limited_429(retry_after=900), 429, "'Retry-After': '900'", False),
        (faults.HTML_200, 200, "<!DOCTYPE html>", False),
        (faults.SUCCESS_FALSE, 200, '"success": false', False),
        (faults.REDIRECT, 301, "'Location': 'https://", False),
        (faults.GZIP, 200, "'Content-Encoding': 'gzip'", True),
        (faults.CUT_BEFORE, None, "", False),
        (faults.LOST_ANSWER, None, "", True),
        (faults.HALF_ANSWER, None, "", True),
        (faults.GARBAGE, None, "", False),
        (faults.slow(0.7), None, "", True),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_a_fault_stores_the_call_or_not_whatever_it_answers(
    fault: Fault, http_status: int | None, words: str, stores: bool, api: DidOptimizer
) -> None:
    """Which of the two, a client without an answer cannot know; its next POST is right, and counted as a repeat."""
    api.fault_for = lambda _: fault
    if http_status is None:
        with pytest.raises(requests.RequestException):
            post(api)
        time.sleep(fault.wait)
    else:
        response = post(api)
        assert http_status == response.status_code
        assert words in f"{response.headers} {response.text}"
    api.fault_for = None
    assert stores is post(api).json().get("duplicate", False)
    assert (int(stores), int(stores and http_status is None)) == (api.repeats, api.lost_answers)
    assert [(http_status, stores), (200, not stores)] == [(p.http_status, p.stored) for p in api.posts]


# The dialer

T = 1_729_785_600  # the second of dialling; 2024-10-24 16:00:00 UTC
DIALLED = Call(T, 7, lead_id=123, user="6666")


@pytest.mark.parametrize(
    ("life", "settled_after", "seen"),
    [
        (
            lives.agent_call(DIALLED, ring=8, connect=1, talk=91, hangs_up=5, wrap_up=60), 165,
            "8 QUEUE, 9 INCALL, 100 INCALL 100, 105 DISPO 105, 165 SALE 105",
        ),
        (lives.alternate_number(DIALLED, talk=10, wrap_up=20), 42, "19 INCALL 19, 22 ALTNUM 22, 42 NI 22"),
        (lives.campaign_status(DIALLED, talk=10, wrap_up=5), 27, "22 DISPO 22, 27 HUC017 22"),
        (lives.hot_key(DIALLED, talk=10, hangs_up=2), 21, "19 NI, 21 NI 21"),
        (
            lives.hot_key_after_hangup(DIALLED, talk=10, decides=4, hangs_up=1, rewritten=False), 24,
            "19 INCALL 19, 23 DNC 19, 24 DNC 24",
        ),
        (lives.browser_closed(DIALLED, talk=10), 919, "19 DISPO 19, 90000 DISPO 19"),
        (lives.no_answer(DIALLED, ring=26), 26, "26 NA 26"),
        (lives.busy_before_answer(DIALLED, late=240), 240, "240 AB 0"),
        (
            lives.answering_machine(DIALLED, ring=10, ahead=3, detected=2, message=30), 42,
            "10 AA 13, 12 AM 13, 41 AM 13, 42 AL 42",
        ),
        (lives.transfer(DIALLED, talk=10, wrap_up=30), 49, "19 XFER 19, 49 SALE 19"),
        (lives.remote_agent(DIALLED, talk=10), 19, "9 INCALL, 19 XFER 19"),
        (lives.never_ends(DIALLED), None, "8 LRERR, 90000 LRERR"),
    ],
    ids=lambda value: value.name if isinstance(value, Life) else "",
)  # fmt: skip
def test_the_row_shows_each_stage_of_its_life(
    life: Life, settled_after: float | None, seen: str, mariadb: MariaDB, database: str
) -> None:
    """A stage: seconds after dialling, the status then, and the end, likewise in seconds, as soon as there is one."""
    dialer = Dialer(lambda: mariadb.connect(database))
    dialer.begin(life)
    dialer.play(life.steps[0].at - 1)
    columns = f"SELECT uniqueid, status, end_epoch FROM `{database}`.vicidial_log"
    assert [] == list(mariadb.execute(columns))
    found = []
    for stage in seen.split(", "):
        after = int(stage.split()[0])
        dialer.play(T + after)
        ((uniqueid, status, end),) = mariadb.execute(columns)
        found.append(f"{after} {status}" + ("" if end is None else f" {end - T}"))
    dialer.close()
    assert seen == ", ".join(found)
    assert end == life.ends_at
    assert life.final == (None if settled_after is None else (uniqueid, status))
    assert settled_after == (life.settled_at and life.settled_at - T)


@pytest.mark.parametrize(
    ("delivered", "verdict"),
    [
        pytest.param("1.1 SALE, 2.2 NA", lives.Verdict(), id="right"),
        pytest.param("1.0 SALE, 2.2 NA, 2.01 NA", lives.Verdict(), id="other id, twin too"),
        pytest.param("1.1 SALE", lives.Verdict(lost=["2.2"]), id="lost"),
        pytest.param("1.1 DISPO, 2.2 NA", lives.Verdict(wrong=["1.1"]), id="wrong"),
        pytest.param("1.0 SALE, 1.1 SALE, 2.2 NA", lives.Verdict(twice=["1.1"]), id="both ids"),
        pytest.param("1.1 SALE, 2.2 NA, 2.2 NA", lives.Verdict(twice=["2.2"]), id="twice"),
        pytest.param("1.1 SALE, 2.2 NA, 2.01 NA, 2.01 NA", lives.Verdict(twice=["2.01"]), id="twin twice"),
        pytest.param("1.1 SALE, 2.2 NA, 3.3 LRERR", lives.Verdict(unknown=["3.3"]), id="never ended"),
    ],
)
def test_the_verdict_names_what_was_lost_wrong_twice_or_unknown(delivered: str, verdict: lives.Verdict) -> None:
    dialer = Dialer(lambda: pytest.fail("judging needs no database"))
    dialer.begin(Life("rewritten", (), Final("1.1", "SALE"), 1, 1, also=("1.0",)))
    dialer.begin(Life("twins", (), Final("2.2", "NA"), 1, 1, extra=("2.01",)))
    dialer.begin(Life("never ends", (), None, None, None))
    sent = [post.split() for post in delivered.split(", ")]
    assert verdict == dialer.judge((uniqueid, status) for uniqueid, status in sent)
