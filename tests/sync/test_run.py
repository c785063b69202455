"""The run, on a real MariaDB and a real HTTP server; the database's clock stands where a test puts it."""

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from rehearsal.dialer import Dialer, fill
from rehearsal.did_optimizer import ERROR_500, LOST_ANSWER, NOT_ACCEPTED, SUCCESS_FALSE, DidOptimizer, Fault, answer
from rehearsal.lives import Call, agent_call, never_ends, new_call, no_answer
from rehearsal.mariadb import MariaDB
from rehearsal.site import PASSWORD, Site
from tests.call_rows import NOON, insert, row
from tests.conftest import finish_calls, run_at, run_here
from tests.sync.conftest import at
from vicisync.errors import ApiError
from vicisync.state.checkpoint import starting_at
from vicisync.state.last_run import last_run_file
from vicisync.state.load import read_checkpoint
from vicisync.state.lock import locked
from vicisync.state.store import Store
from vicisync.vicidial.pages import PAGE


def statuses(api: DidOptimizer) -> list[tuple[str, str]]:
    """What was POSTed, in the order of arrival."""
    return [(post.payload["uniqueid"], post.payload["disposition"]) for post in api.posts]


def use_another_table(site: Site, mariadb: MariaDB, **kind: Any) -> None:
    site.database += "_other"
    mariadb.create_table(site.database, **kind)
    mariadb.create_reader("cron", PASSWORD, site.database)
    site.configure()


@pytest.mark.parametrize("engine", ["MyISAM", "InnoDB"])
@pytest.mark.parametrize("charset", ["latin1", "utf8"])
def test_every_engine_and_character_set_of_vicidial_serves(
    engine: str, charset: str, mariadb: MariaDB, site: Site, api: DidOptimizer
) -> None:
    use_another_table(site, mariadb, engine=engine, charset=charset)
    dialer = Dialer(lambda: mariadb.connect(site.database))
    life = dialer.begin(agent_call(new_call(NOON), rewritten=True))
    for epoch in range(NOON, NOON + 300, 20):
        at(site, dialer, epoch)
    dialer.close()
    assert life.final is not None
    assert [(life.final.uniqueid, "SALE")] == statuses(api)


def test_a_table_older_than_vicidial_2_8_has_no_called_count(mariadb: MariaDB, site: Site, api: DidOptimizer) -> None:
    use_another_table(site, mariadb, called_count=False)
    dialer = Dialer(lambda: mariadb.connect(site.database))
    dialer.begin(no_answer(Call(NOON, 1, called_count=None)))
    at(site, dialer, NOON + 60)
    dialer.close()
    assert [None] == [post.payload["calledCount"] for post in api.posts]


def test_two_thousand_calls_of_one_second_all_arrive_once(site: Site, dialer: Dialer, api: DidOptimizer) -> None:
    """More than a page of discovery and four batches, all with the same call_date, start and end."""
    calls = 2345
    with site.mariadb.connect(site.database) as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO vicidial_log (uniqueid, lead_id, campaign_id, phone_number, call_date, start_epoch, end_epoch,"
            " length_in_sec, status) SELECT CONCAT(%s, '.', seq), seq, 'C', '5550100', FROM_UNIXTIME(%s), %s, %s, 0,"
            f" 'NA' FROM seq_1_to_{calls}",
            (NOON, NOON, NOON, NOON),
        )
    lines = at(site, dialer, NOON + 5)
    assert "📞 Found 2345 new call results" in lines
    assert {f"{NOON}.{number}" for number in range(1, calls + 1)} == set(api.records)
    assert 0 == api.repeats
    assert ["✅ Nothing new since " in line for line in at(site, dialer, NOON + 6)] == [True]


def test_a_call_without_an_end_is_given_up_after_eight_hours(site: Site, dialer: Dialer, api: DidOptimizer) -> None:
    uniqueid = dialer.begin(never_ends(new_call(NOON))).steps[0].params[0]
    at(site, dialer, NOON + 60)
    lines = at(site, dialer, NOON + 9 * 3600)
    assert not any("never ended" in line for line in lines), "by the clock, while the table shows nothing new"
    dialer.begin(no_answer(new_call(NOON + 9 * 3600)))
    at(site, dialer, NOON + 9 * 3600 + 60)
    lines = at(site, dialer, NOON + 9 * 3600 + 120)
    assert any(line.startswith(f"⚠ {uniqueid}: never ended") for line in lines)
    checkpoint = read_checkpoint(site.checkpoint_file, 28800)
    assert checkpoint is not None
    assert {} == checkpoint.watching
    assert 1 == len(api.posts)


