"""Every statement goes by an index, and what an idle run reads does not grow with the table."""

from pathlib import Path

import pymysql
import pytest

from rehearsal.dialer import fill
from rehearsal.did_optimizer import DidOptimizer
from rehearsal.mariadb import MariaDB
from rehearsal.site import Site
from tests.call_rows import NOON, insert, row
from tests.conftest import run_here
from vicisync.calls.readiness import Watched
from vicisync.state.checkpoint import Checkpoint, Handled, render
from vicisync.vicidial import statements
from vicisync.vicidial.pages import ROWS

STATEMENTS = {
    name: text
    for name, text in vars(statements).items()
    if name.isupper() and not name.startswith("_") and isinstance(text, str) and "vicidial_log" in text
}
"""Every statement of the module that reads the table, collected so that a new one is not forgotten."""

NOT_EXPLAINED = {"HAS_CALLED_COUNT", "OLDEST", "HAS_ARCHIVE"}
"""The first reads no row, the second one entry of an index, the third any row."""


@pytest.fixture(scope="module")
def tables(mariadb: MariaDB) -> dict[tuple[str, str, int], str]:
    """Databases by engine, character set and number of calls."""
    databases = {}
    kinds = [("MyISAM", "latin1", 50), ("MyISAM", "utf8", 20_000), ("InnoDB", "utf8", 50), ("InnoDB", "latin1", 20_000)]
    for engine, charset, calls in kinds:
        name = databases[engine, charset, calls] = f"explain_{engine}_{calls}"
        mariadb.create_table(name, engine=engine, charset=charset)
        with mariadb.connect(name) as connection:
            fill(connection, calls, NOON)
    return databases


@pytest.mark.parametrize("statement", sorted(set(STATEMENTS) - NOT_EXPLAINED))
def test_every_statement_is_indexed(statement: str, mariadb: MariaDB, tables: dict[tuple[str, str, int], str]) -> None:
    """On large and small tables, of both engines, in both character sets, for few ids and many, odd ones among them."""
    column = "uniqueid" if "uniqueid IN" in STATEMENTS[statement] else "lead_id"
    for table, database in tables.items():
        with mariadb.connect(database) as connection, connection.cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute(f"SET timestamp = {NOON}")
            cursor.execute(f"SELECT {column} AS id, CAST(call_date AS CHAR) AS second FROM vicidial_log LIMIT 500")
            rows = list(cursor.fetchall())
            odd = [{"id": "O'Brien.é" if column == "uniqueid" else 0, "second": rows[0]["second"]}]
            for wanted in (rows[:1], rows[:3] + odd, rows):
                second = wanted[0]["second"]
                parameters = {"since": NOON - 600, "rows": ROWS, "after": second, "second": second}
                parameters.update(first=rows[0]["second"], last=second)
                parameters["ids"] = [row["second" if statement == "BY_SECOND" else "id"] for row in wanted]
                cursor.execute(f"EXPLAIN {STATEMENTS[statement]}", parameters)
                (plan,) = [each for each in cursor.fetchall() if each["table"] == "vicidial_log"]
                assert plan["type"] in ("range", "ref", "eq_ref", "const"), (table, len(wanted), plan)
                assert plan["key"] is not None
                assert "filesort" not in (plan["Extra"] or ""), (table, len(wanted), plan)


def test_all_statements_are_explained_but_those_that_read_a_row_at_most() -> None:
    assert STATEMENTS.keys() > NOT_EXPLAINED
    assert all(text.lstrip().startswith("SELECT") for name, text in STATEMENTS.items() if name not in NOT_EXPLAINED)
    assert 8 <= len(STATEMENTS)


OVERLAP, WATCHED, PER_HOUR = 600, 12, 30_000


def rows_of_an_idle_run(folder: Path, mariadb: MariaDB, api: DidOptimizer, calls: int) -> tuple[int, int]:
    """Return the rows that the server reads for an idle run on a table of so many calls, and those that it must."""
    database = f"idle_{calls}"
    mariadb.create_table(database)
    with mariadb.connect(database) as connection:
        fill(connection, calls, NOON, PER_HOUR)
    talking = [row(f"{NOON}.{number}", NOON - 1000, lead_id=number, end_epoch=None) for number in range(WATCHED)]
    insert(mariadb, database, *talking)
    site = Site.of(folder / database, mariadb, database, api)
    checkpoint = Checkpoint(NOON, NOON - 3600, NOON)
    for number in range(WATCHED):
        checkpoint.watching[f"{NOON}.{number}"] = Watched(number, NOON - 1000, "not_ended")
    sql = f"SELECT uniqueid, start_epoch, lead_id FROM `{database}`.vicidial_log WHERE start_epoch >= %s"
    checkpoint.handled = {uniqueid: Handled(*rest) for uniqueid, *rest in mariadb.execute(sql, (NOON - OVERLAP,))}
    site.checkpoint_file.parent.mkdir()
    site.checkpoint_file.write_text(render(checkpoint))
    assert run_here(site).error is None
    before = mariadb.rows_read()
    done = run_here(site)
    read = mariadb.rows_read() - before
    assert done.error is None
    assert [True] == [line.startswith("✅ Nothing new since ") for line in done.lines]
    ((overlap,),) = mariadb.execute(
        f"SELECT COUNT(*) FROM `{database}`.vicidial_log WHERE call_date >= FROM_UNIXTIME(%s)", (NOON - OVERLAP,)
    )
    return read, overlap + WATCHED


def test_an_idle_run_reads_the_overlap_and_the_watched_rows_however_long_the_table(
    tmp_path: Path, mariadb: MariaDB, api: DidOptimizer
) -> None:
    """Counted by the server: index entries and rows."""
    mariadb.set_clock(NOON)
    try:
        small, needed = rows_of_an_idle_run(tmp_path, mariadb, api, 20_000)
        large, needed_of_large = rows_of_an_idle_run(tmp_path, mariadb, api, 200_000)
    finally:
        mariadb.set_clock(None)
    assert needed == needed_of_large
    assert needed == pytest.approx(PER_HOUR * OVERLAP / 3600, rel=0.01)
    assert needed <= small <= 1.2 * needed
    assert small == pytest.approx(large, rel=0.05)
