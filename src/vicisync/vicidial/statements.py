"""Every statement that a run asks of the database, as text: columns listed, values bound, each by an index."""

READ_ONLY = "SET SESSION TRANSACTION READ ONLY"

# A backlog's answers are read whole, and an API that is slow holds up the next statement.
WITHOUT_LIMITS = "SET SESSION sql_select_limit = 18446744073709551615, sql_big_selects = 1, wait_timeout = 28800"

LIMIT_OF_MARIADB = "SET SESSION max_statement_time = %(limit)s"  # seconds
LIMIT_OF_MYSQL = "SET SESSION max_execution_time = %(limit)s"  # milliseconds

NOW = "SELECT UNIX_TIMESTAMP()"
ACCOUNT = "SELECT CURRENT_USER()"  # as GRANT knows it

# Rows of agents, those of them with a heartbeat, and whether any call is up: hundreds of rows, without an index.
LIVE_TABLES = """
SELECT COUNT(*), COALESCE(SUM(last_update_time >= NOW() - INTERVAL 5 MINUTE), 0),
       EXISTS (SELECT 1 FROM vicidial_auto_calls)
  FROM vicidial_live_agents"""

ROWS_OF_CALLS_THAT_ARE_UP = """
SELECT COUNT(*)
  FROM (SELECT status FROM vicidial_log FORCE INDEX (call_date)
         WHERE call_date >= NOW() - INTERVAL 15 MINUTE ORDER BY call_date DESC LIMIT 1000) AS newest_rows
 WHERE status IN ('INCALL', 'QUEUE')"""

# A closed browser keeps its lead, not its heartbeat.
LEADS_BEFORE_AGENTS = """
SELECT lead_id, user FROM vicidial_live_agents
 WHERE lead_id IN %(ids)s AND last_update_time >= NOW() - INTERVAL 5 MINUTE"""

LEADS_ON_THE_LINE = """
SELECT lead_id, '' FROM vicidial_auto_calls
 WHERE lead_id IN %(ids)s AND call_time >= NOW() - INTERVAL 4 HOUR"""

_CALL_ROW = """
SELECT uniqueid, lead_id, CAST(COALESCE(NULLIF(start_epoch, 0), UNIX_TIMESTAMP(call_date), 0) AS UNSIGNED),
       CAST(COALESCE(end_epoch, 0) AS UNSIGNED), COALESCE(status, ''), COALESCE(comments, ''), COALESCE(user, ''),
       COALESCE(campaign_id, '')
  FROM vicidial_log"""

# Nearly all rows of a poll are known: 600 lists of ids cost vicisync a tenth of what 5,000 rows do. Number and length
# tell whether a list is whole: the server cuts a long one short, and an id may hold a comma.
# A statement reads a bounded number of rows, however many calls there are in a second.
_SECONDS = """
SELECT CAST(call_date AS CHAR), COUNT(*), GROUP_CONCAT(uniqueid), @@group_concat_max_len
  FROM (SELECT call_date, uniqueid FROM vicidial_log FORCE INDEX (call_date)
         WHERE call_date {} ORDER BY call_date LIMIT %(rows)s) AS first_rows
 GROUP BY call_date ORDER BY call_date"""

# call_date is local wall time, and autumn has an hour twice. Of the two ways to count back, by epochs and on the wall
# clock, the earlier bound covers it; each row's start_epoch then decides, in Python, so that no statement reads more
# than a page.
FIRST_PAGE = _SECONDS.format(">= LEAST(FROM_UNIXTIME(%(since)s), NOW() - INTERVAL UNIX_TIMESTAMP() - %(since)s SECOND)")

NEXT_PAGE = _SECONDS.format("> %(after)s")

BY_SECOND = f"""{_CALL_ROW} FORCE INDEX (call_date)
 WHERE call_date IN %(ids)s
 ORDER BY call_date"""

COUNT_AFTER = """
SELECT COUNT(*)
  FROM (SELECT 1 FROM vicidial_log FORCE INDEX (call_date) WHERE call_date > %(after)s LIMIT %(rows)s) AS first_rows"""

# Of the two epochs that a second of autumn's repeated hour has, the earlier.
EPOCH_OF = """
SELECT IF(FROM_UNIXTIME(UNIX_TIMESTAMP(%(second)s) - 3600) = %(second)s,
          UNIX_TIMESTAMP(%(second)s) - 3600, UNIX_TIMESTAMP(%(second)s))"""

# Some dialers' clocks are set to a zone ahead of the database's: what starts later can stand before it in this order.
STARTED_BEFORE_ITS_DATE = """
SELECT GREATEST(0, COALESCE(MAX(CAST(UNIX_TIMESTAMP(call_date) AS SIGNED) - CAST(NULLIF(start_epoch, 0) AS SIGNED)), 0))
  FROM vicidial_log FORCE INDEX (call_date)
 WHERE call_date BETWEEN %(first)s AND %(last)s"""

BY_UNIQUEID = f"""{_CALL_ROW} FORCE INDEX (PRIMARY)
 WHERE uniqueid IN %(ids)s"""

BY_LEAD = f"""{_CALL_ROW} FORCE INDEX (lead_id)
 WHERE lead_id IN %(ids)s"""

EXPLAIN_BY_LEAD = f"{BY_LEAD} LIMIT 1000"

EXPLAIN_LEADS_OF_PHONE = """
SELECT lead_id FROM vicidial_list FORCE INDEX (phone_number)
 WHERE phone_number = %(phone)s LIMIT 20"""

HAS_CALLED_COUNT = "SHOW COLUMNS FROM vicidial_log LIKE 'called_count'"

WHOLE_CALLS = """
SELECT uniqueid, lead_id, list_id, campaign_id, CAST(call_date AS CHAR), start_epoch, end_epoch, length_in_sec, status,
       phone_code, phone_number, user, comments, user_group, term_reason, alt_dial, called_count
  FROM vicidial_log FORCE INDEX (PRIMARY)
 WHERE uniqueid IN %(ids)s"""

WHOLE_CALLS_BEFORE_2_8 = WHOLE_CALLS.replace("called_count", "NULL")

# Archiving takes all rows before a time. Of eight hours without calls it cannot be told, and stray rows of 1970 do not
# count. One entry of the index is read.
OLDEST = """
SELECT MIN(call_date), COALESCE(MIN(call_date) <= FROM_UNIXTIME(%(since)s), 0)
  FROM vicidial_log FORCE INDEX (call_date)
 WHERE call_date >= FROM_UNIXTIME(%(since)s - 28800)"""

# Some keep it without VICIdial's indexes, in another engine or as a view: it would be locked for long.
HAS_ARCHIVE = "SELECT 1 FROM vicidial_log_archive FORCE INDEX (PRIMARY, call_date, lead_id) LIMIT 1"


def of_archive(sql: str) -> str:
    """Return a statement over VICIdial's archive, which has the same columns and indexes."""
    return sql.replace("FROM vicidial_log", "FROM vicidial_log_archive")
