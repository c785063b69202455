"""What the database's errors mean to an operator: the sentence for each, by the numbers that PyMySQL gives them."""

import pymysql
from pymysql.constants import CR, ER

from vicisync.errors import DatabaseError
from vicisync.settings.settings import Settings

_LONGEST_WORDS = 200

# Beside PyMySQL's names: 1927 connection killed, 3159 TLS only, 1969 and 3024 the time limits of MariaDB and MySQL,
# 126 to 145 a MyISAM file that cannot be read.
_LOST = (0, CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, ER.SERVER_SHUTDOWN, 1927)
_NO_LOGIN = (ER.ACCESS_DENIED_ERROR, ER.HOST_NOT_PRIVILEGED, 3159)
_NO_GRANT = (ER.DBACCESS_DENIED_ERROR, ER.TABLEACCESS_DENIED_ERROR, ER.COLUMNACCESS_DENIED_ERROR)
_NO_TABLE = (ER.BAD_DB_ERROR, ER.NO_SUCH_TABLE, ER.BAD_FIELD_ERROR)
_DAMAGED = (126, 127, 130, 145, ER.NOT_KEYFILE, ER.CRASHED_ON_USAGE, ER.CRASHED_ON_REPAIR)
_TOO_SLOW = (ER.LOCK_WAIT_TIMEOUT, ER.QUERY_INTERRUPTED, 1969, 3024)

_ADVICE = (
    ([CR.CR_CONN_HOST_ERROR], "Cannot reach the database at {place}; is it running (systemctl status mariadb)?"),
    ([CR.CR_SERVER_HANDSHAKE_ERR], "What listens at {place} is no MariaDB; check VARDB_server and VARDB_port"),
    ([CR.CR_SSL_CONNECTION_ERROR], "No TLS with the database at {place}; check db_ssl_ca and its certificate"),
    ([CR.CR_AUTH_PLUGIN_ERR], "PyMySQL cannot log {user} in as the account asks; use mysql_native_password"),
    (_NO_LOGIN, "The database at {place} refuses user {user}; check VARDB_pass, or db_ssl_ca where it wants TLS"),
    (_NO_GRANT, "As the database's root: GRANT SELECT ON {table} TO '{user}'@'…'; or correct VARDB_database"),
    (_NO_TABLE, "There is no {table} such as VICIdial makes; check VARDB_database"),
    (_DAMAGED, "The table is damaged; as the database's root: REPAIR TABLE {table};"),
    ([ER.KEY_DOES_NOT_EXITS], "{table} lacks an index of VICIdial's, and would be locked for seconds; put it back"),
    (_TOO_SLOW, "{table} was not readable within {seconds} s, held up by OPTIMIZE or archiving? The next run goes on"),
    (_LOST, "The connection to the database at {place} was lost; the next run goes on from here"),
)
_OTHER = "The database at {place} failed; the next run goes on from here"


def explained(error: Exception, settings: Settings, *, connected: bool) -> DatabaseError:
    """Turn PyMySQL's error into a sentence with its cure; until ``connected``, whoever was asked may be anything."""
    number: object = error.args[0] if isinstance(error, pymysql.MySQLError) and error.args else None
    said = str(error.args[-1]) if error.args and error.args[-1] else type(error).__name__
    # Whoever answers in the server's place may say anything: it stays one line, and a short one.
    said = " ".join(said.split())[:_LONGEST_WORDS]
    if isinstance(error, OSError) or "[SSL" in said:  # OSError: the file of the CA
        number = CR.CR_SSL_CONNECTION_ERROR
    elif isinstance(error, RuntimeError):
        number = CR.CR_AUTH_PLUGIN_ERR
    elif not connected and (number in _LOST or not isinstance(number, int)):
        number = CR.CR_SERVER_HANDSHAKE_ERR
    elif number in _LOST and "timed out" in said:
        number = ER.LOCK_WAIT_TIMEOUT
    advice = next((advice for numbers, advice in _ADVICE if number in numbers), _OTHER)
    host, user, seconds = settings.db_host, settings.db_user, settings.db_timeout
    place = host if host.startswith("/") else f"{host}:{settings.db_port}"
    table = f"{settings.db_name}.vicidial_log"
    return DatabaseError(f"{advice.format(place=place, user=user, table=table, seconds=seconds)} ({said})")


def lacks_table(error: DatabaseError) -> bool:
    """Return whether a table is not there, or the account may not read it."""
    return isinstance(error.__cause__, pymysql.MySQLError) and error.__cause__.args[0] in (*_NO_GRANT, *_NO_TABLE)


def lacks_grant(error: DatabaseError) -> bool:
    """Return whether the account may not read what it asked for."""
    return isinstance(error.__cause__, pymysql.MySQLError) and error.__cause__.args[0] in _NO_GRANT
