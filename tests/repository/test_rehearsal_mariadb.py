"""The rehearsal's MariaDB behaves as a VICIdial server's does."""

from __future__ import annotations

import time
from pathlib import Path

import pymysql
import pytest

from rehearsal import mariadb as module
from rehearsal.mariadb import MariaDB, MariaDBMissing

NOON_IN_NEW_YORK = 1729785600  # 2024-10-24 12:00:00 EDT
INSERT = "INSERT INTO vicidial_log (uniqueid, lead_id) VALUES (%s, 1)"


def test_it_runs_on_the_time_zone_it_was_given(tmp_path: Path) -> None:
    """NOW() and FROM_UNIXTIME() follow the zone, a clock that was set, and the hour that autumn repeats."""
    with MariaDB(tmp_path, time_zone="America/New_York") as server:
        server.create_table("asterisk")
        server.create_reader("cron", "1234", "asterisk")
        server.set_clock(NOON_IN_NEW_YORK)
        with server.connect(user="cron", password="1234") as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT DATE_FORMAT(NOW(), '%H:%i'), FROM_UNIXTIME(1730611800) = FROM_UNIXTIME(1730615400),"
                " UNIX_TIMESTAMP()"
            )
            row = cursor.fetchone()

    assert row == ("12:00", 1, NOON_IN_NEW_YORK)


def test_a_misspelt_time_zone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="America/New_Yorck"):
        MariaDB(tmp_path, time_zone="America/New_Yorck")


def test_the_clock_stands_still_for_all_but_root_until_it_is_let_go(mariadb: MariaDB, database: str) -> None:
    mariadb.create_reader("clock", "1234", database)

    def now() -> int:
        with mariadb.connect(user="clock", password="1234") as connection, connection.cursor() as cursor:
            cursor.execute("SELECT UNIX_TIMESTAMP()")
            return int(cursor.fetchall()[0][0])

    mariadb.set_clock(NOON_IN_NEW_YORK)
    try:
        stopped = now()
        root_sees = mariadb.execute("SELECT UNIX_TIMESTAMP()")[0][0]
    finally:
        mariadb.set_clock(None)

    assert stopped == NOON_IN_NEW_YORK
    assert root_sees == pytest.approx(time.time(), abs=5)
    assert now() == pytest.approx(time.time(), abs=5)


@pytest.mark.parametrize("end", [MariaDB.stop, MariaDB.kill], ids=["stopped", "killed"])
def test_rows_and_port_outlive_a_restart(tmp_path: Path, end: object) -> None:
    with MariaDB(tmp_path) as server:
        server.create_table("asterisk")
        with server.connect("asterisk") as connection, connection.cursor() as cursor:
            cursor.execute(INSERT, ("1729785600.1",))
        port = server.port
        assert callable(end)
        end(server)
        with pytest.raises(pymysql.err.OperationalError):
            server.connect()
        server.start()

        assert server.port == port
        assert server.execute("SELECT uniqueid FROM asterisk.vicidial_log") == [("1729785600.1",)]


def test_a_folder_too_deep_for_a_unix_socket_does_not_matter(tmp_path: Path) -> None:
    with MariaDB(tmp_path / ("deep" * 20) / ("deeper" * 10)) as server:
        socket = server.socket
        assert server.execute("SELECT 1") == [(1,)]

    assert not socket.parent.exists()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"unknown variable 'no-such-option=1'"):
        MariaDB(tmp_path, options=["--no-such-option=1"]).start()


def test_a_machine_without_mariadb_hears_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(module, "SERVER_FOLDERS", ())

    with pytest.raises(MariaDBMissing, match=r"apt-get install mariadb-server.*zypper install mariadb"):
        MariaDB(tmp_path).start()


def test_the_reader_may_read_the_call_log_and_nothing_else(mariadb: MariaDB, database: str) -> None:
    mariadb.create_reader("reader", "it's 1234", database)

    with (
        pymysql.connect(
            host=mariadb.host, port=mariadb.port, user="reader", password="it's 1234", database=database
        ) as connection,
        connection.cursor() as cursor,
    ):
        assert cursor.execute("SELECT * FROM vicidial_log") == 0
        with pytest.raises(pymysql.err.OperationalError, match="INSERT command denied"):
            cursor.execute(INSERT, ("1729785600.1",))
        cursor.execute("SHOW GRANTS")
        grants = [grant for (grant,) in cursor.fetchall()]

    assert len(grants) == 2  # USAGE, which carries the password, and:
    assert grants[1] == f"GRANT SELECT ON `{database}`.`vicidial_log` TO `reader`@`%`"


def test_root_is_admitted_by_the_socket_only(mariadb: MariaDB) -> None:
    with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
        pymysql.connect(host=mariadb.host, port=mariadb.port, user="root", password="")


@pytest.mark.parametrize(
    ("database", "options", "engine", "charset", "columns"),
    [
        ("kind_1", {}, "MyISAM", "latin1", 18),
        ("kind_2", {"engine": "InnoDB", "charset": "utf8mb3"}, "InnoDB", "utf8mb3", 18),
        ("kind_3", {"called_count": False}, "MyISAM", "latin1", 17),
    ],
    ids=["standard", "InnoDB and UTF-8", "before 2.8"],
)
def test_the_table_comes_in_the_kinds_that_sites_have(
    mariadb: MariaDB, database: str, options: dict[str, bool], engine: str, charset: str, columns: int
) -> None:
    mariadb.create_table(database, **options)  # type: ignore[arg-type]

    found = mariadb.execute(
        "SELECT engine, SUBSTRING_INDEX(table_collation, '_', 1), (SELECT COUNT(*) FROM information_schema.columns c"
        " WHERE c.table_schema = t.table_schema) FROM information_schema.tables t WHERE table_schema = %s",
        (database,),
    )
    assert found == [(engine, charset, columns)]


def test_what_does_not_fit_is_cut_as_on_a_vicidial_server(mariadb: MariaDB, database: str) -> None:
    """VICIdial needs an empty sql_mode; a strict server would refuse this status instead of cutting it."""
    with mariadb.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO vicidial_log (uniqueid, lead_id, status) VALUES ('1.1', 1, 'TOOLONG')")
        cursor.execute("SELECT status, term_reason FROM vicidial_log")
        assert cursor.fetchall() == (("TOOLON", "NONE"),)


def test_rows_read_counts_what_a_statement_reads_but_not_itself(mariadb: MariaDB, database: str) -> None:
    with mariadb.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO vicidial_log (uniqueid, lead_id) SELECT CONCAT('1729785600.', seq), seq FROM seq_1_to_100"
        )
        idle = mariadb.rows_read()
        assert mariadb.rows_read() == idle

        cursor.execute("SELECT MAX(length_in_sec) FROM vicidial_log")
        scanned = mariadb.rows_read() - idle
        cursor.execute("SELECT status FROM vicidial_log WHERE lead_id = 50")
        looked_up = mariadb.rows_read() - idle - scanned

    assert scanned == 101  # the rows, and the end
    assert looked_up == 2
