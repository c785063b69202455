"""The database's part of ``vicisync check``: each thing broken in turn on a real MariaDB, and its line."""

from __future__ import annotations

import re
import time
from typing import Callable

import pytest

from rehearsal.dialer import fill
from rehearsal.site import PASSWORD
from tests.checked_dialer import SIGNS, CheckedDialer
from vicisync.commands.check.clocks import zone_shift
from vicisync.commands.check.database import more_than_select, run_statements, scan_of
from vicisync.vicidial import statements


def may_read_another_table(dialer: CheckedDialer) -> None:
    dialer.revoke()
    dialer.sql("CREATE TABLE vicidial_list (lead_id INT)")
    dialer.sql(f"GRANT SELECT ON `{dialer.database}`.vicidial_list TO cron@'%'")


def may_read_some_columns(dialer: CheckedDialer) -> None:
    dialer.revoke()
    dialer.sql(f"GRANT SELECT (uniqueid, call_date, lead_id) ON `{dialer.database}`.vicidial_log TO cron@'%'")


def no_call_date_index(dialer: CheckedDialer) -> None:
    dialer.sql("ALTER TABLE vicidial_log DROP INDEX call_date")


def no_lead_index(dialer: CheckedDialer) -> None:
    dialer.sql("ALTER TABLE vicidial_log DROP INDEX lead_id")


def no_primary_key(dialer: CheckedDialer) -> None:
    dialer.sql("ALTER TABLE vicidial_log DROP PRIMARY KEY")


def keys_switched_off(dialer: CheckedDialer) -> None:
    dialer.sql("ALTER TABLE vicidial_log DISABLE KEYS")


@pytest.mark.parametrize(
    ("breakage", "line"),
    [
        *(
            pytest.param(
                breakage,
                "❌ Account 'cron'@'%' may not read {table}, or there is none"
                " → correct VARDB_database ({conf} line 4), or as the database's root:"
                " GRANT SELECT ON {table} TO 'cron'@'%';",
                id=name,
            )
            for breakage, name in (
                (CheckedDialer.revoke, "no grant"),
                (may_read_another_table, "grant on another table"),
                (may_read_some_columns, "grant on some columns"),
            )
        ),
        pytest.param(
            no_call_date_index,
            "❌ {table} has no index call_date on call_date, and would be locked for seconds"
            " → when nobody calls: ALTER TABLE {table} ADD INDEX call_date (call_date);",
            id="no index on call_date",
        ),
        pytest.param(
            no_lead_index,
            "❌ {table} has no index lead_id on lead_id, and would be locked for seconds"
            " → when nobody calls: ALTER TABLE {table} ADD INDEX lead_id (lead_id);",
            id="no index on lead_id",
        ),
        pytest.param(
            no_primary_key,
            "❌ {table} has no index PRIMARY on uniqueid, and would be locked for seconds"
            " → when nobody calls: ALTER TABLE {table} ADD PRIMARY KEY (uniqueid);",
            id="no primary key",
        ),
    ],
)
def test_what_a_run_lacks_in_the_database_is_told_with_the_statement_that_mends_it(
    breakage: Callable[[CheckedDialer], None], line: str, dialer: CheckedDialer
) -> None:
    breakage(dialer)
    code, lines = dialer.check()
    told = [found for found in lines[:-1] if found.startswith(SIGNS[1:])]
    assert (3, [line.format(table=f"{dialer.database}.vicidial_log", conf=dialer.site.astguiclient_conf)]) == (
        code,
        told,
    )
    assert "✓ It takes the key" in lines
    dialer.sql(told[0].rpartition(": ")[2])
    assert (0, []) == dialer.worse()


def test_indexes_that_are_switched_off_are_told(dialer: CheckedDialer) -> None:
    keys_switched_off(dialer)
    code, worse = dialer.worse()
    assert 3 == code
    assert ["lead_id", "call_date"] == sorted((line.split()[3] for line in worse), reverse=True)
    dialer.sql(worse[0].rpartition(": ")[2])
    assert (0, []) == dialer.worse()


