"""VICIdial's database: the login and what it may do, the table and its indexes, and what its clocks say.

Everything is asked in small statements, each bounded; an account that may only SELECT from vicidial_log can ask them
all, since information_schema shows everyone what they may read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from vicisync.calls.call import Call
from vicisync.commands.check.clocks import clock, zones
from vicisync.commands.check.finding import Finding, broken, fine, warning
from vicisync.errors import DatabaseError
from vicisync.report import counted
from vicisync.settings.settings import Settings
from vicisync.vicidial import statements
from vicisync.vicidial.call_log import SECONDS, CallLog
from vicisync.vicidial.errors import lacks_grant

SAMPLE = 100
"""Calls of which call_date and start_epoch are compared."""

INDEXES = {"PRIMARY": "uniqueid", "call_date": "call_date", "lead_id": "lead_id"}
"""The indexes that the statements name, and the column that each begins with."""

_SERVER = """
SELECT VERSION(), CURRENT_USER(), UNIX_TIMESTAMP(),
       IF(@@session.time_zone = 'SYSTEM', @@system_time_zone, @@session.time_zone)"""

_GRANTS = "SHOW GRANTS"

_ANY_ROW = "SELECT 1 FROM vicidial_log LIMIT 1"

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
SELECT uniqueid, lead_id, CAST(call_date AS CHAR),
       TIMESTAMPDIFF(SECOND, FROM_UNIXTIME(NULLIF(start_epoch, 0)), call_date)
  FROM vicidial_log FORCE INDEX (PRIMARY)
 WHERE uniqueid >= '' ORDER BY uniqueid DESC LIMIT %(sample)s"""


def findings(settings: Settings) -> Iterator[Finding]:
    """Look at the database, as far as the login gets."""
    try:
        with CallLog(settings, select_database=False) as call_log:
            yield from _Database(settings, call_log).findings()
    except DatabaseError as error:
        yield broken(error.exit_code, str(error), f"to see it from the database's own client: {_client(settings)}")


def _client(settings: Settings) -> str:
    if settings.db_host.startswith("/"):
        return f"mysql -S {settings.db_host} -u {settings.db_user} -p {settings.db_name}"
    return f"mysql -h {settings.db_host} -P {settings.db_port} -u {settings.db_user} -p {settings.db_name}"


class _Newest(NamedTuple):
    uniqueid: str
    lead_id: int
    call_date: str | None
    apart: int | None
    """Seconds that call_date is ahead of start_epoch."""


