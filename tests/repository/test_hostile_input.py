"""Whatever comes in, nothing but our own errors comes out, no call is lost, and no line of the log is forged.

Both configuration files have such tests of their own, as have the rejected file and the text of the checkpoint. With
``--hypothesis-profile=long`` each tries 50,000 inputs.
"""

import io
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pymysql
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rehearsal.did_optimizer import DidOptimizer
from rehearsal.mariadb import MariaDB
from rehearsal.ports import Listener
from rehearsal.site import PASSWORD, Site
from tests.call_rows import settings_of
from tests.conftest import make_settings, run_here
from vicisync.calls.call import Call
from vicisync.calls.readiness import Watched
from vicisync.did_optimizer.answer import LONGEST_WORDS, Answer, Meaning
from vicisync.did_optimizer.session import ApiSession
from vicisync.errors import CURE, CheckpointError, DatabaseError
from vicisync.report import Report, Verbosity
from vicisync.state.checkpoint import Checkpoint, Handled, render
from vicisync.state.load import read_checkpoint
from vicisync.state.old_checkpoint import read_old_checkpoint
from vicisync.state.rejected import read_rejected
from vicisync.vicidial.call_log import CallLog

STEERING = "\x1b[2J\x1b]0;t\x07\r\n2026-01-01 00:00:00 +0000 ✅ Sync completed successfully\u2028\u202e\x85\x9b31m\b\0"
"""What would clear a terminal, name its window, and add a line to the log."""

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [STEERING, "'; DROP TABLE vicidial_log; --", '"', "\\", "%s", "{0}", "😀" * 5, "NULL", "é\u0301", " ", "\t", "\x7f"]
)

CALL = Call("1.1", 1, 1, "C", "2026-01-01 00:00:00", 1, 2, 1, "SALE", "1", "2125550100", "u", "", "g", "", "NONE", 1)


# What the API answers


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ApiSession, list[bytes]]]:
    """A session with a server that answers each request with the last of the replies, and closes."""
    replies = [b""]

    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(replies[-1])
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    with Listener(answer) as server:
        folder = tmp_path_factory.mktemp("api")
        session = ApiSession(make_settings(folder, api_base_url=server.url, api_timeout="5"))
        yield session, replies
        session.close()


BODIES = st.binary(max_size=300) | st.builds(
    lambda content: json.dumps(content).encode(),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["success", "duplicate", "error", "message"]) | TEXTS, inner, max_size=4)
        ),
        max_leaves=8,
    ),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"Location", b"Retry-After", b"Content-Encoding", b"Content-Length", b"Transfer-Encoding"]),
        st.sampled_from([b"gzip", b"deflate", b"chunked", b"-1", b"999999999999999999999", b"https://\x1b[2J/", b"5"])
        | st.binary(max_size=30),
    ),
    max_size=3,
)
REPLIES = st.binary(max_size=300) | st.builds(
    lambda status, reason, headers, body: b"".join(
        [b"HTTP/1.1 %d " % status, reason, b"\r\n", *(b"%s: %s\r\n" % header for header in headers), b"\r\n", body]
    ),
    st.sampled_from([200, 201, 204, 301, 302, 400, 401, 404, 413, 429, 500, 503]) | st.integers(0, 9999),
    st.binary(max_size=20),
    HEADERS,
    BODIES,
)


def told(http_status: int, body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 %d Said" % http_status, *headers, b"", body])


@given(reply=REPLIES)
@example(reply=told(400, json.dumps({"error": STEERING}).encode()))
@example(reply=told(500, json.dumps({"message": "\n" * 10 + STEERING * 10}).encode()))
@example(reply=told(401, json.dumps({"error": " \n\t"}).encode()))
@example(reply=told(302, b"", b"Location: https://\x85\x1b[2J/api/v1/call-results"))
@example(reply=told(302, b"", b"Location: https://["))
@example(reply=told(302, b"", b"Location: /\x1b[2J\x85\x0c"))
def test_whatever_the_api_answers_has_a_meaning_and_line(reply: bytes, session: tuple[ApiSession, list[bytes]]) -> None:
    session[1][:] = [reply]
    answer = session[0].post({"uniqueid": "1.1"})
    assert isinstance(answer, Answer)
    assert answer.words
    assert 3 * LONGEST_WORDS > len(answer.words)
    assert 1 == len(answer.words.splitlines())
    assert answer.meaning is not Meaning.DELIVERED or b"success" in reply or b"Content-Encoding" in reply
    assert answer.retry_after is None or answer.retry_after >= 0
    said = io.StringIO()
    report = Report(said, Verbosity.QUIET)
    report.failed(CALL, answer.words)
    report.error(f"DID Optimizer cannot be used: {answer.words}")
    first, second, rest = said.getvalue().split("\n")
    assert (first + second).isprintable()
    assert (True, True, "") == ("✗ 1.1: failed: " in first, "❌ DID Optimizer" in second, rest)


# What the database's server answers


@dataclass
class Garbling:
    """Stands between a client and MariaDB; after ``after`` bytes of the server's, sends ``junk`` and hangs up."""

    mariadb: MariaDB
    after: int = 0
    junk: bytes = b""

    def serve(self, client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self.mariadb.port)) as server:
            forward = threading.Thread(target=self._forward, args=(client, server))
            forward.start()
            left = self.after
            while left and (data := server.recv(left)):
                client.sendall(data)
                left -= len(data)
            client.sendall(self.junk)
            client.shutdown(socket.SHUT_WR)
            server.shutdown(socket.SHUT_RDWR)
            forward.join()

    @staticmethod
    def _forward(client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)


