"""VICIdial's database: the login and what it may read, the table and its indexes, and what its clocks say.

Everything is asked in small statements, each bounded; an account that may only SELECT from vicidial_log can ask them
all, since information_schema shows everyone what they may read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence

from vicisync.calls.call import Call
from vicisync.commands.check.clocks import clock, zones
from vicisync.commands.check.finding import Finding, broken, fine
from vicisync.errors import DatabaseError
from vicisync.settings.settings import Settings
from vicisync.vicidial.call_log import CallLog
from vicisync.vicidial.errors import lacks_grant

SAMPLE = 100
"""Calls of which call_date and start_epoch are compared."""

INDEXES = {"PRIMARY": "uniqueid", "call_date": "call_date", "lead_id": "lead_id"}
"""The indexes that the statements of a run name, and the column that each begins with."""

_SERVER = """
SELECT VERSION(), CURRENT_USER(), UNIX_TIMESTAMP(),
       IF(@@session.time_zone = 'SYSTEM', @@system_time_zone, @@session.time_zone)"""

_ENGINE = """
SELECT COALESCE(engine, table_type) FROM information_schema.tables
 WHERE table_schema = %(database)s AND table_name = 'vicidial_log'"""

_COLUMNS = """
SELECT column_name FROM information_schema.columns
 WHERE table_schema = %(database)s AND table_name = 'vicidial_log'"""

_INDEXES = """
SELECT index_name, column_name, comment FROM information_schema.statistics
 WHERE table_schema = %(database)s AND table_name = 'vicidial_log' AND seq_in_index = 1"""

# Ids begin with the epoch of their call. By call_date, the calls of a dialer whose clock face is behind would not be
# among the newest. Epochs are turned into wall time, and not the other way round, as autumn has an hour twice.
_NEWEST = """
SELECT TIMESTAMPDIFF(SECOND, FROM_UNIXTIME(NULLIF(start_epoch, 0)), call_date)
  FROM vicidial_log FORCE INDEX (PRIMARY)
 WHERE uniqueid >= '' ORDER BY uniqueid DESC LIMIT %(sample)s"""


def findings(settings: Settings) -> Iterator[Finding]:
    """Check the database, as far as the login gets."""
    host, port = settings.db_host, settings.db_port
    is_socket = host.startswith("/")
    try:
        with CallLog(settings, select_database=False) as call_log:
            version, account, epoch, zone = call_log.read(_SERVER)[0]
            user, _, of_host = account.rpartition("@")
            account = f"'{user}'@'{of_host}'"
            yield fine(f"{host if is_socket else f'{host}:{port}'}: server {version}, account {account}")
            yield clock(epoch - time.time())
            yield from _of_table(settings, call_log, account, zone)
    except DatabaseError as error:
        client = (
            f"mysql {f'-S {host}' if is_socket else f'-h {host} -P {port}'} -u {settings.db_user} -p {settings.db_name}"
        )
        yield broken(error.exit_code, str(error), f"to see it from the database's own client: {client}")


def _of_table(settings: Settings, call_log: CallLog, account: str, zone: str) -> Iterator[Finding]:
    names = {"database": settings.db_name}
    database = _quoted(settings.db_name)
    table = f"{database}.vicidial_log"

    def unreadable(what: str) -> Finding:
        correct = f"correct VARDB_database ({settings.sources['db_name']})"
        grant = f"as the database's root: GRANT SELECT ON {table} TO {account};"
        text = f"Account {account} may not read {what}, or there is none"
        return broken(DatabaseError.exit_code, text, f"{correct}, or {grant}")

    try:
        call_log.read(f"USE {database}")
        call_log.read("SELECT 1 FROM vicidial_log LIMIT 1")
    except DatabaseError as error:
        if not lacks_grant(error):
            raise
        yield unreadable(table)
        return
    yield fine(f"{table} can be read, engine {call_log.read(_ENGINE, names)[0][0]}")
    columns = {str(name).lower() for (name,) in call_log.read(_COLUMNS, names)}
    if lacking := [name for name in Call._fields if name not in columns and name != "called_count"]:
        yield unreadable(f"column {', '.join(lacking)} of {table}")  # neither would be listed
        return
    before_2_8 = "" if "called_count" in columns else ", but called_count (before VICIdial 2.8): null"
    yield fine(f"All its columns are there{before_2_8}")
    if missing := list(_missing_indexes(table, call_log.read(_INDEXES, names))):
        yield from missing
        return
    yield fine(f"Its indexes are there: {', '.join(INDEXES)}")
    newest = [apart for (apart,) in call_log.read(_NEWEST, {"sample": SAMPLE})]
    yield from zones(newest, zone, settings.overlap)


def _missing_indexes(table: str, found: Iterable[Sequence[object]]) -> Iterator[Finding]:
    indexes = {str(name).upper(): (str(column).lower(), str(comment)) for name, column, comment in found}
    for name, column in INDEXES.items():
        its_column, comment = indexes.get(name.upper(), ("", ""))
        if its_column != column:
            text = f"{table} has no index {name} on {column}, and would be locked for seconds"
            key = f"ADD PRIMARY KEY ({column})" if name == "PRIMARY" else f"ADD INDEX {name} ({column})"
        elif "disabled" in comment:
            text, key = f"The index {name} of {table} is switched off", "ENABLE KEYS"
        else:
            continue
        yield broken(DatabaseError.exit_code, text, f"when nobody calls: ALTER TABLE {table} {key};")


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else "`" + name.replace("`", "``") + "`"