def test_an_index_that_a_column_of_another_type_makes_useless_is_told(dialer: CheckedDialer) -> None:
    dialer.sql("ALTER TABLE vicidial_log MODIFY call_date VARCHAR(19)")
    table = f"{dialer.database}.vicidial_log"
    code, worse = dialer.worse()
    assert (3, 1) == (code, len(worse))
    assert re.fullmatch(
        rf"❌ \d statements? would read {table} without an index \(type (ALL|index)\)"
        rf" → compare it with VICIdial's own: SHOW CREATE TABLE {table};",
        worse[0],
    )


def test_a_grant_beyond_reading_is_a_warning_that_shows_no_password(dialer: CheckedDialer) -> None:
    dialer.sql(f"GRANT INSERT, UPDATE (status), SELECT ON `{dialer.database}`.vicidial_log TO cron@'%'")
    code, worse = dialer.worse()
    table = f"`{dialer.database}`.`vicidial_log`"
    assert 0 == code
    assert 1 == len(worse)
    assert worse[0].startswith(f"⚠ Account 'cron'@'%' may do more than read calls: INSERT, UPDATE on {table} → ")
    assert "IDENTIFIED" not in worse[0]


def test_a_missing_column_is_told_by_name(dialer: CheckedDialer) -> None:
    dialer.sql("ALTER TABLE vicidial_log DROP COLUMN user_group")
    table = f"{dialer.database}.vicidial_log"
    cure = f"name VICIdial's own database at {dialer.site.astguiclient_conf} line 4"
    assert (3, [f"❌ {table} has no column user_group → {cure}"]) == dialer.worse()


def test_a_table_from_before_vicidial_2_8_is_well(dialer: CheckedDialer) -> None:
    dialer.sql("ALTER TABLE vicidial_log DROP COLUMN called_count")
    code, lines = dialer.check()
    assert (0, "✅ All is well") == (code, lines[-1])
    assert "✓ All its columns are there, but called_count (before VICIdial 2.8): null" in lines


def test_an_empty_table_is_well(dialer: CheckedDialer) -> None:
    dialer.sql("TRUNCATE vicidial_log")
    code, lines = dialer.check()
    assert (0, "✅ All is well") == (code, lines[-1])
    assert "✓ No calls yet; with some, their time zone can be compared with the database's" in lines


def wrong_password(dialer: CheckedDialer) -> None:
    dialer.rewrite(dialer.site.astguiclient_conf, PASSWORD, "another")


def nobody_listens(dialer: CheckedDialer) -> None:
    dialer.rewrite(dialer.site.astguiclient_conf, f"VARDB_port => {dialer.site.mariadb.port}", "VARDB_port => 1")


def no_such_database(dialer: CheckedDialer) -> None:
    dialer.sql("GRANT SELECT ON *.* TO cron@'%'")
    dialer.rewrite(dialer.site.astguiclient_conf, dialer.database, "asterix")


