"""VICIdial's database: login, table, indexes and clocks; whoever may SELECT from vicidial_log can ask all of this."""

import re
import time
from collections.abc import Iterable, Iterator
from functools import partial

from vicisync.calls.call import Call
from vicisync.calls.dispositions import folded
from vicisync.calls.readiness import left_out_by
from vicisync.commands.check import evidence
from vicisync.commands.check.finding import Finding, broken, finding_of, fine, warning
from vicisync.errors import DatabaseError
from vicisync.report import counted
from vicisync.settings.settings import Settings
from vicisync.vicidial.call_log import CallLog
from vicisync.vicidial.errors import lacks_grant

_unusable = partial(broken, exit_code=DatabaseError.exit_code)

_INDEXES = {"PRIMARY": "uniqueid", "call_date": "call_date", "lead_id": "lead_id"}
"""The indexes that the statements of a run name, and the column that each begins with."""

_SERVER = """
SELECT VERSION(), CURRENT_USER(), UNIX_TIMESTAMP(), IF(@@time_zone = 'SYSTEM', @@system_time_zone, @@time_zone)"""

_SCHEMA = "SELECT {} FROM information_schema.{} WHERE table_schema = DATABASE() AND table_name = 'vicidial_log'"

# Ids begin with the epoch of their call. By call_date, the calls of a dialer whose clock face is behind would not be
# among the newest. Epochs are turned into wall time, and not the other way round, as autumn has an hour twice.
_NEWEST = """
SELECT TIMESTAMPDIFF(SECOND, FROM_UNIXTIME(NULLIF(start_epoch, 0)), call_date)
  FROM vicidial_log FORCE INDEX (PRIMARY)
 WHERE uniqueid >= '' ORDER BY uniqueid DESC LIMIT 100"""

_STATUSES = """
SELECT DISTINCT UPPER(TRIM(status)) AS code
  FROM (SELECT status FROM vicidial_log FORCE INDEX (call_date)
         WHERE call_date > '1970-01-01' ORDER BY call_date DESC LIMIT 1000) AS newest
 WHERE status IN ('A', 'B') ORDER BY code"""

_CAMPAIGNS = """
SELECT COALESCE(campaign_id, ''), COUNT(*)
  FROM (SELECT campaign_id FROM vicidial_log FORCE INDEX (call_date)
         WHERE call_date > '1970-01-01' ORDER BY call_date DESC LIMIT 1000) AS newest
 GROUP BY 1 ORDER BY 2 DESC, 1"""


def findings(settings: Settings) -> Iterator[Finding]:
    """Check the database, as far as the login gets."""
    host, port = settings.db_host, settings.db_port
    place, client = f"{host}:{port}", f"mysql -h {host} -P {port}"
    if host.startswith("/"):
        place, client = host, f"mysql -S {host}"
    try:
        with CallLog(settings, select_database=False) as call_log:
            version, account, epoch, zone = call_log.read(_SERVER)[0]
            account = "'{}'@'{}'".format(*account.rsplit("@", 1))
            yield fine(f"{place}: server {version}, account {account}")
            if abs(ahead := epoch - time.time()) <= 8:  # seconds by which VICIdial itself lets clocks differ
                yield fine("Its clock and this machine's agree")
            else:
                apart = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
                text = f"The database's clock is {apart}; vicisync goes by the database's"
                yield warning(text, "on both machines: timedatectl set-ntp true")
            yield from _table(settings, call_log, account, zone)
    except DatabaseError as error:
        cure = f"to see it from the database's own client: {client} -u {settings.db_user} -p {settings.db_name}"
        yield finding_of(error, cure)


def _table(settings: Settings, call_log: CallLog, account: str, zone: str) -> Iterator[Finding]:
    is_plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", settings.db_name)
    database = settings.db_name if is_plain else "`" + settings.db_name.replace("`", "``") + "`"
    table = f"{database}.vicidial_log"
    grant = f"as the database's root: GRANT SELECT ON {table} TO {account};"
    cure = f"correct VARDB_database ({settings.sources['db_name']}), or {grant}"
    try:
        call_log.read(f"USE {database}")
        call_log.read("SELECT 1 FROM vicidial_log LIMIT 1")
    except DatabaseError as error:
        if not lacks_grant(error):
            raise
        yield _unusable(f"Account {account} may not read {table}, or there is none", cure)
        return
    (engine,) = call_log.read(_SCHEMA.format("COALESCE(engine, table_type)", "tables"))[0]
    yield fine(f"{table} can be read, engine {engine}")
    columns = {str(name).lower() for (name,) in call_log.read(_SCHEMA.format("column_name", "columns"))}
    if lacking := ", ".join(name for name in Call._fields if name not in {*columns, "called_count"}):
        yield _unusable(f"Account {account} may not read column {lacking} of {table}, or there is none", cure)
        return
    before_2_8 = "" if "called_count" in columns else ", but called_count (before VICIdial 2.8): null"
    yield fine(f"All its columns are there{before_2_8}")
    if missing := list(_missing_indexes(table, call_log)):
        yield from missing
        return
    yield fine(f"Its indexes are there: {', '.join(_INDEXES)}")
    yield from _zones([apart for (apart,) in call_log.read(_NEWEST)], zone, settings.overlap)
    yield from evidence.findings(call_log, database, account, settings.overlap)
    yield from _campaigns(settings, call_log)
    mapped = {status.strip().upper() for status in settings.dispositions}
    stock = {"A": ("answered", "an answering machine", "dropped"), "B": ("dnc", "a busy line", "busy")}
    for code in [code for (code,) in call_log.read(_STATUSES) if code not in mapped]:
        result, meaning, better = stock[code]
        text = f"Status {code} is in use and goes out as {result}, while in a stock VICIdial it is {meaning}"
        yield warning(text, f"write under [dispositions] in dids.conf what it is here: {code}={better}")