def test_a_clock_set_back_by_some_seconds_sends_nothing_again(site: Site, dialer: Dialer, api: DidOptimizer) -> None:
    for second in range(40):
        dialer.begin(no_answer(new_call(NOON + 15 * second), ring=0))
    at(site, dialer, NOON + 900)
    for back in (8, 30, 0, 55):
        run_at(site, NOON + 900 - back)
    assert 40 == len(api.posts)


def test_a_reset_while_calls_are_watched_finds_them_again(site: Site, dialer: Dialer, api: DidOptimizer) -> None:
    life = dialer.begin(agent_call(new_call(NOON), talk=600, rewritten=True))
    at(site, dialer, NOON + 120)
    path = site.checkpoint_file
    with locked(path), Store(starting_at(NOON + 130, 28800), path, site.rejected_file) as store:
        store.save()
    for epoch in range(NOON + 180, NOON + 900, 60):
        at(site, dialer, epoch)
    assert life.final is not None
    assert [(life.final.uniqueid, life.final.status)] == statuses(api)


def test_a_dialer_whose_clock_is_ahead_loses_no_call_of_a_long_backlog(site: Site, api: DidOptimizer) -> None:
    """Its calls stand hours later in the table's order than they started."""
    with site.mariadb.connect(site.database) as connection:
        fill(connection, 3 * PAGE, NOON, per_hour=3 * PAGE)
    site.mariadb.execute(f"UPDATE `{site.database}`.vicidial_log SET call_date = call_date + INTERVAL 5 HOUR")
    site.mariadb.set_clock(NOON + 1200)
    site.vicisync("reset-checkpoint", "--yes", "--to", str(NOON - 2 * 3600))
    for limit in (str(PAGE + 500), "100000"):
        assert 0 == site.vicisync("run", "--limit", limit, "--max-runtime", "0").returncode
    assert 3 * PAGE == len(api.records)
    assert 0 == api.repeats


@pytest.mark.usefixtures("dialer")
def test_a_second_row_that_looks_like_a_delivered_call_is_sent_where_that_one_s_row_is_not_read_again(
    site: Site, api: DidOptimizer
) -> None:
    """Same lead, stem and start, in another second of the table: the first one is known to be there by its id alone."""
    insert(site.mariadb, site.database, row(f"{NOON}.1", NOON))
    run_at(site, NOON + 60)
    insert(site.mariadb, site.database, row(f"{NOON}.2", NOON, call_date=("FROM_UNIXTIME(%s)", NOON + 1)))
    run_at(site, NOON + 120)
    assert [(f"{NOON}.1", "NA"), (f"{NOON}.2", "NA")] == statuses(api)


NO_INDEX = replace(SUCCESS_FALSE, answer=None, stores=True)
"""The API decides itself; and it lacks the index that a fresh server lacks."""


@pytest.mark.parametrize(
    ("fault", "said", "posts"),
    [
        (
            answer(400, body=b"<h1>No SSL certificate</h1>"),
            "cannot be used: 400 Bad Request, not from DID Optimizer",
            1,
        ),
        (
            NO_INDEX,
            "answers, but stores nothing: 5 calls in a row failed, 500 Internal Server Error",
            5,
        ),
        (SUCCESS_FALSE, "answers, but stores nothing: 5 calls in a row failed, 200 OK: Call", 5),
    ],
    ids=["nginx's own 400", "an index is missing", "200"],
)
def test_what_is_no_verdict_of_the_api_on_a_call_rejects_none(
    site: Site, dialer: Dialer, api: DidOptimizer, fault: Fault, said: str, posts: int
) -> None:
    for second in range(9):
        dialer.begin(no_answer(new_call(NOON + second)))
    dialer.play(NOON + 60)
    site.mariadb.set_clock(NOON + 60)
    site.configure(max_retries="0")
    api.fault_for, api.lacks_index = lambda _: fault, fault is NO_INDEX
    error = run_here(site).error
    assert isinstance(error, ApiError)
    assert said in str(error)
    assert (posts, False) == (len(api.posts), site.rejected_file.exists())
    api.fault_for, api.lacks_index = None, False
    at(site, dialer, NOON + 120)
    assert 9 == len(api.records)


