"""What the database's errors mean to an operator: the sentence for each, by the numbers that PyMySQL gives them."""

import socket
import ssl
from traceback import walk_tb

import pymysql
from pymysql.constants import CR, ER

from vicisync.errors import CURE, DatabaseError, TableLocked
from vicisync.settings.settings import Settings
from vicisync.settings.tls import tls_failure

_LONGEST_WORDS = 200

# Beside PyMySQL's names: 1927 connection killed, 3159 TLS only, 1698 no password asked for, 1969 and 3024 the time
# limits of MariaDB and MySQL, 126 to 145 a MyISAM file that cannot be read, 29 one that is gone. Below 0: ours.
_LOST = (0, CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, ER.SERVER_SHUTDOWN, 1927)
_NO_GRANT = (ER.DBACCESS_DENIED_ERROR, ER.TABLEACCESS_DENIED_ERROR, ER.COLUMNACCESS_DENIED_ERROR)
_NO_TABLE = (ER.BAD_DB_ERROR, ER.NO_SUCH_TABLE, ER.BAD_FIELD_ERROR)
_TOO_SLOW = (ER.LOCK_WAIT_TIMEOUT, ER.QUERY_INTERRUPTED, 1969, 3024)
_NO_GREETING, _NO_NAME = -1, -2

_AS_ROOT = "as the database's root: "
_ALTER = f"{_AS_ROOT}ALTER USER '{{user}}'@'…' "
_ADVICE: tuple[tuple[tuple[int, ...], str, str], ...] = (
    ((_NO_NAME,), "The name of the database's server, {host}, cannot be resolved",
        "correct VARDB_server ({host_in}), or the machine's DNS: getent hosts {host}"),
    ((CR.CR_CONN_HOST_ERROR,), "Cannot reach the database at {place}",
        "start it there: systemctl start mariadb; or correct VARDB_server and VARDB_port ({host_in})"),
    ((_NO_GREETING,), "What listens at {place} accepted and did not greet: overloaded, or a balancer without a server",
        "look at it there: systemctl status mariadb, or the balancer's own status"),
    ((CR.CR_SERVER_HANDSHAKE_ERR,), "What listens at {place} is no MariaDB",
        "correct VARDB_server and VARDB_port ({host_in})"),
    ((CR.CR_SSL_CONNECTION_ERROR,), "No TLS with the database at {place}", "check db_ssl_ca and its certificate"),
    ((CR.CR_AUTH_PLUGIN_ERR,), "PyMySQL cannot log {user} in by the method that the account asks for",
        _ALTER + "IDENTIFIED VIA mysql_native_password USING PASSWORD('…');"),
    ((ER.ACCESS_DENIED_ERROR, ER.HOST_NOT_PRIVILEGED, 1698, 3159), "The database at {place} refuses user {user}",
        ("correct VARDB_user or VARDB_pass ({password_in}), or the hosts that the account is for; "
         "where it wants TLS, write db_ssl_ca")),
    ((3118, 4151), "Account {user} is locked", _ALTER + "ACCOUNT UNLOCK;"),
    ((1820, 1862), "The password of account {user} has expired",
        _AS_ROOT + "SET PASSWORD FOR '{user}'@'…' = PASSWORD('…'); as in VARDB_pass ({password_in})"),
    ((1203, 1226), "Account {user} has used up what it may",
        _ALTER + "WITH MAX_QUERIES_PER_HOUR 0 MAX_CONNECTIONS_PER_HOUR 0 MAX_USER_CONNECTIONS 0;"),
    (_NO_GRANT, "Account {user} may not read {table}, or there is none",
        f"correct VARDB_database ({{name_in}}){CURE}or {_AS_ROOT}GRANT SELECT ON {{table}} TO '{{user}}'@'…';"),
    (_NO_TABLE, "There is no {table} such as VICIdial makes",
        "correct VARDB_database ({name_in})"),
    ((29, 1016, 1017), "A file of {table} is gone, or cannot be opened",
        "restore it from a backup; where only its .MYI is gone, " + _AS_ROOT + "REPAIR TABLE {table} USE_FRM;"),
    ((126, 127, 130, 145, ER.NOT_KEYFILE, ER.CRASHED_ON_USAGE, ER.CRASHED_ON_REPAIR), "The table {table} is damaged",
        _AS_ROOT + "REPAIR TABLE {table};"),
    ((ER.KEY_DOES_NOT_EXITS,), "{table} lacks an index of VICIdial's, and would be locked for seconds",
        "vicisync check, which shows how to put it back"),
    (_TOO_SLOW, "{table} was not readable within {seconds} s, held up by OPTIMIZE or archiving? The next run goes on",
        ""),
    (_LOST, "The connection to the database at {place} was lost; the next run goes on from here", ""),
)  # fmt: skip
"""The numbers of an error, what is wrong and where, and the command or line that mends it, if anybody has to."""

