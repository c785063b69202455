"""A private MariaDB server that holds VICIdial's call log and its tables of who is on the line.

It runs the distribution's own binaries on a data folder of its own, beside whatever server the machine has and
without reading that one's configuration. The first one of a process answers after two seconds, the others, on a copy
of its data, after a fifth of one.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pymysql

from rehearsal.ports import hold_port

if TYPE_CHECKING:
    from pymysql.connections import Connection
    from pymysql.cursors import Cursor

CR_CONNECTION_ERROR = 2002  # what MySQL's own client reports for a socket that nobody answers

START_TIMEOUT = 60.0  # seconds; repairing a large table after kill() takes its time
STOP_TIMEOUT = 60.0  # seconds

# Where distributions put the server when it is not on PATH: Debian and openSUSE, then Red Hat.
SERVER_FOLDERS = ("/usr/sbin", "/usr/libexec", "/usr/local/sbin")

# Unix refuses longer socket paths (108 bytes with the closing NUL).
LONGEST_SOCKET_PATH = 107

REDO_LOG = "--innodb-log-file-size=8M"  # for installing too, which otherwise writes 96 MB of it

# Small buffers start fast. sql_mode is empty because VICIdial needs it so; without name resolution an account
# @localhost is reached by the socket only, and TCP always means @'%'.
SERVER_OPTIONS = (
    "--sql-mode=",
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--performance-schema=OFF",
    "--innodb-buffer-pool-size=16M",
    REDO_LOG,
    "--innodb-flush-log-at-trx-commit=2",
    "--aria-pagecache-buffer-size=8M",
)

# The columns, in VICIdial's order, as its schema (2.14) creates them.
TABLE = """
CREATE TABLE vicidial_log (
    uniqueid VARCHAR(20) PRIMARY KEY NOT NULL,
    lead_id INT(9) UNSIGNED NOT NULL,
    list_id BIGINT(14) UNSIGNED,
    campaign_id VARCHAR(8),
    call_date DATETIME,
    start_epoch INT(10) UNSIGNED,
    end_epoch INT(10) UNSIGNED,
    length_in_sec INT(10),
    status VARCHAR(6),
    phone_code VARCHAR(10),
    phone_number VARCHAR(18),
    user VARCHAR(20),
    comments VARCHAR(255),
    processed ENUM('Y','N'),
    user_group VARCHAR(20),
    term_reason ENUM('CALLER','AGENT','QUEUETIMEOUT','ABANDON','AFTERHOURS','NONE','SYSTEM') DEFAULT 'NONE',
    alt_dial VARCHAR(6) DEFAULT 'NONE',
    {called_count}
    INDEX (lead_id),
    INDEX (call_date)
) ENGINE={engine} DEFAULT CHARSET={charset}
"""
CALLED_COUNT = "called_count SMALLINT(5) UNSIGNED DEFAULT 0,"

READ = ("vicidial_log", "vicidial_log_archive", "vicidial_live_agents", "vicidial_auto_calls")
"""The tables that vicisync reads where it may."""

ARCHIVE = "CREATE TABLE vicidial_log_archive LIKE vicidial_log"

# Who is still on the line: of VICIdial's columns those that a reader may want, with all of their indexes.
LIVE_AGENTS = """
CREATE TABLE vicidial_live_agents (
    live_agent_id INT(9) UNSIGNED AUTO_INCREMENT PRIMARY KEY NOT NULL,
    user VARCHAR(20),
    server_ip VARCHAR(15) NOT NULL,
    status ENUM('READY','QUEUE','INCALL','PAUSED','CLOSER','MQUEUE') DEFAULT 'PAUSED',
    lead_id INT(9) UNSIGNED NOT NULL,
    campaign_id VARCHAR(8),
    uniqueid VARCHAR(20),
    last_update_time TIMESTAMP,
    INDEX (last_update_time),
    INDEX (lead_id)
) ENGINE=MyISAM DEFAULT CHARSET={charset}
"""
AUTO_CALLS = """
CREATE TABLE vicidial_auto_calls (
    auto_call_id INT(9) UNSIGNED AUTO_INCREMENT PRIMARY KEY NOT NULL,
    server_ip VARCHAR(15) NOT NULL,
    campaign_id VARCHAR(20),
    status ENUM('SENT','RINGING','LIVE','XFER','PAUSED','CLOSER','BUSY','DISCONNECT','IVR') DEFAULT 'PAUSED',
    lead_id INT(9) UNSIGNED NOT NULL,
    uniqueid VARCHAR(20),
    call_time DATETIME,
    call_type ENUM('IN','OUT','OUTBALANCE') DEFAULT 'OUT',
    last_update_time TIMESTAMP,
    INDEX (uniqueid),
    INDEX (call_time),
    INDEX (last_update_time)
) ENGINE=MEMORY DEFAULT CHARSET={charset}
"""
LIVE_TABLES = ("vicidial_live_agents", "vicidial_auto_calls")


class MariaDBMissing(RuntimeError):
    """The machine has no MariaDB server to run."""

    def __init__(self, program: str) -> None:
        super().__init__(
            f"{program} is not installed. Install MariaDB's server: apt-get install mariadb-server"
            " (dnf install mariadb-server on AlmaLinux, zypper install mariadb on openSUSE)."
            " It need not run as a service."
        )


class MariaDB:
    """One server, from ``with`` to the end of the block; ``stop``, ``kill`` and ``start`` it in between at will.

    The port is its own from the first line to the end of the block, whether it runs or not.

    ``folder`` holds data and log. ``time_zone`` (``America/New_York``) is the zone the server believes its machine to
    be in; by default that is the machine's own. ``options`` are further options of mariadbd; they win over ours.
    Once the database is up, root has no password but is admitted by the socket only.

    The server ends with the process, and on Linux with the thread, that started it: start it from a thread that lasts.
    """

    host = "127.0.0.1"

    def __init__(self, folder: Path, time_zone: str | None = None, options: Sequence[str] = ()) -> None:
        if time_zone is not None:
            ZoneInfo(time_zone)  # the C library would take an unknown name for UTC without a word
        self.folder = folder
        self.time_zone = time_zone
        self.options = tuple(options)
        self._port_holder = hold_port()
        self.port: int = self._port_holder.getsockname()[1]
        self.log = folder / "mariadb.log"
        self.socket = folder / "mariadb.sock"
        self._data = folder / "data"
        self._short_folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.clock: int | None = None  # where it stands still for later sessions; None where it runs

    def __enter__(self) -> MariaDB:
        try:
            self.start()
        except BaseException:
            self._let_go()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self._let_go()

    def _let_go(self) -> None:
        self._port_holder.close()
        if self._short_folder is not None:
            shutil.rmtree(self._short_folder)
            self._short_folder = None

    def start(self) -> None:
        """Start the server, again if need be on the same data and port, and wait until it answers."""
        if self._process is not None:
            raise RuntimeError("This MariaDB has been started already")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._shorten_socket()
        is_new = not self._data.exists()
        if is_new:
            shutil.copytree(_installed_data(), self._data)
        command = [
            _program("mariadbd", "mysqld"),
            "--no-defaults",
            *SERVER_OPTIONS,
            *_as_root(),
            f"--datadir={self._data}",
            f"--tmpdir={self.folder}",  # not /tmp, which anybody may clean
            f"--socket={self.socket}",
            f"--port={self.port}",
            f"--pid-file={self.folder / 'mariadb.pid'}",
            f"--log-error={self.log}",
            *self.options,
        ]
        setpriv = shutil.which("setpriv")
        if setpriv is not None:  # so that not even a SIGKILL of this process leaves a server behind
            command = [setpriv, "--pdeathsig", "KILL", *command]
        environment = dict(os.environ)
        if self.time_zone is not None:
            environment["TZ"] = self.time_zone
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C is meant for the program, which then stops the server in order.
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        atexit.register(self.kill)
        self._wait_until_it_answers()
        if is_new:
            self._admit_root_by_socket_only()

    def stop(self) -> None:
        """Shut the server down in order; a stopped server stays stopped."""
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise RuntimeError(f"MariaDB did not stop within {STOP_TIMEOUT:.0f} s\n{self._log_tail()}") from error
        self._forget_process()

    def kill(self) -> None:
        """End the server the way a power cut does (SIGKILL)."""
        process = self._process
        if process is None:
            return
        process.kill()
        process.wait()
        self._forget_process()

    def connect(self, database: str | None = None, user: str = "root", password: str = "") -> Connection[Cursor]:
        """Return a new connection, by socket and with autocommit; the caller closes it."""
        connection = pymysql.connect(
            user=user, password=password, database=database, autocommit=True, ssl_disabled=True, defer_connect=True
        )
        # PyMySQL would leave its own socket open when nobody listens at the other end.
        plug = socket.socket(socket.AF_UNIX)
        try:
            plug.connect(str(self.socket))
        except OSError as error:
            plug.close()
            raise pymysql.err.OperationalError(CR_CONNECTION_ERROR, f"{self.socket}: {error.strerror}") from error
        connection.connect(plug)
        return connection

    def execute(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one statement as root on a connection of its own and return its rows."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(sql, params)
            return list(cursor.fetchall())

    def set_clock(self, epoch: int | None) -> None:
        """Let the clock of every later session stand still at ``epoch`` seconds; None: let it run again.

        Root's sessions keep the real time, because MariaDB spares administrators ``init_connect``; ask
        ``SET timestamp`` there.
        """
        self.clock = epoch
        self.execute("SET GLOBAL init_connect = %s", ("" if epoch is None else f"SET timestamp={int(epoch)}",))

    def rows_read(self) -> int:
        """Return how many index entries, and rows behind them, the server has read since it started."""
        by_index = "Handler_read_(first|key|last|next|prev)$"
        rows = self.execute(f"SHOW GLOBAL STATUS WHERE Variable_name REGEXP '{by_index}'")
        return sum(int(value) for _, value in rows)

    def create_table(
        self, database: str, *, engine: str = "MyISAM", charset: str = "latin1", called_count: bool = True
    ) -> None:
        """Create ``database`` with VICIdial's tables, empty; before 2.8 its log had no ``called_count``."""
        table = TABLE.format(engine=engine, charset=charset, called_count=CALLED_COUNT if called_count else "")
        self.execute(f"CREATE DATABASE `{database}`")
        with self.connect(database) as connection, connection.cursor() as cursor:
            for sql in (table, ARCHIVE, LIVE_AGENTS.format(charset=charset), AUTO_CALLS.format(charset=charset)):
                cursor.execute(sql)

    def create_reader(self, user: str, password: str, database: str, tables: Sequence[str] = ("vicidial_log",)) -> None:
        """Create an account that may read ``database``'s ``tables`` and nothing else, by socket and by TCP."""
        for host in ("%", "localhost"):
            self.execute("CREATE OR REPLACE USER %s@%s IDENTIFIED BY %s", (user, host, password))
            for table in tables:
                self.execute(f"GRANT SELECT ON `{database}`.{table} TO %s@%s", (user, host))

    def _shorten_socket(self) -> None:
        if len(os.fsencode(self.socket)) > LONGEST_SOCKET_PATH:
            self._short_folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
            self.socket = self._short_folder / "mariadb.sock"

    def _admit_root_by_socket_only(self) -> None:
        for (host,) in self.execute("SELECT host FROM mysql.user WHERE user = 'root' AND host <> 'localhost'"):
            self.execute("DROP USER root@%s", (host,))

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None  # noqa: S101 - for mypy
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                self.connect().close()
                return
            except pymysql.err.OperationalError as error:
                status = self._process.poll()
                if status is not None:
                    self._forget_process()
                    raise RuntimeError(f"MariaDB ended with {status} as it started:\n{self._log_tail()}") from error
                if time.monotonic() > deadline:
                    self.kill()
                    raise RuntimeError(
                        f"MariaDB does not answer after {START_TIMEOUT:.0f} s:\n{self._log_tail()}"
                    ) from error
            time.sleep(0.02)

    def _forget_process(self) -> None:
        self._process = None
        atexit.unregister(self.kill)

    def _log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


@functools.cache
def _installed_data() -> Path:
    """Return the data folder of a server that has never run, made once in this process."""
    folder = Path(tempfile.mkdtemp(prefix="mariadb-installed-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = [
        _program("mariadb-install-db", "mysql_install_db"),
        "--no-defaults",
        f"--datadir={folder / 'data'}",
        f"--tmpdir={folder}",  # in /tmp, two of these at once took each other's files away
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
        REDO_LOG,
        *_as_root(),
    ]
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if result.returncode != 0:
        raise RuntimeError(f"mariadb-install-db failed:\n{result.stdout.decode(errors='replace')}")
    return folder / "data"


def _as_root() -> list[str]:
    """Return the option without which MariaDB refuses to run as root."""
    return ["--user=root"] if os.getuid() == 0 else []


def _program(*names: str) -> str:
    """Return the path of the first of ``names`` that is installed; old MariaDBs carry MySQL's names."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *SERVER_FOLDERS])
    for name in names:
        found = shutil.which(name, path=path)
        if found is not None:
            return found
    raise MariaDBMissing(names[0])
