"""The API key, the database's password and the ping's address stand in nothing that vicisync says, writes or shows.

Each way of failing is gone through with every command, and all that comes of it is searched.
"""

import base64
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

from rehearsal.did_optimizer import GARBAGE, HTML_200, LOST_ANSWER, DidOptimizer, Fault, answer
from rehearsal.site import PASSWORD, Site
from tests.conftest import Pings, command_here, finish_calls
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
    finish_calls(site, 5)
    site.configure(ping_url=pings.url, metrics_file=str(site.folder / "vicisync.prom"), max_retries="0", db_timeout="1")
    return site


Break = Callable[[Site, DidOptimizer, int], object]
"""Breaks something at a site, of the API, or by means of a port at which nobody listens."""


def fails(fault: Fault) -> Break:
    def break_it(_: Site, api: DidOptimizer, __: int) -> None:
        api.fault_for = lambda _: fault

    return break_it


def but_for_the_first(break_it: Break) -> Break:
    """Let one call through, so that the verdicts against the others count."""

    def breakage(site: Site, api: DidOptimizer, port: int) -> None:
        break_it(site, api, port)
        fault_for = api.fault_for
        api.fault_for = lambda payload: fault_for(payload) if fault_for and api.records else None

    return breakage


def echoes(http_status: int, headers: Mapping[str, str] | None = None) -> Break:
    """The API repeats the key in its answer, where it is cut short as well."""
    said = f"no such key {KEY}, {KEY[:4]}… {KEY}" + "." * (LONGEST_WORDS - 80) + KEY
    body = json.dumps({"success": False, "error": said, "message": KEY}).encode()
    return fails(answer(http_status, headers, body))


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def in_dids(old: str, new: str) -> Break:
    return lambda site, *_: replace(site.dids_conf, old, new)


def sql(statement: str) -> Break:
    return lambda site, *_: site.mariadb.execute(statement.replace("vicidial_log", f"`{site.database}`.vicidial_log"))


def pings_to(url: str) -> Break:
    return lambda site, api, port: site.configure(ping_url=f"{url.format(api=api.port, nobody=port)}/{PING_ID}")


def has_no_tls(site: Site, api: DidOptimizer, _: int) -> None:
    site.api_url = api.url.replace("http:", "https:")
    site.configure()


def is_damaged(site: Site, *_: object) -> None:
    site.checkpoint_file.parent.mkdir()
    site.checkpoint_file.write_text("damaged\n")


def is_open(site: Site, *_: object) -> None:
    site.checkpoint_file.parent.mkdir()
    site.checkpoint_file.parent.chmod(0o777)


def customized(text: str) -> Break:
    """The installed command begins by running this."""
    return lambda site, *_: (site.folder / "sitecustomize.py").write_text(text)


BUG = """
import json, vicisync.did_optimizer.session
def dumps(payload):
    raise KeyError('not foreseen')
vicisync.did_optimizer.session.json = type('json', (), {'dumps': dumps, 'loads': json.loads})
"""
"""A traceback through the very lines that hold key and password."""

INTERRUPT = """
import pymysql.connections
def connect(self, sock=None):
    raise KeyboardInterrupt
pymysql.connections.Connection.connect = connect
"""

ELSEWHERE = {"Location": f"https://x.example/{KEY}"}