_OTHER_TABLES = ("vicidial_log_archive", "vicidial_live_agents", "vicidial_auto_calls")
_OTHER = "The database at {place} failed; the next run tries again"


def explained(error: Exception, settings: Settings, *, connected: bool) -> DatabaseError:
    """Turn PyMySQL's error into a sentence with its cure; until ``connected``, whoever was asked may be anything."""
    number: object = error.args[0] if isinstance(error, pymysql.MySQLError) and error.args else None
    said = str(error.args[-1]) if error.args and error.args[-1] else type(error).__name__
    # Whoever answers in the server's place may say anything: it stays one line, and a short one.
    said = " ".join(said.split())[:_LONGEST_WORDS]
    cause, cure = getattr(error, "original_exception", error), ""
    if isinstance(cause, ssl.SSLError):
        number = CR.CR_SSL_CONNECTION_ERROR
        said, cure = tls_failure(cause, "db_ssl_ca", "VARDB_server")
    elif isinstance(error, OSError):  # the file of the CA
        number = CR.CR_SSL_CONNECTION_ERROR
    elif isinstance(cause, socket.gaierror):
        number = _NO_NAME
    elif method := _login_method(error, number):
        number, said = CR.CR_AUTH_PLUGIN_ERR, f"{method}: {said}"
    elif not connected and (number in _LOST or not isinstance(number, int)):
        number = _NO_GREETING if number in _LOST else CR.CR_SERVER_HANDSHAKE_ERR
    elif number in _LOST and "timed out" in said:
        number = ER.LOCK_WAIT_TIMEOUT
    wrong, usual = next(((wrong, usual) for numbers, wrong, usual in _ADVICE if number in numbers), (_OTHER, ""))
    host, sources = settings.db_host, settings.sources
    place = host if host.startswith("/") else f"{host}:{settings.db_port}"
    table = f"{settings.db_name}.{next((name for name in _OTHER_TABLES if name in said), 'vicidial_log')}"
    known = {"host": host, "place": place, "user": settings.db_user, "table": table, "seconds": settings.db_timeout}
    known.update({f"{name}_in": sources[f"db_{name}"] for name in ("host", "name", "password")})
    cure = cure or usual.format(**known)
    kind = TableLocked if number in _TOO_SLOW else DatabaseError
    return kind(f"{wrong.format(**known)} ({said}){CURE if cure else ''}{cure}")


def _login_method(error: Exception, number: object) -> str:
    """Return which login PyMySQL has stumbled over, once the server had greeted; '' where it was anything else."""
    logins = [f.f_locals.get("plugin_name") for f, _ in walk_tb(error.__traceback__) if "auth" in f.f_code.co_name]
    is_other = isinstance(number, int) and number != CR.CR_AUTH_PLUGIN_CANNOT_LOAD
    return "" if is_other or not any(logins) else str(next(filter(None, logins)), "ascii", "replace")


def lacks_table(error: DatabaseError) -> bool:
    """Return whether a table is not there as VICIdial makes it, or the account may not read it."""
    lacking = (*_NO_GRANT, *_NO_TABLE, ER.KEY_DOES_NOT_EXITS)
    return isinstance(error.__cause__, pymysql.MySQLError) and error.__cause__.args[0] in lacking


def lacks_grant(error: DatabaseError) -> bool:
    """Return whether the account may not read what it asked for."""
    return isinstance(error.__cause__, pymysql.MySQLError) and error.__cause__.args[0] in _NO_GRANT
