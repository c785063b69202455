"""What plays and judges in the tests and in chaos: the dialer keeps time, the stand-in counts, the verdict convicts."""

import pytest
import requests

from rehearsal import did_optimizer as faults
from rehearsal.dialer import Dialer, Verdict
from rehearsal.did_optimizer import DidOptimizer
from rehearsal.lives import Final, Life, agent_call, browser_closed, new_call, stretched
from rehearsal.mariadb import MariaDB
from tests.call_rows import NOON

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


def test_the_live_tables_keep_the_dialer_s_time_and_let_go_before_the_row_is_written(
    mariadb: MariaDB, database: str
) -> None:
    """An agent without a call has a heartbeat and no lead, one whose browser is closed a lead and no heartbeat."""

    def agents(now: int) -> list[tuple[int, int]]:
        """The lead of each, from 1 on, and how long ago his screen was heard of."""
        dialer.play(now)
        sql = "SELECT IF(lead_id, lead_id - %s, 0), %s - UNIX_TIMESTAMP(last_update_time) FROM vicidial_live_agents"
        return ask(f"{sql} ORDER BY live_agent_id > 2, lead_id", first - 1, now)

    def ask(sql: str, *values: object) -> list[tuple[int, int]]:
        with mariadb.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute(sql, values)
            return [(int(one), int(other)) for one, other in cursor.fetchall()]

    dialer = Dialer(lambda: mariadb.connect(database))
    closed, decides = new_call(NOON), new_call(NOON)
    first = closed.lead_id
    dialer.begin(browser_closed(closed, talk=30))  # until NOON + 39
    dialer.begin(stretched(agent_call(decides, talk=30, wrap_up=58), 8))  # until NOON + 100
    up = "SELECT COUNT(*), COALESCE(MAX(call_time <= FROM_UNIXTIME(%s)), 0) FROM vicidial_auto_calls"
    final = "SELECT COUNT(*), 0 FROM vicidial_log WHERE status = 'SALE'"
    assert [(0, 0), (0, 0), (1, 0), (2, 0)] == agents(NOON + 30)
    assert [(2, 1)] == ask(up, NOON)
    assert [(0, 0), (0, 0), (1, 51), (2, 0)] == agents(NOON + 90)
    assert [(0, 0)] == ask(up, NOON)
    assert [(0, 0), (0, 0), (0, 0), (1, 65)] == agents(NOON + 104)
    assert [(0, 0)] == ask(final)
    dialer.play(NOON + 108)
    assert [(1, 0)] == ask(final)
    dialer.close()