def _campaigns(settings: Settings, call_log: CallLog) -> Iterator[Finding]:
    """Tell which of the campaigns that settings name no call has: they may be misspelt."""
    named = {name: getattr(settings, name) for name in ("campaigns", "exclude_campaigns")}
    calls = dict(call_log.read(_CAMPAIGNS)) if any(named.values()) else {}
    if not calls:
        return
    known, newest = {folded(campaign) for campaign in calls}, f"newest {counted(sum(calls.values()), 'call')}"
    used = ", ".join([campaign or "(none)" for campaign in calls][:10]) + (", …" if len(calls) > 10 else "")
    for name, ids in named.items():
        if unknown := sorted(each for each in ids or () if folded(each) not in known):
            what = f"campaign{'s' if unknown[1:] else ''} {', '.join(unknown)} ({name}, {settings.sources[name]})"
            yield warning(f"None of the {newest} is of {what}; they are of {used}")
    if all(left_out_by(campaign, settings.rules(0, 0)) for campaign in calls):
        yield warning(f"All of the {newest} are left out by their campaign: nothing would be sent")


def _missing_indexes(table: str, call_log: CallLog) -> Iterator[Finding]:
    parts = call_log.read(_SCHEMA.format("UPPER(index_name), LOWER(column_name), comment, seq_in_index", "statistics"))
    first = {name: (column, comment) for name, column, comment, position in parts if position == 1}
    for name, column in _INDEXES.items():
        its_column, comment = first.get(name.upper(), ("", ""))
        if its_column != column:
            text = f"{table} has no index {name} on {column}, and would be locked for seconds"
            key = f"ADD PRIMARY KEY ({column})" if name == "PRIMARY" else f"ADD INDEX {name} ({column})"
        elif "disabled" in comment:
            text, key = f"The index {name} of {table} is switched off", "ENABLE KEYS"
        else:
            continue
        yield _unusable(text, f"when nobody calls: ALTER TABLE {table} {key};")


def _zones(seconds_apart: Iterable[int | None], zone: str, overlap: int) -> Iterator[Finding]:
    """Judge by how many seconds call_date is ahead of start_epoch in the newest calls; None lacks one of the two."""
    compared = [apart for apart in seconds_apart if apart is not None]
    shifts = [shift for apart in compared if (shift := zone_shift(apart))]
    newest = f"newest {counted(len(compared), 'call')}"
    if compared and not shifts:
        yield fine(f"call_date and start_epoch of the {newest} agree, time zone {zone}")
    cure = "give the machine that writes them the database's time zone: timedatectl set-timezone"
    for side, sign in (("behind", -1), ("ahead of", 1)):
        shifted = [abs(shift) for shift in shifts if shift * sign > 0]
        most = max(shifted, default=0)
        text = f"call_date of {len(shifted)} of the {newest} is written {most / 3600:g} h {side} the database's {zone}"
        if shifted and (sign > 0 or most <= overlap):
            yield warning(f"{text}; runs find them, but read so many hours more", cure)
        elif shifted:  # a run reads what is newer than the last poll by call_date, less the overlap
            until_then = f"{cure}; until then, in [vicisync]: overlap={min(86400, 600 + most)}"
            yield _unusable(f"{text}; runs do not find such calls", until_then)


def zone_shift(apart: int) -> int:
    """Return how many of the seconds that call_date and start_epoch are ``apart`` time zones explain; 0 for none.

    Zones lie quarters of an hour apart, 26 hours at most, and VICIdial writes both within a minute.
    """
    shift = round(apart / 900) * 900
    return shift if abs(apart - shift) <= 60 and abs(shift) <= 26 * 3600 else 0