@pytest.mark.parametrize(
    ("breakage", "text"),
    [
        pytest.param(wrong_password, r"The database at \S+ refuses user cron; check VARDB_pass", id="wrong password"),
        pytest.param(nobody_listens, r"Cannot reach the database at 127\.0\.0\.1:1; is it running", id="down"),
        pytest.param(no_such_database, r"There is no asterix\.vicidial_log such as VICIdial makes", id="no database"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_and_the_rest_is_looked_at(
    breakage: Callable[[CheckedDialer], None], text: str, dialer: CheckedDialer
) -> None:
    try:
        breakage(dialer)
        code, lines = dialer.check()
    finally:
        dialer.sql("REVOKE SELECT ON *.* FROM cron@'%'")
    told = [line for line in lines[:-1] if line.startswith(SIGNS[1:])]
    assert (3, 1) == (code, len(told)), told
    assert re.match(rf"❌ {text}.* → to see it from the database's own client: mysql -h 127\.0\.0\.1 -P ", told[0])
    assert "✓ It takes the key" in lines


def test_a_database_that_is_named_by_its_socket_is_told_by_it(dialer: CheckedDialer) -> None:
    dialer.rewrite(dialer.site.astguiclient_conf, "VARDB_server => 127.0.0.1", "VARDB_server => /nowhere.sock")
    done = dialer.site.vicisync("check")
    (line,) = [line for line in done.stdout.splitlines() if "database at" in line]
    assert 3 == done.returncode
    assert line.startswith("❌ Cannot reach the database at /nowhere.sock; is it running")
    assert line.endswith(f" mysql -S /nowhere.sock -u cron -p {dialer.database}")


def test_a_locked_table_does_not_hold_the_check_up(dialer: CheckedDialer) -> None:
    dialer.site.configure(db_timeout="1")
    with dialer.site.mariadb.connect(dialer.database) as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLES vicidial_log WRITE")
        code, lines = dialer.check()
    assert 3 == code
    assert any("was not readable within 1 s, held up by OPTIMIZE" in line for line in lines)
    assert "✓ It takes the key" in lines


@pytest.mark.parametrize(("ahead", "words"), [(60, "60 s ahead of"), (-90, "90 s behind"), (5, "")])
def test_clocks_that_differ_by_more_than_vicidial_bears_are_a_warning(
    ahead: int, words: str, dialer: CheckedDialer
) -> None:
    dialer.site.mariadb.set_clock(int(time.time()) + ahead)
    code, worse = dialer.worse()
    assert 0 == code
    assert bool(words) == bool(worse)
    if words:
        number = int(re.findall(r"(\d+) s ", worse[0])[0])
        assert abs(number - abs(ahead)) <= 3
        assert f"{words.split(' s ')[1]} this machine's; vicisync goes by the database's → on both" in worse[0]


ALL = "UPDATE vicidial_log SET call_date = call_date {} INTERVAL {} MINUTE"
SOME = ALL + " ORDER BY uniqueid DESC LIMIT 3"


@pytest.mark.parametrize(
    ("sql", "settings", "code", "line"),
    [
        pytest.param(
            ALL.format("-", 300),
            {},
            3,
            "❌ .* 50 of the newest 50 calls is written 5 h behind .*; runs do not find such calls → .*overlap=18600",
            id="behind",
        ),
        pytest.param(
            SOME.format("-", 30),
            {},
            3,
            "❌ call_date of 3 of the newest 50 calls is written 0.5 h behind .*overlap=2400",
            id="one dialer of many behind",
        ),
        pytest.param(
            ALL.format("-", 300),
            {"overlap": "18600"},
            0,
            "⚠ .* 5 h behind .*; the overlap of 18600 s finds them, .* → give the machine",
            id="behind, and found by a long overlap",
        ),
        pytest.param(
            SOME.format("+", 345),
            {},
            0,
            "⚠ .* of 3 of the newest 50 calls .* 5.75 h ahead of .*; each run reads .* → .*timedatectl",
            id="Nepal ahead",
        ),
        pytest.param(SOME.format("-", 7), {}, 0, None, id="seven minutes late is VICIdial's audit"),
    ],
)
def test_rows_of_another_time_zone_are_told_by_what_they_do_to_a_run(
    sql: str, settings: dict[str, str], code: int, line: str | None, dialer: CheckedDialer
) -> None:
    dialer.sql(sql)
    dialer.site.configure(**settings)
    found, worse = dialer.worse()
    assert code == found
    assert bool(line) == bool(worse)
    if line:
        assert re.match(line, worse[0]), worse
    assert len(worse) <= 1


def test_calls_without_a_start_are_compared_with_nothing(dialer: CheckedDialer) -> None:
    dialer.sql("UPDATE vicidial_log SET start_epoch = 0 LIMIT 3")
    agreeing = "✓ call_date and start_epoch of the newest 47 calls agree, time zone "
    assert 1 == sum(line.startswith(agreeing) for line in dialer.check()[1])


def test_one_dialer_behind_is_found_among_many_calls_with_later_call_dates(dialer: CheckedDialer) -> None:
    with dialer.site.mariadb.connect(dialer.database) as connection:
        fill(connection, 300, int(time.time()) - 2, first_lead=9000)
    dialer.sql(SOME.format("-", 300))
    code, worse = dialer.worse()
    assert (3, 1) == (code, len(worse))
    assert worse[0].startswith("❌ call_date of 3 of the newest 100 calls is written 5 h behind ")


@pytest.mark.parametrize(("overlap", "arrives"), [("600", False), ("18600", True)])
def test_runs_lose_or_find_calls_of_a_time_zone_behind_as_the_check_says(
    overlap: str, arrives: bool, dialer: CheckedDialer
) -> None:
    dialer.site.configure(overlap=overlap)
    assert 0 == dialer.site.vicisync("run").returncode
    with dialer.site.mariadb.connect(dialer.database) as connection:
        fill(connection, 1, int(time.time()) - 1, first_lead=9000)
    dialer.sql("UPDATE vicidial_log SET call_date = call_date - INTERVAL 300 MINUTE WHERE lead_id = 9000")
    assert 0 == dialer.site.vicisync("run").returncode
    assert arrives == ("9000" in {record["leadId"] for record in dialer.api.records.values()})
    assert (0 if arrives else 3) == dialer.check()[0]


# Pure decisions


def test_every_statement_of_a_run_that_reads_the_table_is_explained() -> None:
    reading = {text for name, text in vars(statements).items() if name.isupper() and "FROM vicidial_log" in str(text)}
    explained = set(run_statements(before_2_8=False)) | set(run_statements(before_2_8=True))
    assert reading - {statements.HAS_CALLED_COUNT} - explained == {statements._CALL_ROW, statements._SECONDS}


@pytest.mark.parametrize(
    ("plan", "how"),
    [
        ((1, "SIMPLE", "vicidial_log", "range", None, "call_date", "6", None, 9, "Using where"), ""),
        ((1, "SIMPLE", "vicidial_log", "ALL", None, None, None, None, 9, "Using where"), "type ALL"),
        ((1, "SIMPLE", "vicidial_log", "index", None, "PRIMARY", None, None, 9, None), "type index"),
        ((1, "SIMPLE", "vicidial_log", "range", None, "x", None, None, 9, "Using where; Using filesort"), "filesort"),
        ((1, "SIMPLE", None, None, None, None, None, None, None, "Impossible WHERE noticed"), ""),
        ((1, "SIMPLE", "vicidial_log", None, "range", None, "call_date", "6", None, 9, 100.0, None), ""),
        ((1, "SIMPLE", "vicidial_log", None, "ALL", None, None, None, None, 9, 100.0, None), "type ALL"),
    ],
    ids=["range", "all", "whole index", "sorted", "empty table", "MySQL's range", "MySQL's all"],
)
def test_a_plan_that_reads_or_sorts_the_whole_table_is_recognized(plan: tuple[object, ...], how: str) -> None:
    assert how == scan_of(plan)


@pytest.mark.parametrize(
    ("grants", "more"),
    [
        (["GRANT USAGE ON *.* TO `c`@`%` IDENTIFIED BY PASSWORD '*94BDCEBE'"], []),
        (["GRANT SELECT ON `asterisk`.* TO `c`@`%`", "GRANT SELECT (`user`) ON `a`.`b` TO `c`@`%`"], []),
        (
            ["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"],
            ["ALL PRIVILEGES, GRANT OPTION on *.*"],
        ),
        (["GRANT SELECT, INSERT, UPDATE (`a`, `b`) ON `a`.`b` TO `c`@`%`"], ["INSERT, UPDATE on `a`.`b`"]),
        (["GRANT `reader` TO `c`@`%`", "SET DEFAULT ROLE `reader` FOR `c`@`%`"], []),
        (["GRANT EXECUTE ON PROCEDURE `a`.`p` TO `c`@`%`"], ["EXECUTE on PROCEDURE `a`.`p`"]),
    ],
    ids=["usage", "select", "everything", "columns", "roles", "procedure"],
)
def test_what_an_account_may_do_beyond_reading_is_found_in_its_grants(grants: list[str], more: list[str]) -> None:
    assert more == more_than_select(grants)


@pytest.mark.parametrize(
    ("apart", "shift"),
    [
        (0, 0),
        (7, 0),
        (-420, 0),
        (3600, 3600),
        (-18003, -18000),
        (20700, 20700),
        (3661, 0),
        (1000, 0),
        (93600, 93600),
        (90000000, 0),
    ],
)
def test_only_whole_quarters_of_an_hour_are_taken_for_a_time_zone(apart: int, shift: int) -> None:
    assert shift == zone_shift(apart)
