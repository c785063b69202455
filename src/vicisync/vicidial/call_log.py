"""VICIdial's table of calls, ``vicidial_log``: the only one that talks to the database.

A reader of a MyISAM table holds up every dialer while its statement runs. So each statement here goes by an index,
reads a bounded number of rows, is fetched whole at once, and is ended by the server after ``db_timeout`` seconds.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pymysql
from pymysql.constants import ER
from pymysql.cursors import Cursor, DictCursor

from vicisync.calls.call import Call, CallRow, stem
from vicisync.errors import DatabaseError
from vicisync.settings.settings import Settings
from vicisync.vicidial import statements
from vicisync.vicidial.errors import explained, lacks_table
from vicisync.vicidial.pages import AT_ONCE, Page, pages

LEADS_AT_ONCE = 50  # each may have many rows
GONE_AT_ONCE = 500  # of calls whose rows are gone, by how many leads a run looks for them
SOCKETS = (Path("/run/mysqld/mysqld.sock"), Path("/var/lib/mysql/mysql.sock"), Path("/run/mysql/mysql.sock"))
"""Where Debian, AlmaLinux and openSUSE keep MariaDB's socket."""


class CallLog:
    """A connection to VICIdial's database; all methods raise DatabaseError.

    Without ``select_database`` the login alone is tried, and what else is wrong can be asked from there.
    """

    def __init__(self, settings: Settings, *, select_database: bool = True) -> None:
        self._settings = settings
        self._select_database = select_database
        self.seconds = 0.0  # spent on statements so far
        self._connected = False
        self._called_count: bool | None = None

    def __enter__(self) -> "CallLog":
        settings = self._settings
        try:
            self._connection = pymysql.connect(
                host=settings.db_host,
                port=settings.db_port,
                unix_socket=_socket(settings),
                user=settings.db_user,
                password=settings.db_password,
                database=settings.db_name if self._select_database else None,
                charset="utf8mb4",
                autocommit=True,
                connect_timeout=settings.db_timeout,
                # The server ends a statement first; this is for a server that has gone silent.
                read_timeout=settings.db_timeout + 2,
                write_timeout=settings.db_timeout + 2,
                # Without a CA to check against, TLS would cost an idle run more than all the rest, and prove nothing.
                ssl_disabled=not settings.db_ssl_ca,
                ssl_ca=str(settings.db_ssl_ca) if settings.db_ssl_ca else None,
                ssl_verify_cert=bool(settings.db_ssl_ca),
                ssl_verify_identity=bool(settings.db_ssl_ca),
            )
        except Exception as error:  # on bytes that are no MariaDB's, PyMySQL stumbles in any way
            raise explained(error, self._settings, connected=self._connected) from error
        self._connected = True
        self._set_up()
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection.open:
            self._connection.close()

    def now(self) -> int:
        """Return the database's epoch, the only clock that decides about calls."""
        return int(self.read(statements.NOW)[0][0])

    def pages(self, since: int, knows: Callable[[str], bool]) -> Iterator[Page]:
        """Read what started at or after the epoch ``since``, and some before it, in pages that end with a whole second.

        Rows of seconds whose ids are all known are not read. The last page comes always, if only empty. What VICIdial
        has archived since then comes first, but for the copies of what still stands in the table.
        """
        begin, last = {"since": max(since, 28801)}, ""
        oldest, reaches_back = self.read(statements.OLDEST, begin)[0]
        if not reaches_back:
            yield from self._archived_pages(since, knows)
        for page in pages(self.read, since, knows):
            before, oldest = oldest, self.read(statements.OLDEST, begin)[0][0]
            if before and oldest != before:  # archived since the last page, and so, perhaps, what came next
                again = self.epoch_of(last) - self._settings.overlap if last else since
                yield from self._archived_pages(max(since, again), knows)
            last = page.last_second
            yield page

    def _archived_pages(self, since: int, knows: Callable[[str], bool]) -> Iterator[Page]:
        for page in () if self.archive_lacks else pages(self._read_archive, since, knows):
            here = {row.uniqueid for row in self._rows(statements.BY_UNIQUEID, [row.uniqueid for row in page.rows])}
            rows = [row for row in page.rows if row.uniqueid not in here]
            if page.rows and not rows:
                return  # from here on, all stands in the table
            if page.last_second:
                yield page._replace(rows=rows, is_last=False)

    @cached_property
    def archive_lacks(self) -> DatabaseError | None:
        """What keeps the account from reading what VICIdial has moved out of the table, by its indexes; else None."""
        try:
            self.read(statements.HAS_ARCHIVE)
        except DatabaseError as error:
            if not lacks_table(error):
                raise
            return error
        return None

    def _read_archive(self, sql: str, parameters: Mapping[str, object] = {}) -> tuple[tuple[Any, ...], ...]:
        return self.read(statements.of_archive(sql), parameters)

    def epoch_of(self, second: str) -> int:
        """Return the epoch of a call_date; the earlier one where autumn has the second twice, 0 where it has none."""
        return int(self.read(statements.EPOCH_OF, {"second": second})[0][0] or 0)

    def ahead(self, page: Page) -> int:
        """Return the seconds by which a call_date of a page lies ahead of its call's start, at most."""
        edges = {"first": page.first_second, "last": page.last_second}
        return int(self.read(statements.STARTED_BEFORE_ITS_DATE, edges)[0][0])

    def count_after(self, second: str, most: int) -> int:
        """Count the rows behind a page, by the index alone, and ``most`` of them."""
        return int(self.read(statements.COUNT_AFTER, {"after": second, "rows": most})[0][0])

    def again(self, leads: Mapping[str, int], turn: int = 0) -> tuple[list[CallRow], list[CallRow]]:
        """Read calls again, given the lead of each id: their rows, and of those whose id is gone all of their leads.

        What goes on in the table under another id is in the archive as it was when that was copied, and not read there.
        Of many that are gone, the newest are looked for, and of the others a slice, another one each ``turn``.
        """
        rows = self._rows(statements.BY_UNIQUEID, list(leads))
        here = {row.uniqueid for row in rows}
        gone = [uniqueid for uniqueid in leads if uniqueid not in here]
        older, newest = gone[:-GONE_AT_ONCE], gone[-GONE_AT_ONCE:]
        start = turn * GONE_AT_ONCE % (len(older) or 1)
        gone = older[start : start + GONE_AT_ONCE] + newest
        of_leads = self._rows(statements.BY_LEAD, sorted({leads[uniqueid] for uniqueid in gone}), LEADS_AT_ONCE)
        goes_on = {(row.lead_id, stem(row.uniqueid)) for row in of_leads}
        gone = [uniqueid for uniqueid in gone if (leads[uniqueid], stem(uniqueid)) not in goes_on]
        if gone and not self.archive_lacks:
            missing, wanted = set(gone), sorted({leads[uniqueid] for uniqueid in gone})
            archived = self._rows(statements.of_archive(statements.BY_LEAD), wanted, LEADS_AT_ONCE)
            # Of those archived under two ids, the one that ended later counts.
            ends = {_call_of(row): row.end_epoch for row in sorted(archived, key=lambda row: row.end_epoch)}
            rows += [row for row in archived if row.uniqueid in missing and row.end_epoch == ends[_call_of(row)]]
            of_leads += archived
        return rows, of_leads

    def whole(self, uniqueids: Sequence[str]) -> list[Call]:
        """Read whole calls in the order asked for; those that are gone are missing from the answer."""
        if not uniqueids:
            return []
        if self._called_count is None:
            self._called_count = bool(self.read(statements.HAS_CALLED_COUNT))
        sql = statements.WHOLE_CALLS if self._called_count else statements.WHOLE_CALLS_BEFORE_2_8
        calls = {row[0]: Call(*row) for row in self.read_in_parts(sql, uniqueids)}
        gone = [uniqueid for uniqueid in uniqueids if uniqueid not in calls]
        if gone and not self.archive_lacks:
            calls |= {row[0]: Call(*row) for row in self.read_in_parts(statements.of_archive(sql), gone)}
        return [calls[uniqueid] for uniqueid in uniqueids if uniqueid in calls]

    def _rows(self, sql: str, ids: Sequence[object], at_once: int = AT_ONCE) -> list[CallRow]:
        return [CallRow._make(row) for row in self.read_in_parts(sql, ids, at_once)]

    def read_in_parts(self, sql: str, ids: Sequence[object], at_once: int = AT_ONCE) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a statement about these ids, so many at once."""
        for start in range(0, len(ids), at_once):
            yield from self.read(sql, {"ids": ids[start : start + at_once]})

    def read(self, sql: str, parameters: Mapping[str, object] = {}) -> tuple[tuple[Any, ...], ...]:
        """Return the rows of a statement."""
        return self._fetched(Cursor, sql, parameters)

    def named(self, sql: str) -> Sequence[Mapping[str, Any]]:
        """Return the rows of a statement whose columns differ between versions, by their names."""
        return self._fetched(DictCursor, sql, {})

    def _fetched(self, kind: type[Cursor], sql: str, parameters: Mapping[str, object]) -> tuple[Any, ...]:
        began = time.monotonic()
        try:
            with self._connection.cursor(kind) as cursor:
                cursor.execute(sql, parameters)
                return cursor.fetchall()
        except Exception as error:  # on bytes that are no MariaDB's, PyMySQL stumbles here as well
            raise explained(error, self._settings, connected=self._connected) from error
        finally:
            self.seconds += time.monotonic() - began

    def _set_up(self) -> None:
        """Have the server refuse to write, and end long statements; before MariaDB 10.1 and MySQL 5.7 it cannot."""
        is_mariadb = "MariaDB" in self._connection.get_server_info()  # type: ignore[no-untyped-call]
        sql, units = (statements.LIMIT_OF_MARIADB, 1) if is_mariadb else (statements.LIMIT_OF_MYSQL, 1000)
        for statement in (statements.READ_ONLY, statements.WITHOUT_LIMITS, sql):
            try:
                self.read(statement, {"limit": self._settings.db_timeout * units})
            except DatabaseError as error:  # noqa: PERF203 -- three statements
                cause = error.__cause__
                unknown = (ER.PARSE_ERROR, ER.UNKNOWN_SYSTEM_VARIABLE)  # what a server that cannot answers
                if not (isinstance(cause, pymysql.MySQLError) and cause.args[0] in unknown):
                    raise


def _call_of(row: CallRow) -> tuple[int, str, int]:
    """Return what stays of a call whose id is rewritten."""
    return row.lead_id, stem(row.uniqueid), row.start_epoch


def _socket(settings: Settings) -> str | None:
    """Reach ``localhost`` as VICIdial's Perl does, by the socket, where the standard server runs on this machine."""
    if settings.db_host.startswith("/"):
        return settings.db_host
    if (settings.db_host, settings.db_port) == ("localhost", 3306):
        return next((str(path) for path in SOCKETS if path.is_socket()), None)
    return None
