"""What judges in the tests and in chaos: the stand-in counts what it got twice, and the verdict convicts."""

import pytest
import requests

from rehearsal import did_optimizer as faults
from rehearsal.dialer import Dialer, Verdict
from rehearsal.did_optimizer import DidOptimizer
from rehearsal.lives import Final, Life

CALL = {"uniqueid": "1729785600.1", "phoneNumber": "2125550100", "campaignId": "CAMP01", "disposition": "SALE"}


def test_a_call_is_recorded_once_and_known_from_then_on_and_a_lost_answer_is_counted(api: DidOptimizer) -> None:
    def post(**other: str) -> dict[str, object]:
        url, headers = f"{api.url}/api/v1/call-results", {"x-api-key": api.api_key}
        return dict(requests.post(url, json={**CALL, **other}, headers=headers, timeout=5).json())

    api.fault_for = lambda _: faults.LOST_ANSWER
    with pytest.raises(requests.RequestException):
        post(uniqueid="1.1")
    api.fault_for = None
    answers = [post(), post(disposition="NI")]
    api.knows_repeats = True  # as no published version does
    answers.append(post(uniqueid="1.1"))
    assert [(True, None), (True, None), (True, True)] == [(said["success"], said.get("duplicate")) for said in answers]
    assert {CALL["uniqueid"]: CALL, "1.1": {**CALL, "uniqueid": "1.1"}} == api.records
    assert [(True, False), (True, False), (False, True), (False, True)] == [(p.stored, p.repeat) for p in api.posts]
    assert (2, 1) == (api.repeats, api.lost_answers)


@pytest.mark.parametrize(
    ("delivered", "verdict"),
    [
        pytest.param("1.1 SALE, 2.2 NA", Verdict(), id="right"),
        pytest.param("1.0 SALE, 2.2 NA, 2.01 NA", Verdict(), id="other id, twin too"),
        pytest.param("1.1 SALE", Verdict(lost=["2.2"]), id="lost"),
        pytest.param("1.1 DISPO, 2.2 NA", Verdict(wrong=["1.1"]), id="wrong"),
        pytest.param("1.0 SALE, 1.1 SALE, 2.2 NA", Verdict(twice=["1.1"]), id="both ids"),
        pytest.param("1.1 SALE, 2.2 NA, 2.2 NA", Verdict(twice=["2.2"]), id="twice"),
        pytest.param("1.1 SALE, 2.2 NA, 2.01 NA, 2.01 NA", Verdict(twice=["2.01"]), id="twin twice"),
        pytest.param("1.1 SALE, 2.2 NA, 3.3 LRERR", Verdict(unknown=["3.3"]), id="never ended"),
    ],
)
def test_the_verdict_names_what_was_lost_wrong_twice_or_unknown(delivered: str, verdict: Verdict) -> None:
    dialer = Dialer(lambda: pytest.fail("judging needs no database"))
    dialer.begin(Life("rewritten", (), Final("1.1", "SALE"), 1, also=("1.0",)))
    dialer.begin(Life("twins", (), Final("2.2", "NA"), 1, extra=("2.01",)))
    dialer.begin(Life("never ends", (), None, 1))
    sent = [post.split() for post in delivered.split(", ")]
    assert verdict == dialer.judge((uniqueid, status) for uniqueid, status in sent)