class _Database:
    """A login that works, and what is found from there."""

    def __init__(self, settings: Settings, call_log: CallLog) -> None:
        self._settings = settings
        self._call_log = call_log
        self._table = f"{_quoted(settings.db_name)}.vicidial_log"
        self._account = ""
        self._zone = ""

    def findings(self) -> Iterator[Finding]:
        version, account, epoch, self._zone = self._call_log.inspect(_SERVER)[0]
        self._account = _in_quotes(account)
        yield fine(f"{self._place()}: server {version}, account {self._account}")
        yield clock(epoch - time.time())
        yield from self._grants()
        if denied := self._denied(f"USE {_quoted(self._settings.db_name)}") or self._denied(_ANY_ROW):
            yield denied
            return
        engine = self._call_log.inspect(_ENGINE, self._names)[0][0]
        yield fine(f"{self._table} can be read, engine {engine}")
        columns = {str(name).lower() for (name,) in self._call_log.inspect(_COLUMNS, self._names)}
        if lacking := [name for name in Call._fields if name not in columns and name != "called_count"]:
            yield self._lacks(lacking)
            return
        before_2_8 = "called_count" not in columns
        yield fine("All its columns are there" + (", but called_count (before VICIdial 2.8): null" * before_2_8))
        missing = list(self._missing_indexes())
        yield from missing or [fine(f"Its indexes are there: {', '.join(INDEXES)}")]
        if not missing:
            newest = [_Newest(*row) for row in self._call_log.inspect(_NEWEST, {"sample": SAMPLE})]
            yield from self._plans(newest, before_2_8=before_2_8)
            yield from zones([row.apart for row in newest], self._zone, self._settings.overlap)

    @property
    def _names(self) -> dict[str, object]:
        return {"database": self._settings.db_name}

    def _place(self) -> str:
        host = self._settings.db_host
        return host if host.startswith("/") else f"{host}:{self._settings.db_port}"

    def _grant(self) -> str:
        return f"GRANT SELECT ON {self._table} TO {self._account};"

    def _denied(self, sql: str, parameters: Mapping[str, object] = {}) -> Finding | None:
        """Run a statement; give what the account lacks for it, or None. Raises DatabaseError for all else."""
        try:
            self._call_log.inspect(sql, parameters)
        except DatabaseError as error:
            if lacks_grant(error):
                text = f"Account {self._account} may not read {self._table}, or there is none"
                correct = f"correct VARDB_database ({self._settings.sources['db_name']})"
                return broken(error.exit_code, text, f"{correct}, or as the database's root: {self._grant()}")
            raise
        return None

    def _lacks(self, columns: Sequence[str]) -> Finding:
        """Tell columns that the account may not read from columns that do not exist."""
        denied = None
        with suppress(DatabaseError):  # that there is no such column is what we say below
            denied = self._denied(statements.WHOLE_CALLS_BEFORE_2_8, {"ids": [""]})
        text = f"{self._table} has no column {', '.join(columns)}"
        cure = f"name VICIdial's own database at {self._settings.sources['db_name']}"
        return denied or broken(DatabaseError.exit_code, text, cure)

    def _grants(self) -> Iterator[Finding]:
        more = more_than_select([str(row[0]) for row in self._call_log.inspect(_GRANTS)])
        if more:
            yield warning(
                f"Account {self._account} may do more than read calls: {'; '.join(more)}",
                f"where that troubles you, make one that has but {self._grant().rpartition(' TO ')[0]},"
                " and name it in a copy of astguiclient.conf, given with --astguiclient-conf",
            )
        else:
            yield fine(f"Account {self._account} may read, and nothing else")

    def _missing_indexes(self) -> Iterator[Finding]:
        found = {
            str(name).upper(): (str(column).lower(), str(comment))
            for name, column, comment in self._call_log.inspect(_INDEXES, self._names)
        }
        for name, column in INDEXES.items():
            its_column, comment = found.get(name.upper(), ("", ""))
            if its_column != column:
                key = f"PRIMARY KEY ({column})" if name == "PRIMARY" else f"INDEX {name} ({column})"
                text = f"{self._table} has no index {name} on {column}, and would be locked for seconds"
                cure = f"when nobody calls: ALTER TABLE {self._table} ADD {key};"
                yield broken(DatabaseError.exit_code, text, cure)
            elif "disabled" in comment:
                text = f"The index {name} of {self._table} is switched off"
                cure = f"when nobody calls: ALTER TABLE {self._table} ENABLE KEYS;"
                yield broken(DatabaseError.exit_code, text, cure)

    def _plans(self, newest: Sequence[_Newest], *, before_2_8: bool) -> Iterator[Finding]:
        """Have the server say how it would run each statement of a run."""
        second = next((row.call_date for row in newest if row.call_date), "2000-01-01 00:00:00")
        parameters = {
            "since": int(time.time()) - self._settings.overlap,
            "seconds": SECONDS,
            "after": second,
            "first": second,
            "last": second,
        }
        ids = {statements.BY_LEAD: [row.lead_id for row in newest] or [0], statements.BY_SECOND: [second]}
        uniqueids = [row.uniqueid for row in newest] or ["0"]
        slow = []
        for sql in run_statements(before_2_8=before_2_8):
            plan = self._call_log.inspect(f"EXPLAIN {sql}", {**parameters, "ids": ids.get(sql, uniqueids)})
            slow += [how for row in plan if (how := scan_of(row))]
        if slow:
            cure = f"compare it with VICIdial's own: SHOW CREATE TABLE {self._table};"
            text = f"{counted(len(slow), 'statement')} would read {self._table} without an index ({slow[0]})"
            yield broken(DatabaseError.exit_code, text, cure)
        else:
            yield fine("All that a run reads goes by these indexes")


def run_statements(*, before_2_8: bool) -> list[str]:
    """Return every statement of a run that reads the table."""
    whole = statements.WHOLE_CALLS_BEFORE_2_8 if before_2_8 else statements.WHOLE_CALLS
    return [
        statements.FIRST_PAGE,
        statements.NEXT_PAGE,
        statements.STARTED_BEFORE_ITS_DATE,
        statements.BY_SECOND,
        statements.COUNT_AFTER,
        statements.BY_UNIQUEID,
        statements.BY_LEAD,
        whole,
    ]


def scan_of(plan: Sequence[Any]) -> str:
    """Return how a row of EXPLAIN would read the whole table or sort it; '' where it goes by an index.

    MySQL's rows have the column ``partitions`` before the type, MariaDB's have not.
    """
    kind, extra = plan[3 if len(plan) <= 10 else 4], str(plan[-1] or "")
    if kind in ("ALL", "index"):
        return f"type {kind}"
    return "filesort" if "filesort" in extra else ""


def more_than_select(grants: Sequence[str]) -> list[str]:
    """Return what the lines of SHOW GRANTS allow beside reading; passwords in them are left out."""
    more = []
    for grant in grants:
        match = re.match(r"GRANT (.+?) ON (.+?) TO ", grant)
        if not match:
            continue
        privileges = [name.strip() for name in re.sub(r"\([^)]*\)", "", match[1]).split(",")]
        further = [name for name in privileges if name not in ("USAGE", "SELECT")]
        if grant.rstrip().endswith("WITH GRANT OPTION"):
            further.append("GRANT OPTION")
        if further:
            more.append(f"{', '.join(further)} on {match[2]}")
    return more


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else "`" + name.replace("`", "``") + "`"


def _in_quotes(account: str) -> str:
    user, _, host = account.rpartition("@")
    return f"'{user}'@'{host}'"
