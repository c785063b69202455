"""Who is still on the line, asked of real tables: by heartbeat, by age, and only while the tables can be believed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.mariadb import MariaDB
from rehearsal.site import PASSWORD
from tests.call_rows import insert, row, settings_of
from vicisync.vicidial.call_log import CallLog
from vicisync.vicidial.live_calls import live_leads, why_not_believed

TABLES = ("vicidial_log", "vicidial_live_agents", "vicidial_auto_calls")
AGENT = "INSERT INTO {}.vicidial_live_agents (user, server_ip, lead_id, last_update_time) VALUES (%s, '', %s, {})"
CALL = "INSERT INTO {}.vicidial_auto_calls (server_ip, status, lead_id, call_time) VALUES ('', 'LIVE', %s, {})"


@pytest.fixture
def log(tmp_path: Path, mariadb: MariaDB, database: str) -> Iterator[CallLog]:
    mariadb.create_reader("cron", PASSWORD, database, TABLES)
    with CallLog(settings_of(tmp_path, mariadb, database)) as opened:
        yield opened


def agent(mariadb: MariaDB, database: str, user: str, lead: int, ago: str) -> None:
    mariadb.execute(AGENT.format(database, f"NOW() - INTERVAL {ago}"), (user, lead))


def call(mariadb: MariaDB, database: str, lead: int, ago: str) -> None:
    mariadb.execute(CALL.format(database, f"NOW() - INTERVAL {ago}"), (lead,))


def test_a_lead_is_live_with_an_agent_who_has_a_heartbeat_or_a_call_of_the_last_four_hours(
    mariadb: MariaDB, database: str, log: CallLog
) -> None:
    agent(mariadb, database, "agent1", 1, "4 MINUTE")
    agent(mariadb, database, "agent2", 2, "6 MINUTE")  # his browser is closed
    call(mariadb, database, 3, "239 MINUTE")
    call(mariadb, database, 4, "241 MINUTE")  # of a dialer that is dead
    call(mariadb, database, 5, "1 MINUTE")
    agent(mariadb, database, "agent3", 0, "1 MINUTE")  # he has none
    assert {1: "agent1", 3: ""} == live_leads(log, {0, 1, 2, 3, 4, 6})


@pytest.mark.parametrize(
    ("why", "agents", "calls", "status"),
    [
        pytest.param("", [], [], "NA", id="nobody works, and nothing is up"),
        pytest.param("both are empty", [], [], "INCALL", id="a restarted server: calls are up"),
        pytest.param("", [], ["1 MINUTE"], "INCALL", id="one of the two has something"),
        pytest.param("no agent", ["6 MINUTE", "9 MINUTE"], ["1 MINUTE"], "NA", id="nobody has a heartbeat"),
        pytest.param("", ["6 MINUTE", "1 MINUTE"], [], "QUEUE", id="one has"),
    ],
)
def test_the_tables_are_believed_while_they_live(
    why: str, agents: list[str], calls: list[str], status: str, mariadb: MariaDB, database: str, log: CallLog
) -> None:
    now = log.now()
    insert(mariadb, database, row(f"{now - 60}.1", now - 60, status=status, end_epoch=None))
    insert(mariadb, database, row(f"{now - 960}.1", now - 960, status="QUEUE", end_epoch=None))
    for number, ago in enumerate(agents):
        agent(mariadb, database, f"agent{number}", 0, ago)
    for ago in calls:
        call(mariadb, database, 7, ago)
    assert why_not_believed(log).startswith(why)
    assert bool(why) is bool(why_not_believed(log))
    assert (live_leads(log, {7}) is None) is bool(why)


@pytest.mark.parametrize("granted", [TABLES[:1], TABLES[:2], (TABLES[0], TABLES[2])])
def test_without_the_grants_nobody_can_tell(
    granted: tuple[str, ...], tmp_path: Path, mariadb: MariaDB, database: str
) -> None:
    mariadb.create_reader("cron", PASSWORD, database, granted)
    with CallLog(settings_of(tmp_path, mariadb, database)) as log:
        assert live_leads(log, {7}) is None
        assert "they cannot be read" == why_not_believed(log)