@pytest.fixture(scope="module")
def garbled(mariadb: MariaDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Garbling, Any]]:
    mariadb.create_table("garbled")
    mariadb.create_reader("cron", PASSWORD, "garbled")
    with mariadb.connect("garbled") as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO vicidial_log (uniqueid, lead_id, call_date, start_epoch, status, comments)"
            " SELECT seq, seq, NOW(), UNIX_TIMESTAMP(), 'NA', 'é' FROM seq_1_to_20"
        )
    proxy = Garbling(mariadb)
    with Listener(proxy.serve) as server:
        texts = {"db_port": str(server.port), "db_timeout": "5"}
        yield proxy, settings_of(tmp_path_factory.mktemp("garbled"), mariadb, "garbled", **texts)


PACKETS = st.builds(
    lambda number, body: len(body).to_bytes(3, "little") + bytes([number]) + body, st.integers(0, 20), st.binary()
)


def refusal(said: bytes) -> bytes:
    """An error, as a server sends it in the greeting's place."""
    body = b"\xff\x10\x04#08004" + said
    return len(body).to_bytes(3, "little") + b"\0" + body


@given(after=st.integers(0, 3000), junk=st.binary(max_size=100) | st.lists(PACKETS, max_size=4).map(b"".join))
@example(after=0, junk=refusal(STEERING.encode()))
@example(after=0, junk=refusal(b"x" * 60_000))
def test_whatever_the_database_sends_is_rows_or_an_error(
    after: int, junk: bytes, garbled: tuple[Garbling, Any]
) -> None:
    proxy, configured = garbled
    proxy.after, proxy.junk = after, junk
    said = "nothing was wrong"
    try:
        with CallLog(configured) as log:
            now = log.now()
            found = [row for page in log.pages(now - 3600, {"1"}.issuperset) for row in page.rows]
            log.whole([row.uniqueid for row in found])
            log.again({"gone": 1})
    except DatabaseError as error:
        said = str(error)
    assert 1 == len([line for line in said.splitlines() if not line.startswith("→ ")])
    assert 600 > len(said)
    assert PASSWORD not in said


# What stands in the rows


def small(highest: int, lowest: int = 0) -> st.SearchStrategy[int | None]:
    return st.none() | st.sampled_from([lowest, highest]) | st.integers(lowest, highest)


COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "lead_id": st.sampled_from([0, 1, 2**32 - 1]) | st.integers(0, 2**32 - 1),
    "list_id": small(2**64 - 1),
    "campaign_id": st.none() | TEXTS.map(lambda text: text[:8]),
    "start_epoch": st.none() | st.just(0) | st.integers(-300, 0),  # counted from now
    "end_epoch": st.none() | st.just(0) | st.integers(-300, 300),  # counted from now
    "length_in_sec": small(2**31 - 1, -(2**31)),
    "status": st.none() | TEXTS.map(lambda text: text[:6]) | st.sampled_from(["SALE", "INCALL", "A", "", "XFER"]),
    "phone_code": st.none() | TEXTS.map(lambda text: text[:10]),
    "phone_number": st.none() | TEXTS.map(lambda text: text[:18]),
    "user": st.none() | TEXTS.map(lambda text: text[:20]),
    "comments": st.none() | TEXTS | st.text(st.characters(exclude_categories=["Cs"]), min_size=255, max_size=255),
    "user_group": st.none() | TEXTS.map(lambda text: text[:20]),
    "term_reason": st.none() | st.sampled_from(["CALLER", "AGENT", "NONE", ""]),
    "alt_dial": st.none() | TEXTS.map(lambda text: text[:6]),
    "called_count": small(2**16 - 1),
}
ROWS = st.lists(st.tuples(TEXTS, st.fixed_dictionaries(COLUMNS)), min_size=1, max_size=4)

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} (✓|✗|…|⚠|📅|🚀|✅|📞|📊|💾|❌) .*")


