"""No call is lost or falsified where a clock, a lock or a table's row was taken for the evidence; on a real server."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rehearsal.dialer import Dialer, fill
from rehearsal.did_optimizer import ERROR_500, DidOptimizer, Fault, slow
from rehearsal.lives import agent_call, new_call, no_answer
from rehearsal.mariadb import READ, MariaDB
from rehearsal.site import PASSWORD, Site
from tests.call_rows import NOON, insert, row
from tests.conftest import Done, command_here, pages_of, run_at, run_here
from tests.sync.conftest import at
from vicisync.errors import CheckpointError, DatabaseError
from vicisync.state.load import read_checkpoint
from vicisync.vicidial import statements
from vicisync.vicidial.call_log import CallLog
from vicisync.vicidial.pages import Page


@pytest.fixture(autouse=True)
def granted(site: Site) -> None:
    """The account may read all that helps a run, as VICIdial's own may."""
    site.mariadb.create_reader("cron", PASSWORD, site.database, READ)


def clocks(site: Site, database: int, machine: int) -> Done:
    """Run while the database's clock and this machine's stand there."""
    site.mariadb.set_clock(database)
    return run_here(site, machine=machine)


@pytest.mark.parametrize("ahead", [0, 3600], ids=["alone", "beside a dialer whose clock is ahead"])
@pytest.mark.parametrize("minutes", [25, 120])
def test_rows_that_a_lock_held_back_arrive_however_late(
    minutes: int, ahead: int, site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    """As of an ALTER … COPY or a replica that stands: nothing appears, then all at once."""
    dialer.begin(no_answer(new_call(NOON)))
    if ahead:
        insert(site.mariadb, site.database, row(f"{NOON + ahead}.8", NOON + ahead, lead_id=800))
    for minute in range(1, minutes + 1):
        at(site, dialer, NOON + 60 * minute)
    late = [row(f"{NOON + 60 * minute}.9", NOON + 60 * minute, lead_id=minute) for minute in range(1, minutes)]
    insert(site.mariadb, site.database, *late)
    at(site, dialer, NOON + 60 * minutes + 60)
    at(site, dialer, NOON + ahead + 60 * minutes + 60)
    assert 1 + len(late) + (ahead > 0) == len(api.records)
    assert 0 == api.repeats


@pytest.mark.parametrize("locks", ["LOCK TABLES vicidial_log READ", "FLUSH TABLES WITH READ LOCK"])
def test_a_backup_s_read_lock_holds_up_inserts_and_loses_none(locks: str, site: Site, api: DidOptimizer) -> None:
    now = int(time.time())
    insert(site.mariadb, site.database, row(f"{now}.1", now - 1800))
    with site.mariadb.connect(site.database) as backup:
        backup.cursor().execute(locks)
        late = [row(f"{now}.{number}", now - 60 * number, lead_id=number) for number in range(2, 28)]
        writer = threading.Thread(target=insert, args=(site.mariadb, site.database, *late))
        writer.start()
        for _ in range(3):
            assert run_here(site).error is None
        assert 1 == len(api.records)
        backup.cursor().execute("UNLOCK TABLES")
        writer.join()
    assert run_here(site).error is None
    assert 27 == len(api.records)


@pytest.mark.parametrize("fails", [False, True], ids=["in progress", "kept through an outage"])
def test_calls_are_found_again_when_a_swapped_table_comes_back(
    fails: bool, site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    """Renamed away by archiving, repair or failover, for some runs."""
    site.configure(max_retries="0")
    lives = [dialer.begin(agent_call(new_call(NOON + second), talk=300)) for second in range(20)]
    at(site, dialer, NOON + 60)
    name = f"`{site.database}`"
    site.mariadb.execute(f"CREATE TABLE {name}.other LIKE {name}.vicidial_log")
    swap = "RENAME TABLE {0}.vicidial_log TO {0}.away, {0}.other TO {0}.vicidial_log"
    if fails:
        dialer.play(NOON + 600)
        api.down()
        site.mariadb.set_clock(NOON + 600)
        assert run_here(site).error is not None
    site.mariadb.execute(swap.format(name))
    insert(site.mariadb, site.database, row(f"{NOON + 640}.1", NOON + 640, lead_id=1))  # by which the overlap moves on
    site.mariadb.set_clock(NOON + 660)
    run_here(site)
    if fails:
        api.up()
        run_here(site)
    back = "RENAME TABLE {0}.vicidial_log TO {0}.other, {0}.away TO {0}.vicidial_log"
    site.mariadb.execute(back.format(name))
    for minute in range(12, 18):
        at(site, dialer, NOON + 60 * minute)
    assert {f"{NOON + 640}.1", *(life.final.uniqueid for life in lives if life.final)} == set(api.records)
    assert 0 == api.repeats


def test_a_call_that_was_gone_while_it_waited_for_its_disposition_is_sent_as_it_was_kept(
    site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    dialer.begin(agent_call(new_call(NOON), talk=30, wrap_up=3000))
    at(site, dialer, NOON + 120)
    site.mariadb.execute(f"TRUNCATE `{site.database}`.vicidial_log")
    for minute in range(3, 20):
        site.mariadb.set_clock(NOON + 60 * minute)
        assert run_here(site).error is None
    assert ["DISPO"] == [sent["disposition"] for sent in api.records.values()]


def test_a_call_that_an_agent_still_has_is_not_sent_as_it_was_kept_while_its_row_is_gone(
    site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    """The table is renamed away in a long wrap-up and comes back, first for the disposition, then without it."""
    name = f"`{site.database}`"
    site.mariadb.execute(f"CREATE TABLE {name}.other LIKE {name}.vicidial_log")
    dialer.begin(agent_call(new_call(NOON), talk=30, wrap_up=1500, status="SALE"))
    dialer.begin(agent_call(new_call(NOON), talk=30, wrap_up=1200, status="NI"))
    at(site, dialer, NOON + 120)
    site.mariadb.execute(f"RENAME TABLE {name}.vicidial_log TO {name}.away, {name}.other TO {name}.vicidial_log")
    for minute in range(3, 24):
        at(site, dialer, NOON + 60 * minute)
    assert {} == api.records
    site.mariadb.execute(f"RENAME TABLE {name}.vicidial_log TO {name}.other, {name}.away TO {name}.vicidial_log")
    for minute in range(24, 42):
        at(site, dialer, NOON + 60 * minute)
    assert ["SALE", "DISPO"] == [sent["disposition"] for sent in api.records.values()]


def test_what_is_kept_of_a_call_is_as_it_was_seen_last(site: Site, dialer: Dialer, api: DidOptimizer) -> None:
    machine = row(f"{NOON}.1", NOON, status="AA", end_epoch=NOON + 50, lead_id=5)
    insert(site.mariadb, site.database, machine)
    at(site, dialer, NOON + 60)
    site.mariadb.execute(f"UPDATE `{site.database}`.vicidial_log SET status = 'AM', end_epoch = %s", (NOON + 110,))
    at(site, dialer, NOON + 120)
    site.mariadb.execute(f"TRUNCATE `{site.database}`.vicidial_log")
    at(site, dialer, NOON + 300)
    assert [("AM", NOON + 110)] == [(sent["disposition"], sent["endEpoch"]) for sent in api.records.values()]


def test_a_call_that_is_gone_goes_by_its_id_of_today(site: Site, dialer: Dialer, api: DidOptimizer) -> None:
    """Five failed and were kept; then VICIdial rewrote all ids, five others failed, and the rows were taken away."""
    insert(site.mariadb, site.database, *(row(f"{NOON}.{n}", NOON + n, lead_id=n) for n in range(1, 11)))
    site.configure(max_retries="0")
    api.down()
    for minute in (1, 2):
        site.mariadb.set_clock(NOON + 60 * minute)
        assert run_here(site).error is not None
        if minute == 1:
            site.mariadb.execute(f"UPDATE `{site.database}`.vicidial_log SET uniqueid = CONCAT(uniqueid, '99')")
    site.mariadb.execute(f"TRUNCATE `{site.database}`.vicidial_log")
    api.up()
    at(site, dialer, NOON + 180)
    assert {f"{NOON}.{n}99" for n in range(1, 11)} == set(api.records)


def test_an_idle_poll_asks_neither_of_the_live_tables_nor_for_a_whole_call(
    site: Site, dialer: Dialer, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialer.begin(no_answer(new_call(NOON)))
    dialer.begin(agent_call(new_call(NOON + 5), talk=600))
    at(site, dialer, NOON + 60)
    asked: list[str] = []
    read = CallLog.read

    def noted(self: CallLog, sql: str, parameters: Mapping[str, object] = {}) -> tuple[tuple[Any, ...], ...]:
        asked.append(sql)
        return read(self, sql, parameters)

    monkeypatch.setattr(CallLog, "read", noted)
    assert any("Nothing new" in line for line in at(site, dialer, NOON + 120))
    assert statements.BY_UNIQUEID in asked
    assert [] == [sql for sql in asked if "live_agents" in sql or "auto_calls" in sql or "called_count" in sql]


def test_an_end_that_lies_ahead_is_not_taken_for_the_newest_one(site: Site, dialer: Dialer) -> None:
    insert(site.mariadb, site.database, row(f"{NOON}.1", NOON, end_epoch=NOON + 90_000))
    for epoch in (NOON + 60, NOON + 9 * 3600, NOON + 9 * 3600 + 60):
        insert(site.mariadb, site.database, row(f"{epoch - 30}.2", epoch - 30, lead_id=2))
        at(site, dialer, epoch)
    checkpoint = read_checkpoint(site.checkpoint_file, 28800)
    assert checkpoint
    assert f"{NOON}.1" not in checkpoint.watching, "it has gone, being old"
    assert NOON + 9 * 3600 + 60 >= checkpoint.end_epoch


def test_a_checkpoint_that_is_written_while_the_very_first_run_reaches_for_the_database_is_kept(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = CallLog.now
    written = f"{int(time.time()) - 60}\n"

    def meanwhile(self: CallLog) -> int:
        site.checkpoint_file.write_text(written)
        return now(self)

    monkeypatch.setattr(CallLog, "now", meanwhile)
    error = run_here(site).error
    assert isinstance(error, CheckpointError)
    assert "was replaced while this run was at work" in str(error)
    assert written == site.checkpoint_file.read_text()


def test_what_failed_in_an_outage_and_was_archived_is_sent_as_it_was_kept(
    site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    site.configure(max_retries="0")
    dialer.begin(no_answer(new_call(NOON)))
    dialer.play(NOON + 60)
    site.mariadb.set_clock(NOON + 60)
    api.down()
    assert run_here(site).error is not None
    site.mariadb.execute(f"TRUNCATE `{site.database}`.vicidial_log")
    api.up()
    at(site, dialer, NOON + 120)
    assert [("NA", 0)] == [(sent["disposition"], sent["duration"]) for sent in api.records.values()]


def test_what_is_gone_and_never_got_through_is_rejected_when_others_as_old_would_be_given_up(
    site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    site.configure(max_retries="0")
    for late in (0, 10):
        dialer.begin(no_answer(new_call(NOON + late)))
    dialer.play(NOON + 60)
    ((first,),) = site.mariadb.execute(f"SELECT MIN(uniqueid) FROM `{site.database}`.vicidial_log")
    api.fault_for = lambda payload: ERROR_500 if payload["uniqueid"] == first else None
    at(site, dialer, NOON + 60)
    site.mariadb.execute(f"DELETE FROM `{site.database}`.vicidial_log WHERE uniqueid = %s", (first,))
    for hours in (7, 9):
        dialer.begin(no_answer(new_call(NOON + hours * 3600)))
        assert not site.rejected_file.exists()
        at(site, dialer, NOON + hours * 3600 + 60)
    (entry,) = site.rejected_file.read_text().splitlines()
    assert first in entry
    assert "gone from vicidial_log, and did not get through in 28800 s" in entry
    assert (3, 0) == (len(api.records), site.checkpoint_file.read_text().count("watching"))


@pytest.mark.parametrize(("theirs", "ours"), [(60, 3600), (3600, 60)], ids=["machine", "database"])
def test_a_clock_that_is_ahead_makes_no_poll_seem_later_than_it_was(theirs: int, ours: int, site: Site) -> None:
    run_at(site, NOON)
    clocks(site, NOON + theirs, NOON + ours)
    checkpoint = read_checkpoint(site.checkpoint_file, 28800)
    assert checkpoint
    assert NOON + 60 == checkpoint.polled


@pytest.mark.parametrize("left", [0, 5], ids=["all", "all but the newest"])
def test_rows_that_were_archived_before_a_run_saw_them_are_read_from_the_archive(
    left: int, site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    insert(site.mariadb, site.database, *(row(f"{NOON}.{n}", NOON + n, lead_id=n) for n in range(30)))
    name = f"`{site.database}`"
    site.mariadb.execute(f"INSERT INTO {name}.vicidial_log_archive SELECT * FROM {name}.vicidial_log")
    site.mariadb.execute(f"DELETE FROM {name}.vicidial_log WHERE start_epoch < %s", (NOON + 30 - left,))
    at(site, dialer, NOON + 60)
    assert (30, 0) == (len(api.records), api.repeats)


@pytest.mark.parametrize("wrong", [-NOON, -86400, -7200], ids=["1970", "a day back", "two hours back"])
def test_a_database_s_clock_that_jumps_back_sends_and_forgets_nothing(
    wrong: int, site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    for second in range(40):
        dialer.begin(no_answer(new_call(NOON + 15 * second)))
    at(site, dialer, NOON + 900)
    before = read_checkpoint(site.checkpoint_file, 28800)
    done = clocks(site, max(1, NOON + 960 + wrong), NOON + 960)
    assert isinstance(done.error, DatabaseError)
    assert "the database's clock says " in str(done.error)
    after = read_checkpoint(site.checkpoint_file, 28800)
    assert before
    assert after
    assert (before.handled, before.looked_until) == (after.handled, after.looked_until)
    dialer.begin(no_answer(new_call(NOON + 960)))
    at(site, dialer, NOON + 1020)
    assert (41, 0) == (len(api.records), api.repeats)


def test_a_database_s_clock_that_walks_back_to_what_was_seen_is_believed(
    site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    """The cluster was two hours ahead for a while, and was set right: rows come with the time that is true."""
    dialer.begin(no_answer(new_call(NOON + 7200)))
    at(site, dialer, NOON + 7260)
    machine = NOON + 7320
    refused = 0
    for minute in range(0, 130, 10):
        insert(site.mariadb, site.database, row(f"{NOON + 60 * minute}.7", NOON + 60 * minute, lead_id=900 + minute))
        done = clocks(site, NOON + 60 * minute + 20, machine + 60 * minute)
        refused += isinstance(done.error, DatabaseError)
    assert 11 < refused < 13
    assert 14 == len(api.records)


@pytest.mark.parametrize("ahead", [7200, 9 * 3600])
def test_a_database_s_clock_ahead_for_a_run_sends_nothing_early_or_twice_and_gives_nothing_up(
    ahead: int, site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    life = dialer.begin(agent_call(new_call(NOON), talk=120, wrap_up=300))
    for second in range(20):
        dialer.begin(no_answer(new_call(NOON + second)))
    dialer.play(NOON + 240)
    clocks(site, NOON + 240, NOON + 240)
    clocks(site, NOON + 300 + ahead, NOON + 300)
    for minute in range(6, 16):
        at(site, dialer, NOON + 60 * minute)
    assert (21, 0) == (len(api.records), api.repeats)
    assert life.final is not None
    assert life.final.status == api.records[life.final.uniqueid]["disposition"]


def test_a_first_run_between_clocks_that_disagree_does_not_guess_where_to_begin(site: Site, api: DidOptimizer) -> None:
    done = clocks(site, NOON + 8 * 3600, NOON)
    assert isinstance(done.error, DatabaseError)
    assert "where to begin is not clear" in str(done.error)
    assert not site.checkpoint_file.exists()
    assert [] == api.posts


def test_a_checkpoint_ahead_of_both_clocks_is_not_believed(site: Site) -> None:
    site.checkpoint_file.parent.mkdir()
    site.checkpoint_file.write_text(f"{NOON + 7 * 3600}\n")
    assert isinstance(clocks(site, NOON, NOON).error, CheckpointError)


def test_an_agent_s_final_status_without_an_end_is_delivered(site: Site, dialer: Dialer, api: DidOptimizer) -> None:
    """The browser's hang-up found no row with the number as it wrote it."""
    sale = row(f"{NOON}.1", NOON, status="SALE", user="agent1", end_epoch=None, lead_id=77)
    insert(site.mariadb, site.database, sale)
    for minute in range(1, 5):
        at(site, dialer, NOON + 60 * minute)
    assert [("SALE", None, NOON)] == [
        (sent["disposition"], sent["endEpoch"], sent["timestamp"]) for sent in api.records.values()
    ]


def test_of_20000_calls_gone_at_once_a_run_looks_for_a_slice(site: Site, api: DidOptimizer) -> None:
    now = int(time.time())
    site.checkpoint_file.parent.mkdir()
    lines = [f"end_epoch\t{now - 60}\t-", f"ended_after\t{now - 9000}", f"looked_until\t{now - 60}"]
    lines += [f"watching\t{now - 3600}.{number}\t{number}\t{now - 3600}\tnot_ended" for number in range(20_000)]
    site.checkpoint_file.write_text("\n".join([*lines, ""]))
    insert(
        site.mariadb, site.database, *(row(f"{now - 3600}.x{n}", now - 3600, lead_id=n) for n in range(19_500, 20_000))
    )
    before = site.mariadb.execute("SHOW GLOBAL STATUS LIKE 'Com_select'")
    assert run_here(site).error is None
    after = site.mariadb.execute("SHOW GLOBAL STATUS LIKE 'Com_select'")
    assert int(after[0][1]) - int(before[0][1]) < 100
    checkpoint = read_checkpoint(site.checkpoint_file, 28800)
    assert checkpoint
    assert 19_500 == len(checkpoint.watching)
    assert 500 == len(api.records), "their rows have come back under other ids"


def test_calls_that_a_replica_holds_back_arrive_when_it_goes_on_and_check_names_it(
    tmp_path: Path, api: DidOptimizer
) -> None:
    """Its SQL thread stands still for 40 minutes of calls, while runs go on each minute."""
    source_options = ["--server-id=1", "--log-bin=source", "--binlog-format=ROW"]
    replica_options = ["--server-id=2", "--relay-log=relay"]
    with (
        MariaDB(tmp_path / "source", options=source_options) as source,
        MariaDB(tmp_path / "replica", options=replica_options) as replica,
    ):
        source.execute("CREATE USER repl@'%%' IDENTIFIED BY 'repl'")
        source.execute("GRANT REPLICATION SLAVE ON *.* TO repl@'%%'")
        ((file, position, *_),) = source.execute("SHOW MASTER STATUS")
        replica.execute(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = %s, MASTER_USER = 'repl',"
            " MASTER_PASSWORD = 'repl', MASTER_LOG_FILE = %s, MASTER_LOG_POS = %s",
            (source.port, file, position),
        )
        replica.execute("START SLAVE")
        source.create_table("asterisk")
        now = int(time.time())
        insert(source, "asterisk", row(f"{now}.1", now - 2500))
        _until(
            lambda: (
                replica.execute("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'asterisk'")
                and replica.execute("SELECT COUNT(*) FROM asterisk.vicidial_log") == [(1,)]
            )
        )
        site = Site.of(tmp_path / "server", replica, "asterisk", api)
        replica.create_reader("cron", PASSWORD, "asterisk", READ)
        replica.execute("GRANT SLAVE MONITOR ON *.* TO cron@'%%'")
        assert run_here(site).error is None
        replica.execute("STOP SLAVE SQL_THREAD")
        insert(source, "asterisk", *(row(f"{now}.{n}", now - 60 * n, lead_id=n) for n in range(2, 41)))
        for _ in range(3):
            assert run_here(site).error is None
        assert 1 == len(api.records)
        assert "This database is a replica that stands still" in command_here(site, "check").stdout
        replica.execute("START SLAVE SQL_THREAD")
        _until(lambda: replica.execute("SELECT COUNT(*) FROM asterisk.vicidial_log") == [(40,)])
        assert run_here(site).error is None
        assert (40, 0) == (len(api.records), api.repeats)
        _until(lambda: "This database is a replica, 0 s behind" in command_here(site, "check").stdout)


def _until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_rows_that_an_alter_by_copy_holds_up_arrive(site: Site, api: DidOptimizer) -> None:
    """SELECT passes and INSERT waits while the table is rebuilt."""
    now = int(time.time())
    with site.mariadb.connect(site.database) as connection:
        fill(connection, 60_000, now - 4000, per_hour=30_000)  # older than what the first run sends
    insert(site.mariadb, site.database, row(f"{now}.1", now - 2000))
    assert run_here(site).error is None
    before = len(api.records)
    alter = f"ALTER TABLE `{site.database}`.vicidial_log FORCE, ALGORITHM = COPY"
    rebuild = threading.Thread(target=site.mariadb.execute, args=(alter,))
    rebuild.start()
    late = [row(f"{now}.{number}", now - 60 * number, lead_id=number) for number in range(27, 1, -1)]
    writer = threading.Thread(target=insert, args=(site.mariadb, site.database, *late))
    writer.start()
    while rebuild.is_alive():
        assert run_here(site).error is None
    writer.join()
    assert run_here(site).error is None
    assert before + 26 == len(api.records)
    assert 0 == api.repeats


def test_calls_whose_turn_did_not_come_in_an_outage_are_sent_as_they_were_kept_when_their_table_is_emptied(
    site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    insert(site.mariadb, site.database, *(row(f"{NOON}.{lead}", NOON, lead_id=lead) for lead in range(1, 41)))
    site.configure(max_retries="0")
    api.down()
    for minute in (1, 2):
        site.mariadb.set_clock(NOON + 60 * minute)
        assert run_here(site).error is not None
    site.mariadb.execute(f"TRUNCATE `{site.database}`.vicidial_log")
    api.up()
    at(site, dialer, NOON + 180)
    assert 40 == len(api.records)


def rewritten(site: Site, former: str, uniqueid: str) -> None:
    site.mariadb.execute(
        f"UPDATE `{site.database}`.vicidial_log SET uniqueid = %s WHERE uniqueid = %s", (uniqueid, former)
    )


def test_an_id_that_is_rewritten_while_its_call_is_on_its_way_is_still_that_call_s(
    site: Site, dialer: Dialer, api: DidOptimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that is read before its answer comes shows it under the id of today."""
    pages_of(3, monkeypatch)
    insert(site.mariadb, site.database, *(row(f"{NOON + n}.1", NOON + n, lead_id=n) for n in range(1, 30)))
    up = {"end_epoch": None, "status": "INCALL"}
    insert(site.mariadb, site.database, *(row(f"{NOON + n}.1", NOON + n, lead_id=465 + n, **up) for n in (34, 35)))
    at(site, dialer, NOON + 60)
    insert(site.mariadb, site.database, *(row(f"{NOON + n}.2", NOON + n, lead_id=1000 + n) for n in range(1, 30)))
    ended = f"status = 'SALE', end_epoch = {NOON + 70}"
    site.mariadb.execute(f"UPDATE `{site.database}`.vicidial_log SET {ended} WHERE lead_id IN (499, 500)")
    sent: list[str] = []

    def rewrite(payload: dict[str, Any]) -> Fault | None:
        if payload["leadId"] != "500":
            return None
        sent.append(payload["uniqueid"])
        rewritten(site, f"{NOON + 35}.1", f"{NOON + 35}.7")
        return slow(0.5)

    api.fault_for = rewrite
    for minute in (2, 3):
        site.mariadb.set_clock(NOON + 60 * minute)
        assert run_here(site).error is None
    assert [f"{NOON + 35}.1"] == sent


def test_an_id_that_is_rewritten_before_the_turn_of_a_call_that_failed_is_tried_by_the_next_run(
    site: Site, dialer: Dialer, api: DidOptimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.configure(max_retries="0")
    insert(site.mariadb, site.database, *(row(f"{NOON + n}.1", NOON + n, lead_id=n) for n in range(1, 6)))
    api.fault_for = lambda payload: ERROR_500 if payload["leadId"] == "3" else None
    at(site, dialer, NOON + 60)
    api.fault_for = None
    pages = CallLog.pages

    def rewrite(call_log: CallLog, *arguments: Any) -> Iterator[Page]:
        rewritten(site, f"{NOON + 3}.1", f"{NOON + 3}.7")
        return pages(call_log, *arguments)

    monkeypatch.setattr(CallLog, "pages", rewrite)
    for minute in (2, 3):
        at(site, dialer, NOON + 60 * minute)
    assert (5, 0) == (len(api.records), site.checkpoint_file.read_text().count("watching"))


def test_a_longer_overlap_than_yesterday_s_sends_nothing_again(site: Site, dialer: Dialer, api: DidOptimizer) -> None:
    insert(site.mariadb, site.database, *(row(f"{NOON + 60 * n}.1", NOON + 60 * n, lead_id=n) for n in range(1, 40)))
    at(site, dialer, NOON + 2400)
    site.configure(overlap="4200")
    insert(site.mariadb, site.database, row(f"{NOON + 2401}.1", NOON + 2401, lead_id=50))
    at(site, dialer, NOON + 2460)
    assert (40, 0) == (len(api.records), api.repeats)


def test_calls_that_wait_for_this_machine_s_clock_are_late_and_that_is_said(site: Site, api: DidOptimizer) -> None:
    run_at(site, NOON)
    insert(site.mariadb, site.database, row(f"{NOON + 60}.1", NOON + 60))
    done = clocks(site, NOON + 120, NOON - 3 * 3600)
    assert any(line.startswith("⚠ This machine's clock is behind, and calls wait until it says") for line in done.lines)
    assert done.tally
    assert (0, 3 * 3600 + 120) == (len(api.records), done.tally.lag)


def test_after_a_clock_that_walked_back_runs_go_on_from_one_another(
    site: Site, api: DidOptimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs that do not get to the end look back once, not each time."""
    pages_of(10, monkeypatch)
    run_at(site, NOON - 60)
    insert(site.mariadb, site.database, row(f"{NOON + 7200}.1", NOON + 7200, lead_id=7000))
    run_at(site, NOON + 7260)
    for minute in (1, 2):
        assert isinstance(clocks(site, NOON + 60 * minute, NOON + 7260 + 60 * minute).error, DatabaseError)
    insert(site.mariadb, site.database, *(row(f"{NOON + 60 * n}.3", NOON + 60 * n, lead_id=n) for n in range(1, 100)))
    for minute in range(122, 130):
        site.mariadb.set_clock(NOON + 60 * minute)
        run_here(site, machine=NOON + 7260 + 60 * minute, limit=35)
    assert (100, 0) == (len(api.records), api.repeats)


def test_a_call_without_an_end_that_failed_once_is_tried_by_the_next_run(site: Site, api: DidOptimizer) -> None:
    run_at(site, NOON - 60)
    site.configure(max_retries="0")
    insert(site.mariadb, site.database, row(f"{NOON}.1", status="SALE", user="agent1", end_epoch=None))
    insert(site.mariadb, site.database, row(f"{NOON}.2", lead_id=2))
    api.fault_for = lambda sent: ERROR_500 if sent["uniqueid"] == f"{NOON}.1" and len(api.posts) < 3 else None
    for minute in range(1, 6):
        site.mariadb.set_clock(NOON + 60 * minute)
        run_here(site)
    assert {f"{NOON}.1", f"{NOON}.2"} == set(api.records)


def test_a_longer_overlap_brings_the_calls_of_a_dialer_in_another_zone_at_once(
    site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    insert(site.mariadb, site.database, *(row(f"{NOON + 60 * n}.1", NOON + 60 * n, lead_id=n) for n in range(1, 40)))
    at(site, dialer, NOON + 2400)
    site.configure(overlap="4200")
    behind = {"call_date": ("FROM_UNIXTIME(%s)", NOON + 2410 - 3600)}
    insert(site.mariadb, site.database, row(f"{NOON + 2410}.1", NOON + 2410, lead_id=50, **behind))
    at(site, dialer, NOON + 2460)
    assert (40, 0) == (len(api.records), api.repeats)


def test_of_a_long_outage_no_more_is_kept_than_each_run_can_write(
    site: Site, api: DidOptimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The five that a run tries are kept, and of the others those that there is room for."""
    run_at(site, NOON - 60)
    monkeypatch.setattr("vicisync.sync.poll.MOST_KEPT", 8)
    insert(site.mariadb, site.database, *(row(f"{NOON}.{lead}", NOON, lead_id=lead) for lead in range(1, 41)))
    site.configure(max_retries="0")
    api.down()
    kept = []
    for minute in (1, 2):
        site.mariadb.set_clock(NOON + 60 * minute)
        run_here(site)
        kept.append(site.checkpoint_file.read_text().count('{"uniqueid"'))
    assert kept[0] == 5
    assert 8 <= kept[1] <= 13
