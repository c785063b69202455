"""All that vicisync needs of the database is SELECT on one table, and it can do no more even where it is given more."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rehearsal.dialer import fill
from rehearsal.did_optimizer import DidOptimizer, answer
from rehearsal.mariadb import MariaDB
from rehearsal.site import PASSWORD, Site
from tests.call_rows import insert, row
from tests.conftest import Done, finish_calls, run_here
from vicisync.errors import DatabaseError
from vicisync.settings.settings import Settings, load_settings
from vicisync.vicidial.call_log import CallLog

NEVER = answer(400, body=b'{"success": false, "error": "Never this"}')

READS = ("SELECT", "SHOW", "EXPLAIN", "DESCRIBE", "SET SESSION", "SET AUTOCOMMIT", "SET NAMES", "USE")
"""How a statement begins that changes nothing but the session itself."""


@pytest.fixture
def calls(site: Site) -> int:
    """Calls to send, over more than one batch; the account may read their table and nothing else."""
    finish_calls(site, 30)
    site.configure(batch_size="7")
    for host in ("%", "localhost"):
        granted = [grant for (grant,) in site.mariadb.execute("SHOW GRANTS FOR cron@%s", (host,))]
        assert [
            f"GRANT USAGE ON *.* TO `cron`@`{host}` IDENTIFIED BY PASSWORD",
            f"GRANT SELECT ON `{site.database}`.`vicidial_log` TO `cron`@`{host}`",
        ] == [grant.partition(" '*")[0] for grant in granted]
    return 30


@pytest.fixture
def statements(mariadb: MariaDB) -> Iterator[Callable[[], list[str]]]:
    """Returns every statement that the account has sent so far in the test."""
    mariadb.execute("SET GLOBAL log_output = 'TABLE'")
    mariadb.execute("TRUNCATE mysql.general_log")
    mariadb.execute("SET GLOBAL general_log = ON")
    sent = (
        "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log"
        " WHERE command_type IN ('Query', 'Prepare', 'Execute') AND user_host LIKE 'cron%%'"
    )
    yield lambda: [str(argument) for (argument,) in mariadb.execute(sent)]
    mariadb.execute("SET GLOBAL general_log = OFF")
    mariadb.execute("SET GLOBAL log_output = 'FILE'")


def test_every_command_does_its_work_with_select_on_the_one_table_and_sends_nothing_but_reads(
    site: Site, api: DidOptimizer, calls: int, statements: Callable[[], list[str]]
) -> None:
    assert 0 == site.vicisync("run", "--dry-run").returncode
    api.fault_for = lambda payload: NEVER if str(payload["uniqueid"]).endswith("3") else None
    assert 6 == site.vicisync("run").returncode
    api.fault_for = None
    assert 0 == site.vicisync("retry-rejected").returncode
    assert calls == len(api.records)
    status = site.vicisync("status", "--max-lag", "3600")
    assert (0, "") == (status.returncode, status.stderr)
    assert "denied" not in status.stdout
    checked = site.vicisync("check").stdout
    assert "❌" not in checked
    assert "vicidial_log TO" not in checked, "it is granted"
    assert 0 == site.vicisync("reset-checkpoint", "--to", "2h", "--yes").returncode
    assert 0 == site.vicisync("run").returncode
    sent = statements()
    assert 20 < len(sent)
    assert [] == [sql for sql in sent if not sql.lstrip().upper().startswith(READS)]
    assert [] == [sql for sql in sent if " INTO OUTFILE" in sql.upper() or " FOR UPDATE" in sql.upper()]


@pytest.fixture
def almighty(site: Site) -> Settings:
    """Settings whose account may do everything."""
    for host in ("%", "localhost"):
        site.mariadb.execute("GRANT ALL ON *.* TO cron@%s", (host,))
    return load_settings(site.astguiclient_conf, site.dids_conf, {})


@pytest.mark.parametrize("engine", ["MyISAM", "InnoDB"])
@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE vicidial_log SET status = 'SALE'",
        "DELETE FROM vicidial_log",
        "INSERT INTO vicidial_log (uniqueid, lead_id) VALUES ('1.1', 1)",
        "ALTER TABLE vicidial_log DROP status",
        "DROP TABLE vicidial_log",
    ],
)
def test_the_session_can_write_nothing_though_its_account_may(
    sql: str, engine: str, site: Site, almighty: Settings, mariadb: MariaDB
) -> None:
    mariadb.execute(f"ALTER TABLE `{site.database}`.vicidial_log ENGINE = {engine}")
    finish_calls(site, 3)
    before = mariadb.execute(f"SELECT * FROM `{site.database}`.vicidial_log")
    with CallLog(almighty) as log, pytest.raises(DatabaseError, match="READ ONLY transaction"):
        log.read(sql)
    assert before == mariadb.execute(f"SELECT * FROM `{site.database}`.vicidial_log")


def test_a_server_without_read_only_sessions_serves(site: Site, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those before MariaDB 10.0 and MySQL 5.6, it finds the statement ill-formed."""
    monkeypatch.setattr("vicisync.vicidial.statements.READ_ONLY", "SET SESSION TRANSACTION READ NOTHING")
    assert (None, calls, 0) == came_of(run_here(site))


INJECTIONS = [
    "1' OR '1'='1", "1\\' OR 1=1 -- ", '1" OR "1"="1', "1'); DELETE -- ", "%s %(ids)s %", "1\\", "1\x00'/*",
]  # fmt: skip


def came_of(done: Done) -> tuple[object, int, int]:
    """The error, and how many calls were delivered and how many wait."""
    assert done.tally is not None, done.error
    return done.error, done.tally.delivered, done.tally.waiting


@pytest.mark.parametrize("sql_mode", ["", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES,ANSI_QUOTES"])
def test_an_id_made_to_end_a_statement_is_one_id_and_no_more(
    sql_mode: str, tmp_path: Path, mariadb: MariaDB, database: str, api: DidOptimizer
) -> None:
    """It is looked up again by its id and read whole by it, in every way in which the server may read quotes."""
    mariadb.execute("SET GLOBAL sql_mode = %s", (sql_mode,))
    try:
        site = Site.of(tmp_path / "server", mariadb, database, api)
        now = int(time.time())
        with mariadb.connect(database) as connection:
            fill(connection, 20, now - 200, per_hour=3600)
        talking = {"end_epoch": None, "status": "INCALL"}
        rows = (row(uniqueid, now - 60, lead_id=lead, **talking) for lead, uniqueid in enumerate(INJECTIONS, 1))
        insert(mariadb, database, *rows)
        assert (None, 20, len(INJECTIONS)) == came_of(run_here(site))
        ended = f"UPDATE `{database}`.vicidial_log SET status = 'NA', end_epoch = %s WHERE lead_id < 100"
        mariadb.execute(ended, (now,))
        assert (None, len(INJECTIONS), 0) == came_of(run_here(site))
        assert set(INJECTIONS) == {post.payload["uniqueid"] for post in api.posts[20:]}
        assert PASSWORD not in str(api.posts)
    finally:
        mariadb.execute("SET GLOBAL sql_mode = ''")