WAYS = [
    pytest.param(lambda _, api, __: setattr(api, "api_key", "another"), 4, id="wrong key"),
    pytest.param(but_for_the_first(echoes(400)), 6, id="rejected, the key repeated"),
    pytest.param(echoes(401), 4, id="refused, the key repeated"),
    pytest.param(echoes(500), 4, id="error, the key repeated"),
    pytest.param(echoes(302, ELSEWHERE), 4, id="moved, the key repeated"),
    pytest.param(echoes(308, {"Location": f"https://x.example/{KEY}/api/v1/call-results"}), 4, id="moved elsewhere"),
    pytest.param(fails(LOST_ANSWER), 4, id="lost answer"),
    pytest.param(fails(HTML_200), 4, id="web page"),
    pytest.param(fails(GARBAGE), 4, id="garbage"),
    pytest.param(lambda _, api, __: api.down(), 4, id="API down"),
    pytest.param(has_no_tls, 4, id="API without TLS"),
    pytest.param(sql("ALTER USER cron@'%%' IDENTIFIED BY 'another'"), 3, id="wrong password"),
    pytest.param(sql("REVOKE SELECT ON vicidial_log FROM cron@'%%'"), 3, id="no grant"),
    pytest.param(sql("DROP TABLE vicidial_log"), 3, id="no table"),
    pytest.param(
        lambda site, _, port: replace(site.astguiclient_conf, f"=> {site.mariadb.port}", f"=> {port}"),
        3, id="database down",
    ),
    pytest.param(pings_to("http://127.0.0.1:{nobody}"), 0, id="ping not reached"),
    pytest.param(pings_to("https://127.0.0.1:{api}"), 0, id="ping without TLS"),
    pytest.param(pings_to("https://no-such-host.invalid"), 0, id="ping to nowhere"),
    pytest.param(is_damaged, 5, id="checkpoint damaged"),
    pytest.param(is_open, 5, id="folder open to others"),
    pytest.param(in_dids(f"api_key={KEY}", f"api_key={KEY} é"), 2, id="key with a stranger in it"),
    pytest.param(in_dids(f"api_key={KEY}", f"api_base_url={KEY}"), 2, id="key in the URL's place"),
    pytest.param(in_dids("http://", f"http://{KEY}@"), 2, id="key in the URL"),
    pytest.param(in_dids("[vicisync]", f"[vicisync]\n{KEY}"), 2, id="key on a line of its own"),
    pytest.param(in_dids("[vicisync]", f"[vicisync]\napi_key={KEY}"), 2, id="key in the wrong section"),
    pytest.param(in_dids("ping_url=", f"ping_url={KEY} "), 2, id="ping to no URL"),
    pytest.param(in_dids("[vicisync]", f"[vicisync]\ndb_pass={PASSWORD}"), 2, id="password in the wrong section"),
    pytest.param(in_dids("[vicisync]", f"[dispositions]\nA={KEY}\n[vicisync]"), 2, id="key for a result"),
]  # fmt: skip

COMMANDS = (
    [("run", "-v")],
    [("run", "--dry-run", "-v"), ("status",), ("status", "--json"), ("check",)],
    [("retry-rejected",)],
    [("reset-checkpoint", "--yes")],
)
"""In turn; those that change nothing at the same time."""


def left_behind(site: Site) -> list[str]:
    """Return what stands in the files that vicisync has written."""
    written = {path for path in site.folder.rglob("*") if path.is_file()} - {site.dids_conf, site.astguiclient_conf}
    return [path.read_bytes().decode("utf-8", "replace") for path in written]


def told(shown: list[str]) -> list[tuple[str, str]]:
    return [(guise, text) for text in shown for guise in SECRETS if guise in text]


@pytest.mark.parametrize(("break_it", "code"), WAYS)
def test_no_secret_stands_in_what_any_command_says_or_leaves_behind(
    break_it: Break, code: int, guarded: Site, api: DidOptimizer, closed_port: int
) -> None:
    break_it(guarded, api, closed_port)
    codes = []
    for arguments in itertools.chain(*COMMANDS):
        done = command_here(guarded, *arguments)
        codes.append(done.returncode)
        assert [] == told([done.stdout, done.stderr, *left_behind(guarded)])
    assert code == codes[0]


@pytest.mark.parametrize(
    ("break_it", "code"),
    [
        pytest.param(lambda *_: None, 0, id="nothing fails"),
        pytest.param(customized(BUG), 1, id="bug"),
        pytest.param(customized(INTERRUPT), 130, id="Ctrl-C in the login"),
    ],
)
def test_no_secret_stands_in_tracebacks_and_arguments_of_the_installed_command(
    break_it: Break, code: int, guarded: Site, api: DidOptimizer
) -> None:
    break_it(guarded, api, 0)
    codes = []
    for together in COMMANDS:
        processes = [guarded.start(*arguments, PYTHONPATH=str(guarded.folder)) for arguments in together]
        shown = [Path(f"/proc/{process.pid}/cmdline").read_bytes().decode() for process in processes]
        for process in processes:
            shown += process.communicate(timeout=60)
            codes.append(process.returncode)
        assert [] == told([*shown, *left_behind(guarded)])
    assert code == codes[0]


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
