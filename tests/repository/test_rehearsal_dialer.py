"""The rehearsal's dialer lets rows live as VICIdial does, step by step."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pymysql
import pytest

from rehearsal import dialer as lives
from rehearsal.dialer import Call, Dialer, Final, Life, fill, new_call, random_life
from rehearsal.mariadb import MariaDB

T = 1_729_785_600  # the second of dialling; 2024-10-24 16:00:00 UTC
CALL = Call(T, 7, lead_id=123, user="6666")


def dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - calls that can be repeated, no secrets


class Seen(NamedTuple):
    """The row some seconds after dialling: its end in seconds after dialling, too."""

    after: float
    status: str
    end: int | None


@pytest.fixture
def dialer(mariadb: MariaDB, database: str) -> Iterator[Dialer]:
    dialer = Dialer(lambda: mariadb.connect(database))
    yield dialer
    dialer.close()


def rows(mariadb: MariaDB, database: str) -> list[dict[str, Any]]:
    with mariadb.connect(database) as connection, connection.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute("SELECT * FROM vicidial_log ORDER BY start_epoch, uniqueid")
        return list(cursor.fetchall())


@pytest.mark.parametrize(
    ("life", "seen"),
    [
        pytest.param(
            lives.agent_call(CALL, ring=8, connect=1, talk=91, hangs_up=5, wrap_up=60),
            [
                Seen(8, "QUEUE", None),
                Seen(9, "INCALL", None),
                Seen(100, "INCALL", 100),
                Seen(105, "DISPO", 105),
                Seen(165, "SALE", 105),
            ],
            id="agent call",
        ),
        pytest.param(
            lives.alternate_number(CALL, talk=10, wrap_up=20),
            [Seen(19, "INCALL", 19), Seen(22, "ALTNUM", 22), Seen(42, "NI", 22)],
            id="alternate number",
        ),
        pytest.param(
            lives.campaign_status(CALL, talk=10, wrap_up=5), [Seen(22, "DISPO", 22), Seen(27, "HUC017", 22)], id="code"
        ),
        pytest.param(
            lives.hot_key(CALL, talk=10, hangs_up=2), [Seen(19, "NI", None), Seen(21, "NI", 21)], id="hot key"
        ),
        pytest.param(
            lives.hot_key_after_hangup(CALL, talk=10, decides=4, hangs_up=1, rewritten=False),
            [Seen(19, "INCALL", 19), Seen(23, "DNC", 19), Seen(24, "DNC", 24)],
            id="hot key after hang-up",
        ),
        pytest.param(
            lives.browser_closed(CALL, talk=10), [Seen(19, "DISPO", 19), Seen(90_000, "DISPO", 19)], id="DISPO for ever"
        ),
        pytest.param(
            lives.browser_closed(CALL, talk=10, stuck="INCALL"),
            [Seen(18, "INCALL", None), Seen(90_000, "INCALL", 19)],
            id="INCALL for ever",
        ),
        pytest.param(
            lives.browser_closed(CALL, talk=10, stuck="DONEM"), [Seen(90_000, "DONEM", 19)], id="DONEM for ever"
        ),
        pytest.param(lives.no_answer(CALL, ring=26), [Seen(26, "NA", 26)], id="no answer"),
        pytest.param(lives.busy_before_answer(CALL, late=240), [Seen(240, "AB", 0)], id="busy before answer"),
        pytest.param(lives.audit_of_missed(CALL, late=420), [Seen(420, "NA", 0)], id="audit of missed"),
        pytest.param(
            lives.answering_machine(CALL, ring=10, ahead=3, detected=2, message=30),
            [Seen(10, "AA", 13), Seen(12, "AM", 13), Seen(41, "AM", 13), Seen(42, "AL", 42)],
            id="machine with message",
        ),
        pytest.param(
            lives.answering_machine(CALL, ring=10, message=None), [Seen(10, "AA", 13), Seen(90_000, "AA", 13)], id="AA"
        ),
        pytest.param(
            lives.transfer(CALL, talk=10, wrap_up=30), [Seen(19, "XFER", 19), Seen(49, "SALE", 19)], id="transfer"
        ),
        pytest.param(lives.remote_agent(CALL, talk=10), [Seen(9, "INCALL", None), Seen(19, "XFER", 19)], id="remote"),
        pytest.param(lives.never_ends(CALL), [Seen(8, "LRERR", None), Seen(90_000, "LRERR", None)], id="LRERR"),
        pytest.param(
            lives.never_ends(CALL, status="INCALL"), [Seen(90_000, "INCALL", None)], id="hang-up that was lost"
        ),
    ],
)
def test_the_row_shows_each_stage_of_its_life(
    mariadb: MariaDB, database: str, dialer: Dialer, life: Life, seen: list[Seen]
) -> None:
    dialer.begin(life)
    dialer.play(life.steps[0].at - 1)
    assert rows(mariadb, database) == []

    found = []
    for moment in seen:
        dialer.play(T + moment.after)
        (row,) = rows(mariadb, database)
        end = row["end_epoch"]
        found.append(Seen(moment.after, row["status"], None if end is None else end - T))

    assert found == seen
    if life.final is None:
        assert row["end_epoch"] is None
    else:
        assert (life.final, life.ends_at) == ((row["uniqueid"], row["status"]), row["end_epoch"])
        assert row["length_in_sec"] == row["end_epoch"] - row["start_epoch"]


@pytest.mark.parametrize(
    ("life", "settled_after"),
    [
        pytest.param(lives.agent_call(CALL, ring=8, connect=1, talk=91, hangs_up=5, wrap_up=60), 165, id="agent call"),
        pytest.param(lives.hot_key(CALL, talk=10, hangs_up=2), 21, id="hot key"),
        pytest.param(lives.browser_closed(CALL, talk=10), 919, id="browser closed"),
        pytest.param(lives.browser_closed(CALL, talk=10, wait=60), 79, id="browser closed, shorter wait"),
        pytest.param(lives.busy_before_answer(CALL, late=240), 240, id="late row"),
        pytest.param(lives.answering_machine(CALL, ring=10, message=None), 13, id="end ahead of now"),
    ],
)
def test_a_life_says_from_when_on_its_call_can_be_delivered(life: Life, settled_after: float) -> None:
    assert life.settled_at == T + settled_after


@pytest.mark.parametrize("kind", [lives.agent_call, lives.hot_key_after_hangup], ids=["agent call", "hot key"])
def test_a_rewritten_id_keeps_its_second_and_lives_on_in_one_row(
    mariadb: MariaDB, database: str, dialer: Dialer, kind: Callable[..., Life]
) -> None:
    life = dialer.begin(kind(CALL, rewritten=True))
    dialer.play(T + 9)
    (before,) = rows(mariadb, database)
    dialer.play(T + 1000)
    (after,) = rows(mariadb, database)

    assert before["uniqueid"] == CALL.uniqueid
    assert after["uniqueid"] != CALL.uniqueid
    assert after["uniqueid"].split(".")[0] == str(T)
    assert life.final == Final(after["uniqueid"], after["status"])


def test_twins_are_two_ended_rows_until_the_later_is_deleted(mariadb: MariaDB, database: str, dialer: Dialer) -> None:
    life = dialer.begin(lives.twins(CALL, ring=20, apart=2, deleted=600))
    dialer.play(T + 100)
    both = [(row["uniqueid"], row["lead_id"], row["end_epoch"]) for row in rows(mariadb, database)]
    dialer.play(T + 620)
    left = [row["uniqueid"] for row in rows(mariadb, database)]

    assert both == [(CALL.uniqueid, 123, T + 20), (f"{T}.000000123", 123, T + 22)]
    assert left == [CALL.uniqueid]
    assert (life.final, life.extra) == (Final(CALL.uniqueid, "NA"), (f"{T}.000000123",))


def test_the_agent_is_on_the_row_once_there_is_one(mariadb: MariaDB, database: str, dialer: Dialer) -> None:
    dialer.begin(lives.agent_call(CALL))
    dialer.play(T + 8)
    (queued,) = rows(mariadb, database)
    dialer.play(T + 9)
    (taken,) = rows(mariadb, database)

    assert (queued["user"], taken["user"], taken["user_group"]) == ("VDAD", "6666", "AGENTS")


def test_a_remote_agents_row_says_so(mariadb: MariaDB, database: str, dialer: Dialer) -> None:
    dialer.begin(lives.remote_agent(CALL))
    dialer.play(T + 500)

    assert rows(mariadb, database)[0]["comments"] == "REMOTE"


def test_call_date_is_local_time_and_now_agrees_with_the_step(tmp_path: Path) -> None:
    """Both hours of an autumn night in New York write the same call_date; only the epochs differ."""
    first, second = 1730611800, 1730615400  # 01:30 EDT and, an hour later, 01:30 EST
    with MariaDB(tmp_path, time_zone="America/New_York") as server:
        server.create_table("asterisk")
        dialer = Dialer(lambda: server.connect("asterisk"))
        for at in (first, second):
            dialer.begin(lives.no_answer(new_call(at), ring=0))
        update = "UPDATE vicidial_log SET comments = UNIX_TIMESTAMP() WHERE start_epoch = %s"
        life = lives.no_answer(new_call(0))
        dialer.begin(Life("stamp", (lives.Step(second + 5, update, (second,)),), None, None, None))
        dialer.play(second + 10)
        found = [(row["call_date"], row["comments"]) for row in rows(server, "asterisk")]
        dialer.close()

    assert life.steps  # planned but never begun, so never carried out
    half_past_one = datetime(2024, 11, 3, 1, 30)  # noqa: DTZ001 - the column has no zone, which is the point
    assert [call_date for call_date, _ in found] == [half_past_one, half_past_one]
    assert float(found[1][1]) == second + 5


def test_a_table_from_before_called_count_can_be_dialled_too(mariadb: MariaDB) -> None:
    mariadb.create_table("old_dialer", called_count=False)
    dialer = Dialer(lambda: mariadb.connect("old_dialer"))
    dialer.begin(lives.no_answer(Call(T, 1, called_count=None)))
    dialer.play(T + 100)
    dialer.close()
    with mariadb.connect("old_dialer") as connection:
        fill(connection, 10, T, called_count=False)

    assert len(rows(mariadb, "old_dialer")) == 11


def test_every_kind_of_life_turns_up_and_the_table_ends_as_expected(
    mariadb: MariaDB, database: str, dialer: Dialer
) -> None:
    rng = dice(1)
    for number in range(3000):
        dialer.begin(random_life(rng, T + number / 8))
    dialer.play(T + 20_000)
    found = rows(mariadb, database)

    assert len(dialer.kinds()) == 13
    assert {row["uniqueid"]: row["status"] for row in found if row["end_epoch"] is not None} == dialer.expected()
    assert len(found) == 3000
    assert len({row["lead_id"] for row in found}) < 3000
    assert len({row["start_epoch"] for row in found}) < 3000
    for life in dialer.lives:
        own_steps = [step.at for step in life.steps if not set(life.extra) & set(step.params)]
        assert life.settled_at is None or life.settled_at >= max(own_steps)


def test_the_same_seed_gives_the_same_calls_under_new_ids() -> None:
    def durations(seed: int) -> list[list[float]]:
        rng = dice(seed)
        return [[step.at - T for step in random_life(rng, T).steps] for _ in range(50)]

    assert durations(4) == durations(4) != durations(5)


def test_speed_presses_a_life_into_less_time() -> None:
    slow = [random_life(dice(seed), T) for seed in range(200)]
    fast = [random_life(dice(seed), T, speed=100) for seed in range(200)]

    assert [life.name for life in slow] == [life.name for life in fast]
    assert max(step.at for life in fast for step in life.steps) - T == pytest.approx(
        (max(step.at for life in slow for step in life.steps) - T) / 100
    )


@pytest.mark.parametrize(
    ("delivered", "lost", "wrong", "twice", "unknown"),
    [
        ([("1.1", "SALE"), ("2.2", "NA")], [], [], [], []),
        ([("1.0", "SALE"), ("2.2", "NA"), ("2.000000001", "NA")], [], [], [], []),
        ([("1.1", "SALE")], ["2.2"], [], [], []),
        ([("1.1", "DISPO"), ("2.2", "NA")], [], ["1.1"], [], []),
        ([("1.0", "SALE"), ("1.1", "SALE"), ("2.2", "NA")], [], [], ["1.1"], []),
        ([("1.1", "SALE"), ("2.2", "NA"), ("2.2", "NA")], [], [], ["2.2"], []),
        ([("1.1", "SALE"), ("2.2", "NA"), ("2.000000001", "NA"), ("2.000000001", "NA")], [], [], ["2.000000001"], []),
        ([("1.1", "SALE"), ("2.2", "NA"), ("3.3", "LRERR")], [], [], [], ["3.3"]),
    ],
    ids=["right", "other id, twin too", "lost", "wrong", "both ids", "twice", "twin twice", "never ended"],
)
def test_the_verdict_names_what_was_lost_wrong_twice_or_unknown(
    delivered: list[tuple[str, str]], lost: list[str], wrong: list[str], twice: list[str], unknown: list[str]
) -> None:
    dialer = Dialer(lambda: pytest.fail("judging needs no database"))
    dialer.begin(Life("rewritten", (), Final("1.1", "SALE"), 1, 1, also=("1.0",)))
    dialer.begin(Life("twins", (), Final("2.2", "NA"), 1, 1, extra=("2.000000001",)))
    dialer.begin(Life("never ends", (), None, None, None))

    assert dialer.judge(delivered) == lives.Verdict(lost, wrong, twice, unknown)


def test_in_real_time_no_step_is_lost_or_doubled_when_the_server_goes_away(tmp_path: Path) -> None:
    with MariaDB(tmp_path) as server:
        server.create_table("asterisk")
        dialer = Dialer(lambda: server.connect("asterisk"))
        thread = threading.Thread(target=dialer.live, args=(3, 40, dice(2)), kwargs={"speed": 2000})
        thread.start()
        time.sleep(1)
        server.kill()
        server.start()
        time.sleep(0.5)
        server.stop()
        server.start()
        thread.join(60)
        dialer.close()
        found = rows(server, "asterisk")

    assert not thread.is_alive()
    assert len(dialer.lives) > 60
    assert len(found) == len(dialer.lives)
    assert dialer.judge((row["uniqueid"], row["status"]) for row in found if row["end_epoch"]) == lives.Verdict()


def test_an_insert_whose_answer_was_lost_is_not_doubled(mariadb: MariaDB, database: str) -> None:
    """The statement gets through, the connection breaks before the answer: it is sent again and finds its own row."""
    failures = iter([True, False])

    class Breaking(pymysql.cursors.Cursor):
        def execute(self, query: str, args: object = None) -> int:
            count = super().execute(query, args)
            if next(failures, False):
                raise pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query")
            return count

    def connect() -> pymysql.connections.Connection[Any]:
        connection = mariadb.connect(database)
        connection.cursorclass = Breaking
        return connection

    dialer = Dialer(connect)
    dialer.begin(lives.no_answer(CALL))
    dialer.live(0, 1, dice(1))
    dialer.close()

    assert [row["uniqueid"] for row in rows(mariadb, database)] == [CALL.uniqueid]


def test_an_error_that_no_waiting_mends_is_not_swallowed(mariadb: MariaDB, database: str, dialer: Dialer) -> None:
    dialer.begin(Life("mistake", (lives.Step(0, "UPDATE vicidial_log SET no_such_column = 1", ()),), None, None, None))

    with pytest.raises(pymysql.err.OperationalError, match="no_such_column"):
        dialer.live(0, 1, dice(1))
    assert rows(mariadb, database) == []


@pytest.mark.parametrize("engine", ["MyISAM", "InnoDB"])
def test_history_is_finished_calls_spread_evenly_up_to_its_end(mariadb: MariaDB, engine: str) -> None:
    name = f"history_{engine}"
    mariadb.create_table(name, engine=engine)
    with mariadb.connect(name) as connection:
        fill(connection, 30_000, T, per_hour=30_000)
        fill(connection, 1_000, T, per_hour=30_000, first_lead=20_000_000)
    found = rows(mariadb, name)
    history = [row for row in found if row["lead_id"] < 20_000_000]

    assert len(found) == 31_000
    assert T - 3605 <= history[0]["start_epoch"] <= T - 3595
    assert sum(row["start_epoch"] < T - 1800 for row in history) == pytest.approx(15_000, abs=50)
    assert max(row["end_epoch"] for row in history) <= T
    assert history[-1]["start_epoch"] == T - 1
    assert all(row["end_epoch"] - row["start_epoch"] == row["length_in_sec"] >= 0 for row in history)
    assert {"NA", "AA", "SALE", "DROP"} < {row["status"] for row in history}
    assert 0.5 < sum(row["status"] == "NA" for row in history) / 30_000 < 0.6
    assert len({row["lead_id"] for row in history}) == 30_000
