"""The API key, the database's password and the ping's address stand in nothing that vicisync says, writes or shows.

Each way of failing is gone through with the installed command, and all that comes of it is searched.
"""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

from rehearsal.dialer import fill
from rehearsal.did_optimizer import GARBAGE, HTML_200, LOST_ANSWER, DidOptimizer, answer
from rehearsal.site import PASSWORD, Site
from tests.conftest import Pings
from vicisync.did_optimizer.answer import LONGEST_WORDS, answer_of
from vicisync.did_optimizer.session import ApiSession
from vicisync.settings.settings import load_settings
from vicisync.vicidial.call_log import CallLog

KEY = "sk-live-4f9d/8a+7b=c6"
"""With signs that are written otherwise in URLs and in JSON."""

PING_ID = "s3cret-id"


def guises(secret: str) -> Iterator[str]:
    """A secret as it is, and as a program may write it in passing."""
    yield secret
    yield quote(secret, safe="")
    yield json.dumps(secret)[1:-1].replace("/", "\\/")
    yield base64.b64encode(secret.encode()).decode()
    yield repr(secret.encode())[2:-1]
    yield secret.encode().hex()
    yield secret[: len(secret) // 2 + 2]  # cut short


SECRETS = {guise for secret in (KEY, PASSWORD, PING_ID) for guise in guises(secret)}


@pytest.fixture
def api() -> Iterator[DidOptimizer]:
    with DidOptimizer(api_key=KEY) as server:
        yield server


@pytest.fixture
def guarded(site: Site, pings: Pings) -> Site:
    """A site with calls to send, and with all outputs that there are switched on."""
    with site.mariadb.connect(site.database) as connection:
        fill(connection, 5, int(time.time()) - 200, per_hour=3600)
    site.configure(ping_url=pings.url, metrics_file=str(site.folder / "vicisync.prom"), max_retries="0", db_timeout="1")
    return site


def echoing(http_status: int, *, headers: Mapping[str, str] | None = None) -> Callable[[Site, DidOptimizer], None]:
    """The API repeats the key in its answer, where it is cut short as well."""

    def break_it(site: Site, api: DidOptimizer) -> None:
        del site
        said = f"no such key {KEY}, {KEY[:4]}… {KEY}" + "." * (LONGEST_WORDS - 80) + KEY
        body = json.dumps({"success": False, "error": said, "message": KEY}).encode()
        api.fault_for = lambda _: answer(http_status, headers, body)

    return break_it


def _healthy(site: Site, api: DidOptimizer) -> None:
    del site, api


def _lost(site: Site, api: DidOptimizer) -> None:
    del site
    api.fault_for = lambda _: LOST_ANSWER


def _html(site: Site, api: DidOptimizer) -> None:
    del site
    api.fault_for = lambda _: HTML_200


def _garbage(site: Site, api: DidOptimizer) -> None:
    del site
    api.fault_for = lambda _: GARBAGE


def _down(site: Site, api: DidOptimizer) -> None:
    del site
    api.down()


def _wrong_key(site: Site, api: DidOptimizer) -> None:
    del site
    api.api_key = "another"


def _no_tls(site: Site, api: DidOptimizer) -> None:
    site.api_url = api.url.replace("http:", "https:")
    site.configure()


def _wrong_password(site: Site, api: DidOptimizer) -> None:
    del api
    for host in ("%", "localhost"):
        site.mariadb.execute("ALTER USER cron@%s IDENTIFIED BY 'another'", (host,))


def _no_grant(site: Site, api: DidOptimizer) -> None:
    del api
    site.mariadb.execute(f"REVOKE SELECT ON `{site.database}`.vicidial_log FROM cron@'%%'")


def _no_table(site: Site, api: DidOptimizer) -> None:
    del api
    site.mariadb.execute(f"DROP TABLE `{site.database}`.vicidial_log")


def _no_database(site: Site, api: DidOptimizer) -> None:
    del api
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        replace(site.astguiclient_conf, f"VARDB_port => {site.mariadb.port}", f"VARDB_port => {probe.getsockname()[1]}")


def _ping_down(site: Site, api: DidOptimizer) -> None:
    del api
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        site.configure(ping_url=f"http://127.0.0.1:{probe.getsockname()[1]}/{PING_ID}")


def _ping_by_tls(site: Site, api: DidOptimizer) -> None:
    site.configure(ping_url=f"{api.url.replace('http:', 'https:')}/{PING_ID}")


def _ping_nowhere(site: Site, api: DidOptimizer) -> None:
    del api
    site.configure(ping_url=f"https://no-such-host.invalid/{PING_ID}")


def _damaged(site: Site, api: DidOptimizer) -> None:
    del api
    site.checkpoint_file.parent.mkdir()
    site.checkpoint_file.write_text("damaged\n")


def _open_folder(site: Site, api: DidOptimizer) -> None:
    del api
    site.checkpoint_file.parent.mkdir()
    site.checkpoint_file.parent.chmod(0o777)


def in_dids(old: str, new: str) -> Callable[[Site, DidOptimizer], None]:
    return lambda site, _: replace(site.dids_conf, old, new)


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def _bug(site: Site, api: DidOptimizer) -> None:
    """A traceback through the very lines that hold key and password."""
    del api
    (site.folder / "sitecustomize.py").write_text(
        "import json, vicisync.did_optimizer.session\n"
        "def dumps(payload):\n"
        "    raise KeyError('not foreseen')\n"
        "vicisync.did_optimizer.session.json = type('json', (), {'dumps': dumps, 'loads': json.loads})\n"
    )


def _bug_in_login(site: Site, api: DidOptimizer) -> None:
    del api
    (site.folder / "sitecustomize.py").write_text(
        "import pymysql.connections\n"
        "def connect(self, sock=None):\n"
        "    raise KeyboardInterrupt\n"
        "pymysql.connections.Connection.connect = connect\n"
    )


WAYS = [
    pytest.param(_healthy, 0, id="nothing fails"),
    pytest.param(_wrong_key, 4, id="wrong key"),
    pytest.param(echoing(400), 6, id="rejected, the key repeated"),
    pytest.param(echoing(401), 4, id="refused, the key repeated"),
    pytest.param(echoing(500), 4, id="error, the key repeated"),
    pytest.param(echoing(302, headers={"Location": f"https://x.example/{KEY}"}), 4, id="moved, the key repeated"),
    pytest.param(
        echoing(308, headers={"Location": f"https://x.example/{KEY}/api/v1/call-results"}), 4, id="moved elsewhere"
    ),
    pytest.param(_lost, 4, id="lost answer"),
    pytest.param(_html, 4, id="web page"),
    pytest.param(_garbage, 4, id="garbage"),
    pytest.param(_down, 4, id="API down"),
    pytest.param(_no_tls, 4, id="API without TLS"),
    pytest.param(_wrong_password, 3, id="wrong password"),
    pytest.param(_no_grant, 3, id="no grant"),
    pytest.param(_no_table, 3, id="no table"),
    pytest.param(_no_database, 3, id="database down"),
    pytest.param(_ping_down, 0, id="ping not reached"),
    pytest.param(_ping_by_tls, 0, id="ping without TLS"),
    pytest.param(_ping_nowhere, 0, id="ping to nowhere"),
    pytest.param(_damaged, 5, id="checkpoint damaged"),
    pytest.param(_open_folder, 5, id="folder open to others"),
    pytest.param(in_dids(f"api_key={KEY}", f"api_key={KEY} é"), 2, id="key with a stranger in it"),
    pytest.param(in_dids(f"api_key={KEY}", f"api_base_url={KEY}"), 2, id="key in the URL's place"),
    pytest.param(in_dids("http://", f"http://{KEY}@"), 2, id="key in the URL"),
    pytest.param(in_dids("[vicisync]", f"[vicisync]\n{KEY}"), 2, id="key on a line of its own"),
    pytest.param(in_dids("[vicisync]", f"[vicisync]\napi_key={KEY}"), 2, id="key in the wrong section"),
    pytest.param(in_dids("ping_url=", f"ping_url={KEY} "), 2, id="ping to no URL"),
    pytest.param(in_dids("[vicisync]", f"[vicisync]\ndb_pass={PASSWORD}"), 2, id="password in the wrong section"),
    pytest.param(in_dids("[vicisync]", f"[dispositions]\nA={KEY}\n[vicisync]"), 2, id="key for a result"),
    pytest.param(_bug, 1, id="bug"),
    pytest.param(_bug_in_login, None, id="Ctrl-C in the login"),
]

COMMANDS = (
    [("run", "-v")],
    [("run", "--dry-run", "-v"), ("status",), ("status", "--json"), ("check",)],
    [("retry-rejected",)],
    [("reset-checkpoint", "--yes")],
)
"""In turn; those that change nothing at the same time."""


@pytest.mark.parametrize(("break_it", "code"), WAYS)
def test_no_secret_stands_in_what_any_command_says_or_leaves_behind(
    break_it: Callable[[Site, DidOptimizer], None], code: int | None, guarded: Site, api: DidOptimizer
) -> None:
    break_it(guarded, api)
    codes = []
    for together in COMMANDS:
        processes = [guarded.start(*arguments, PYTHONPATH=str(guarded.folder)) for arguments in together]
        shown = [Path(f"/proc/{process.pid}/cmdline").read_bytes().decode() for process in processes]
        for process in processes:
            shown += process.communicate(timeout=60)
            codes.append(process.returncode)
        for path in guarded.folder.rglob("*"):
            if path.is_file() and path not in (guarded.dids_conf, guarded.astguiclient_conf):
                shown.append(path.read_bytes().decode("utf-8", "replace"))
        assert [] == [(guise, text) for text in shown for guise in SECRETS if guise in text]
    assert code in (None, codes[0])


def test_no_secret_stands_in_a_repr(guarded: Site) -> None:
    settings = load_settings(guarded.astguiclient_conf, guarded.dids_conf, {})
    assert (KEY, PASSWORD) == (settings.api_key, settings.db_password)
    session = ApiSession(settings)
    with CallLog(settings) as log:
        shown = f"{settings!r} {settings} {session!r} {log!r} {log._connection!r}"
    session.close()
    assert {guise for guise in SECRETS if guise in shown} == set()


@pytest.mark.parametrize("http_status", [200, 202, 302, 400, 401, 404, 500])
@pytest.mark.parametrize("place", ["error", "message"])
def test_an_answer_that_repeats_the_key_anywhere_is_told_without_it(http_status: int, place: str) -> None:
    for before in range(LONGEST_WORDS + 5):
        body = json.dumps({"success": False, place: "x" * before + KEY}).encode()
        words = answer_of(http_status, {"Location": "y" * before + KEY}, body, None, KEY).words
        assert {guise for guise in guises(KEY) if guise in words} == set()