@pytest.fixture(scope="module")
def hostile_site(mariadb: MariaDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, DidOptimizer]]:
    mariadb.create_table("hostile", charset="utf8mb4")
    with DidOptimizer() as api:
        yield Site.of(tmp_path_factory.mktemp("hostile"), mariadb, "hostile", api, max_runtime="0"), api


@given(rows=ROWS)
def test_whatever_stands_in_a_row_is_delivered_as_it_stands_or_kept_and_makes_one_line(
    rows: list[tuple[str, dict[str, Any]]], hostile_site: tuple[Site, DidOptimizer]
) -> None:
    """The stand-in stores what has a phone number and a campaign, and refuses the rest for good."""
    site, api = hostile_site
    api.forget()
    site.mariadb.execute("TRUNCATE hostile.vicidial_log")
    for left_behind in (site.checkpoint_file, site.rejected_file):
        left_behind.unlink(missing_ok=True)
    now = int(time.time())
    written: dict[str, dict[str, Any]] = {}
    with site.mariadb.connect("hostile") as connection, connection.cursor() as cursor:
        cursor.execute("SET NAMES utf8mb4")
        sound = {"campaign_id": "C", "phone_number": "1", "status": "NA", "start_epoch": -60, "end_epoch": -30}
        for number, (odd, columns) in enumerate([*rows, ("sound", {**rows[0][1], **sound})]):
            uniqueid = f"{number}.{odd}"[:20].rstrip(" ")
            row = {**columns, "uniqueid": uniqueid, "call_date": time.strftime("%Y-%m-%d %H:%M:%S")}
            for name in ("start_epoch", "end_epoch"):
                row[name] = row[name] and now + row[name]
            names = ", ".join(row)
            with suppress(pymysql.err.IntegrityError):  # two ids that the collation takes for one
                cursor.execute(f"INSERT INTO vicidial_log ({names}) VALUES %s", (tuple(row.values()),))
                written[uniqueid] = row
    done = [run_here(site, verbosity=Verbosity.VERBOSE) for _ in range(2)]  # what was remembered is read the next time
    assert [None, None] == [each.error for each in done]
    assert 0 == api.repeats
    checkpoint = read_checkpoint(site.checkpoint_file, 28800)
    assert checkpoint is not None
    rejected = read_rejected(site.rejected_file)
    assert [] == rejected.unreadable
    for uniqueid, row in written.items():
        ways = (uniqueid in api.records, uniqueid in rejected.calls, uniqueid in checkpoint.watching)
        assert 1 == sum(ways), uniqueid
        if ways[0]:
            sent = api.records[uniqueid]
            for field, column in [("comments", "comments"), ("disposition", "status"), ("phoneNumber", "phone_number")]:
                assert row[column] == sent[field]
            length = row["length_in_sec"]
            assert (row["end_epoch"], length and max(0, length)) == (sent["endEpoch"], sent["duration"])
    lines = "".join(each.log for each in done).split("\n")
    assert "" == lines.pop()
    assert [] == [line for line in lines if not (line.isprintable() and LINE.fullmatch(line))]
    for sign, calls in ("✓", api.records), ("✗", rejected.calls):
        assert len(calls) == sum(line[26:].startswith(sign) for line in lines)
    assert 1 == sum(line[26:].startswith(("✅ Sync completed", "✅ Nothing new", "⚠ ", "⏳")) for line in lines[-1:])
    for path in (site.checkpoint_file, site.rejected_file):
        if path.exists():
            text = path.read_text("ascii")
            assert text.replace("\n", "").replace("\t", "").replace("\x7f", "").isprintable()


# What stands in the checkpoint


WATCHING, HANDLED = {"1729771100.5": Watched(7, 1729771100, "not_ended")}, {"1729771000.4": Handled(1729771000, 6)}
SOUND = render(Checkpoint(1729771200, 1729767600, 1729771260, WATCHING, HANDLED)).encode()
PLACES = st.integers(0, len(SOUND))
DAMAGED = st.builds(lambda cut, junk, on: SOUND[:cut] + junk + SOUND[on:], PLACES, st.binary(max_size=40), PLACES)


@given(content=st.binary(max_size=300) | DAMAGED)
def test_whatever_stands_in_the_checkpoint_is_read_or_refused_in_one_line_and_left_as_it_was(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile-checkpoint"
    path.write_bytes(content)
    said = "vicisync reset-checkpoint is not needed"
    try:
        assert isinstance(read_checkpoint(path, 28800), Checkpoint)
    except CheckpointError as error:
        said = str(error)
    assert 1 == len(said.replace(CURE, " ").splitlines())
    assert "vicisync reset-checkpoint" in said
    assert 500 > len(said)
    old, words = read_old_checkpoint(path, 28800)
    assert words
    assert old is None or old.end_epoch <= time.time()
    assert content == path.read_bytes()