def test_a_call_that_failed_while_others_passed_is_tried_alone_when_no_new_one_comes(
    site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    failing = {f"{NOON}.{number}" for number in range(3)}
    insert(site.mariadb, site.database, *(row(f"{NOON}.{number}", NOON, lead_id=number) for number in range(6)))
    site.configure(max_retries="0")
    api.fault_for = lambda payload: ERROR_500 if payload["uniqueid"] in failing else None
    at(site, dialer, NOON + 60)
    tried = set()
    for minute in range(2, 30):
        sent = len(api.posts)
        site.mariadb.set_clock(NOON + 60 * minute)
        done = run_here(site)
        assert (None, 1) == (done.error, len(api.posts) - sent)
        tried.add(api.posts[-1].payload["uniqueid"])
    assert failing == tried, "one stood in the way of the others"
    assert not site.rejected_file.exists()
    assert 3 == site.checkpoint_file.read_text().count(":1\t"), "a failure alone was held against its call"
    api.fault_for = None
    at(site, dialer, NOON + 60 * 31)
    assert 6 == len(api.records)


def test_a_run_says_how_many_calls_it_may_have_stored_twice_also_where_the_answer_was_lost_in_an_earlier_one(
    site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    insert(site.mariadb, site.database, *(row(f"{NOON}.{number}", NOON, lead_id=number) for number in range(6)))
    site.configure(max_retries="0")
    api.fault_for = lambda payload: LOST_ANSWER if payload["uniqueid"] in (f"{NOON}.3", f"{NOON}.4") else None
    assert "📊 Summary: 4 processed, 2 failed" in "\n".join(at(site, dialer, NOON + 60))
    api.fault_for = None
    told = "\n".join(at(site, dialer, NOON + 120))
    assert "; 2 may have been stored twice (their answers were lost)" in told
    assert 2 <= api.repeats
    assert "may have been stored twice" not in "\n".join(at(site, dialer, NOON + 180))


def test_a_run_after_one_that_was_killed_says_how_many_calls_it_may_repeat(site: Site, api: DidOptimizer) -> None:
    finish_calls(site, 30)
    api.latency = 0.2
    with site.start("run") as run:
        while len(api.posts) < 10:
            time.sleep(0.01)
        run.kill()
    api.latency = 0
    words = "⚠ The run before was killed while it sent calls; up to 8 of them may be stored twice"
    assert [1, 0] == [run_here(site).lines.count(words) for _ in range(2)]
    assert api.repeats <= 8


def test_a_run_of_which_the_api_took_nothing_did_not_go_well(site: Site, api: DidOptimizer) -> None:
    finish_calls(site, 3)
    api.fault_for = lambda _: NOT_ACCEPTED
    done = run_here(site)
    assert "No call got through to DID Optimizer at " in str(done.error)
    assert "✅ Sync completed successfully" not in done.lines
    assert not site.rejected_file.exists()


def test_a_call_that_is_given_up_is_told_once_however_long_the_overlap(site: Site, dialer: Dialer) -> None:
    site.configure(overlap="12h")
    insert(site.mariadb, site.database, row(f"{NOON}.1", NOON, lead_id=7, status="LRERR", end_epoch=None))
    told = []
    for hour in range(7, 12):
        insert(site.mariadb, site.database, row(f"{NOON + 3600 * hour}.9", NOON + 3600 * hour, lead_id=hour))
        told += at(site, dialer, NOON + 3600 * hour + 60)
    assert 1 == sum("never ended; given up" in line for line in told)


def test_where_numbers_are_not_to_be_logged_the_words_of_the_api_bring_none(site: Site, api: DidOptimizer) -> None:
    site.configure(log_phone_numbers="no", max_retries="0")
    finish_calls(site, 6)
    api.fault_for = lambda sent: answer(500, {}, json.dumps({"error": f"phoneNumber {sent['phoneNumber']}"}).encode())
    done = run_here(site)
    said = "\n".join([*done.lines, str(done.error), last_run_file(site.checkpoint_file).read_text()])
    assert "5 calls in a row failed, 500 Internal Server Error: phoneNumber …" in said
    assert [] == [post for post in api.posts if post.payload["phoneNumber"] in said]
