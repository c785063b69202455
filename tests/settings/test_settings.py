import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from vicisync.errors import ConfigError
from vicisync.settings.settings import SETTINGS, Setting, Settings, load_settings

Load = Callable[..., Settings]


@pytest.fixture(autouse=True)
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for /etc, empty."""
    monkeypatch.setattr("vicisync.settings.settings.ASTGUICLIENT_CONF", tmp_path / "astguiclient.conf")
    monkeypatch.setattr("vicisync.settings.settings.DIDS_CONF", tmp_path / "dids.conf")
    return tmp_path


@pytest.fixture
def load(etc: Path) -> Load:
    def load(
        vicisync: str = "", *, general: str = "api_key=k", dispositions: str = "", astguiclient: str | None = None,
        environ: Mapping[str, str] = {}, options: Mapping[str, str] = {}, needs_key: bool = True,
    ) -> Settings:  # fmt: skip
        text = f"[general]\n{general}\n[vicisync]\n{vicisync}\n[dispositions]\n{dispositions}\n"
        (etc / "dids.conf").write_bytes(os.fsencode(text))
        if astguiclient is not None:
            (etc / "astguiclient.conf").write_bytes(os.fsencode(astguiclient))
        return load_settings(None, None, environ, options, needs_key=needs_key)

    return load


def mistakes_of(load: Load, *args: str, **kwargs: object) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load(*args, **kwargs)
    return refused.value.mistakes


# What a setting is where nobody sets it, and who wins where several do


DEFAULTS = {
    "db_host": "localhost", "db_port": 3306, "db_user": "cron", "db_password": "1234", "db_name": "asterisk",
    "api_base_url": "http://localhost:5000", "api_key": "k", "api_timeout": 10.0, "max_retries": 3, "verify_ssl": True,
    "batch_size": 500, "concurrency": 8, "overlap": 600, "wait_for_disposition": 900,
    "waiting_statuses": frozenset({"INCALL", "QUEUE", "DISPO", "ALTNUM", "DONEM", "XFER"}),
    "campaigns": None, "exclude_campaigns": None, "give_up_after": 28800, "max_runtime": 50,
    "checkpoint_file": Path("/var/lib/vicisync/checkpoint"),
    "rejected_file": Path("/var/lib/vicisync/rejected.jsonl"),
    "journal_file": Path("/var/lib/vicisync/journal.db"), "journal_days": 31,
    "old_checkpoint_file": Path("/tmp/did-optimizer-last-check.txt"),  # noqa: S108  (only named)
    "db_timeout": 10, "db_ssl_ca": None, "log_phone_numbers": True, "metrics_file": None, "ping_url": None,
    "alert_command": None,
}  # fmt: skip


def test_without_files_the_key_alone_is_enough() -> None:
    settings = load_settings(None, None, {"API_KEY": "k"})
    sources = dict.fromkeys(DEFAULTS, "default") | {"api_key": "environment API_KEY"}
    assert {**DEFAULTS, "dispositions": {}, "sources": sources} == dataclasses.asdict(settings)


def database(settings: Settings) -> tuple[object, ...]:
    return settings.db_host, settings.db_port, settings.db_user, settings.db_password, settings.db_name


def test_the_environment_wins_over_the_files_and_an_option_over_all(load: Load) -> None:
    names = [f"VICIDIAL_DB_{name}" for name in ("HOST", "PORT", "USER", "PASSWORD", "NAME")]
    settings = load(
        general="api_key=file\napi_base_url=http://file",
        astguiclient="VARDB_server=file\nVARDB_port=1\nVARDB_user=file\nVARDB_pass=file\nVARDB_database=file",
        environ={**dict(zip(names, "h2upn", strict=True)), "DID_OPTIMIZER_API_URL": "https://a", "API_KEY": "k"},
        options={"db_host": "option"},
    )
    assert ("option", 2, "u", "p", "n") == database(settings)
    assert ("https://a", "k") == (settings.api_base_url, settings.api_key)
    assert settings.sources["db_host"] == "option --db-host"


def test_what_is_empty_is_not_set(load: Load) -> None:
    settings = load("batch_size=\nmetrics_file =", general="api_key=file", environ={"API_KEY": ""})
    assert (500, None, "file") == (settings.batch_size, settings.metrics_file, settings.api_key)


IN_DIDS = "api_key=k\ndb_host=dids\ndb_port=1\ndb_user=dids\ndb_pass=dids\ndb_name=dids"


def test_dids_conf_names_the_database_where_astguiclient_conf_is_absent(load: Load, etc: Path) -> None:
    settings = load(general=IN_DIDS)
    assert ("dids", 1, "dids", "dids", "dids") == database(settings)
    assert settings.sources["db_password"] == f"{etc}/dids.conf line 6"


def test_dids_conf_does_not_fill_the_gaps_of_astguiclient_conf(load: Load) -> None:
    settings = load(general=IN_DIDS, astguiclient="VARDB_server => db1\nVARDB_port =>\nVARDB_pass =>\n")
    assert ("db1", 3306, "cron", "", "asterisk") == database(settings), "an empty VARDB_pass is none, as in VICIdial"
    empty = load(general=IN_DIDS, astguiclient="")
    assert ("localhost", "1234") == (empty.db_host, empty.db_password)


@pytest.mark.parametrize("written", [b"p\xe4\xdf", "pä".encode(), b"\x80\xad\xff"])
def test_a_passwords_bytes_pass_unchanged_from_everywhere(load: Load, etc: Path, written: bytes) -> None:
    text = os.fsdecode(written)
    settings = [load(astguiclient=f"VARDB_pass => {text}")]
    (etc / "astguiclient.conf").unlink()
    settings += [load(general=f"api_key=k\ndb_pass={text}"), load(environ={"VICIDIAL_DB_PASSWORD": text})]
    assert [written] * 3 == [each.db_password.encode("latin-1") for each in settings]


# The files


@pytest.mark.parametrize("file", ["astguiclient", "dids"])
def test_a_file_that_is_named_must_exist_even_at_the_standard_path(etc: Path, file: str) -> None:
    named = {file: etc / f"{file}.conf"}
    with pytest.raises(ConfigError, match=f"{named[file]} does not exist"):
        load_settings(named.get("astguiclient"), named.get("dids"), {"API_KEY": "k"})


def test_two_unreadable_files_are_reported_at_once_and_alone(etc: Path) -> None:
    (etc / "astguiclient.conf").mkdir()
    os.mkfifo(etc / "dids.conf")
    with pytest.raises(ConfigError) as refused:
        load_settings(None, None, {})
    told = ("astguiclient.conf' cannot be read: Is a directory", "dids.conf is not a regular file")
    assert [True, True] == [words in each for words, each in zip(told, refused.value.mistakes, strict=True)]


# What a setting may be


@pytest.mark.parametrize(
    ("setting", "lowest", "highest"),
    [
        ("batch_size", 1, 10000), ("concurrency", 1, 64), ("max_retries", 0, 10), ("db_port", 1, 65535),
    ],
)  # fmt: skip
def test_a_whole_number_has_bounds(load: Load, setting: str, lowest: int, highest: int) -> None:
    for number in (lowest, highest):
        assert getattr(load(options={setting: str(number)}), setting) == number
    for number in (lowest - 1, highest + 1):
        (mistake,) = mistakes_of(load, options={setting: str(number)})
        assert f"{setting} must be a whole number" in mistake
        assert f"from {lowest} to {highest}, digits only, not '{number}'." in mistake


TIMES = {
    "overlap": (420, 86400), "wait_for_disposition": (0, 86400), "give_up_after": (3600, 604800),
    "max_runtime": (0, 86400), "db_timeout": (1, 300),
}  # fmt: skip


@pytest.mark.parametrize("setting", TIMES)
def test_a_time_may_have_units_and_has_bounds_in_seconds(load: Load, setting: str) -> None:
    lowest, highest = TIMES[setting]
    for text in (str(lowest), f"{lowest}s", f"{highest // 60}m", f"{highest // 60 - 1}m60s ; as long as may be"):
        assert getattr(load(options={setting: text}), setting) in TIMES[setting]
    for text in (f"{lowest - 1}", f"{highest + 1}s", "5 minutes ago", "soon"):
        (mistake,) = mistakes_of(load, options={setting: text})
        assert f"{setting} must be a time from {lowest} to {highest} seconds, such as 90, 90s, 5m, " in mistake
        assert f", not '{text}'." in mistake


def test_dids_conf_as_did_optimizers_template_and_web_page_write_it_loads(load: Load) -> None:
    """A comment behind each number, settings that nothing reads, keys in capitals, and no header."""
    template = """
API_BASE_URL=https://dids.example:5000
API_KEY=a;b#c
api_timeout=5   ; Seconds to wait for the API
max_retries=2	# attempts
verify_ssl=0 ;self-signed
notification_email=ops@example.com  ; of alerts
alert_on_api_failure=1
db_port=3307   ; MySQL
"""
    settings = load(general=f"{template}[general]")
    found = (settings.api_key, settings.api_timeout, settings.max_retries, settings.verify_ssl, settings.db_port)
    assert ("a;b#c", 5.0, 2, False, 3307) == found
    assert "https://dids.example:5000" == settings.api_base_url


@pytest.mark.parametrize(
    "line",
    ["api_key = s3cret   ; our key", "api_key=s3cret #", "api_base_url=http://s3cret ; here"],
)
def test_a_comment_behind_a_value_that_cannot_have_one_is_named_as_the_trouble(load: Load, line: str) -> None:
    (mistake,) = mistakes_of(load, general=f"api_key=k\n{line}")
    name = line.replace(" ", "").partition("=")[0]
    assert mistake.endswith(f"line 3: {name} has a comment behind its value: write that on a line of its own.")


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotes_around_a_value_are_a_mistake_that_shows_nothing_of_it(load: Load, etc: Path, quote: str) -> None:
    values = {s.key: s.default or "s3cret" for s in SETTINGS if s.name not in ("db_password", "alert_command")}
    general, ours = (
        "\n".join(
            f"{s.key}={quote}{values[s.key]}{quote}" for s in SETTINGS if s.key in values and s.section == section
        )
        for section in ("general", "vicisync")
    )
    mistakes = mistakes_of(load, ours, general=general)
    told = "is in quotes, which count as part of it here: write it without them."
    assert {f"{key} {told}" for key in values} == {mistake.partition(": ")[2] for mistake in mistakes}
    (mistake,) = mistakes_of(load, f"ping_url={quote}http://h/ ; s3cret{quote}")
    assert f"{etc}/dids.conf line 4: ping_url {told}" == mistake


def test_a_password_and_a_command_may_begin_and_end_with_quotes_and_what_holds_more_of_them_is_judged_by_itself(
    load: Load,
) -> None:
    settings = load("alert_command='/opt/a b' 'c'", general="api_key='a'b'\ndb_pass='x'", options={"db_user": '"'})
    assert ("'a'b'", "'x'", '"') == (settings.api_key, settings.db_password, settings.db_user)
    assert "'x'" == load("alert_command='x'", astguiclient="VARDB_pass => 'x'").db_password


@pytest.mark.parametrize("key", ["your_api_key_here", "YOUR_KEY"])
def test_the_key_of_the_example_is_no_key(load: Load, key: str) -> None:
    (mistake,) = mistakes_of(load, general=f"api_key={key}")
    assert "api_key must be your own, and is still the example's" in mistake


@pytest.mark.parametrize("general", ["", "api_key=your_api_key_here", "api_key=a b", "api_key=k ; ours"])
def test_what_sends_nothing_needs_no_key(load: Load, general: str) -> None:
    assert "" == load(general=general, needs_key=False).api_key
    assert mistakes_of(load, "overlap=1", general=general, needs_key=False)[0].count("overlap")


@pytest.mark.parametrize(
    "text", ["10s", "1e3", "1_0", "+5", "5.0", "0x10", "٣", "³", "1 0", "9" * 5000, "'5", "\udcff"]
)
def test_a_whole_number_is_digits_only(load: Load, etc: Path, text: str) -> None:
    (mistake,) = mistakes_of(load, f"batch_size={text}")
    assert mistake.startswith(f"{etc}/dids.conf line 4: batch_size must be a whole number from 1 to 10000, digits only")
    assert len(mistake) < 400


GOOD = [
    ("api_timeout", "2.5", 2.5), ("api_timeout", "300", 300.0), ("api_timeout", "1m30s", 90.0),
    ("verify_ssl", "0", False), ("verify_ssl", "No", False), ("verify_ssl", "TRUE", True),
    ("log_phone_numbers", "no", False), ("log_phone_numbers", "1", True),
    ("api_base_url", "https://did.example.com/", "https://did.example.com"),
    ("api_base_url", "http://[::1]:5000", "http://[::1]:5000"),
    ("api_base_url", "HTTP://10.0.0.1:80/did//", "HTTP://10.0.0.1:80/did"),
    ("ping_url", "https://hc-ping.com/id?rid=1", "https://hc-ping.com/id?rid=1"),
    ("metrics_file", "/var/lib/node_exporter/vicisync.prom", Path("/var/lib/node_exporter/vicisync.prom")),
    ("waiting_statuses", "INCALL,QUEUE , DISPO", frozenset({"INCALL", "QUEUE", "DISPO"})),
    ("alert_command", "mail -s x é", "mail -s x é"),
    ("campaigns", "SALES, SOLAR2", frozenset({"SALES", "SOLAR2"})),
]  # fmt: skip
NO_URLS = ["localhost:5000", "ftp://localhost", "http://", "http://a..b", "http://\u212aelvin", "http://[::"]
BAD = [
    ("api_timeout", "above 0 and up to 300", ["0", "301"]),
    ("api_timeout", "number of seconds", ["nan", "1e1"]),
    ("verify_ssl", "must be 1, 0 or the absolute path", ["2"]),
    ("verify_ssl", "readable CA certificate file", ["/absent.pem"]),
    ("db_ssl_ca", "readable CA certificate file", ["/"]),
    ("db_ssl_ca", "absolute path", ["ca.pem"]),
    ("log_phone_numbers", "must be yes or no", ["maybe"]),
    ("checkpoint_file", "absolute path", ["checkpoint"]),
    ("checkpoint_file", "printable UTF-8", ["/x\udcff"]),
    ("db_host", "without white space", ["db 1"]),
    ("db_user", "printable ASCII", ["cr\udce4n"]),
    ("waiting_statuses", "characters without quotes, such as INCALL", ["INCALL TOOLONG", ",", "'A' 'B'"]),
    ("alert_command", "printable UTF-8, on one line", ["mail\ts3cret", "\udcff"]),
    ("exclude_campaigns", "ids of campaigns without quotes, such as SALES", ["A" * 21, ",", '"S" "T"', "S,'T'"]),
    ("api_base_url", "http:// or https:// and a host", [*NO_URLS, "http://a:0", "http://a:65536", "http://a b"]),
    ("api_base_url", "without user, password", ["http://u:s3cret@a", "http://u:5/s3cret@a"]),
    ("api_base_url", "query or fragment", ["http://a/?key=s3cret", "http://a/#s3cret"]),
    ("api_base_url", "write http://a:5000/did.", ["http://a:5000/did/api/v1/call-results"]),
    ("api_base_url", "write http://a:5000.", ["http://a:5000/api/v1/"]),
    ("ping_url", "http:// or https://", ["hc-ping.com/s3cret", "http://u:s3cret@a"]),
    ("api_key", "without white space", ["s3cret s3cret"]),
    ("api_key", "printable ASCII", ["s3cret\u00a0", "s3crét"]),
]


@pytest.mark.parametrize(("setting", "text", "value"), [pytest.param(*row, id=f"{row[0]}={row[1]}") for row in GOOD])
def test_a_good_value_is_taken(load: Load, setting: str, text: str, value: object) -> None:
    assert getattr(load(options={setting: text}), setting) == value


@pytest.mark.parametrize(
    ("setting", "cure", "text"),
    [pytest.param(*row, text, id=ascii(f"{row[0]}={text}")) for *row, texts in BAD for text in texts],
)
def test_a_bad_value_is_a_mistake_with_a_cure_that_shows_no_secret(
    load: Load, setting: str, cure: str, text: str
) -> None:
    (mistake,) = mistakes_of(load, options={setting: text})
    assert mistake.startswith(f"option --{setting.replace('_', '-')}: {setting} must ")
    assert cure in mistake
    assert "s3cr" not in mistake


@pytest.mark.parametrize("setting", ["verify_ssl", "db_ssl_ca"])
def test_a_ca_file_is_taken_if_it_can_be_read(load: Load, etc: Path, setting: str) -> None:
    (etc / "ca.pem").touch()
    assert getattr(load(options={setting: f"{etc}/ca.pem"}), setting) == etc / "ca.pem"


def test_the_three_files_must_differ_however_they_are_written(load: Load, etc: Path) -> None:
    told = f"line 5: rejected_file must be another file than checkpoint_file ({etc}/dids.conf line 4)."
    assert [f"{etc}/dids.conf {told}"] == mistakes_of(load, "checkpoint_file=/a//b\nrejected_file=/a/c/../b")


def test_the_key_is_required_and_the_mistake_says_where_to_put_it(load: Load, etc: Path) -> None:
    told = f"api_key is missing: write api_key=YOUR_KEY under [general] of {etc}/dids.conf."
    assert [told] == mistakes_of(load, general="")


# Our two sections


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("batchsize=5", "'batchsize' is no setting of [vicisync]. Did you mean batch_size?"),
        ("Overlapp=600", "'overlapp' is no setting of [vicisync]. Did you mean overlap?"),
        ("[vicisnyc]", "[vicisnyc] is none of our sections. Did you mean [vicisync]?"),
        ("[Disposition]", "[disposition] is none of our sections. Did you mean [dispositions]?"),
        ("zzz=5", "this is no setting of [vicisync]. Its settings are listed in conf.example."),
        ("\udcff=5", "this is no setting of [vicisync]. Its settings"),
        ("s3cret=s3cret==", "this is no setting of [vicisync]. Its settings"),
        ("api_key=s3cret", "api_key belongs under [general]: move the line above [vicisync]."),
        ("s3cret", "a line of [vicisync] must be key=value; a comment begins with # or ;."),
    ],
)
def test_what_is_no_setting_of_ours_is_a_mistake(load: Load, etc: Path, line: str, sentence: str) -> None:
    (mistake,) = mistakes_of(load, line)
    assert mistake.startswith(f"{etc}/dids.conf line 4: {sentence}")
    assert "s3cret" not in mistake


def test_what_is_no_setting_elsewhere_is_ignored(load: Load) -> None:
    general = "api_key=k\nfallback_did=5551234567\nbatch_size=none\nnonsense\n[cache]\nx=1\n[vicidial]"
    assert load(general=general).batch_size == 500


RESULTS = "answered, dnc, no_answer, busy, dropped, completed"
A_STATUS = "must be a VICIdial status, 1 to 6 characters without white space or quotes"


def test_dispositions_override_single_statuses(load: Load) -> None:
    assert load(dispositions="B=busy\nXFER => answered\nA=").dispositions == {"B": "busy", "XFER": "answered"}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("B=Busyy", f"the result of 'B' must be one of {RESULTS}. Did you mean busy?"),
        ("B=s3cret", f"the result of 'B' must be one of {RESULTS}."),
        ("s3cret-=busy", f"this {A_STATUS}."),
        ("A B=busy", f"this {A_STATUS}."),
        ("'A'=busy", f"this {A_STATUS}."),
        ("api_key=s3cret", f"'api_key' {A_STATUS}: move api_key to [general]."),
    ],
)
def test_what_is_no_override_is_a_mistake(load: Load, etc: Path, line: str, sentence: str) -> None:
    assert mistakes_of(load, dispositions=line) == [f"{etc}/dids.conf line 6: {sentence}"]


def test_all_mistakes_are_reported_at_once(load: Load) -> None:
    ours = "batchsize=5\nnonsense\noverlap=60\nconcurrency=all"
    environ = {"DID_OPTIMIZER_API_URL": "localhost"}
    files = {"general": "api_key=a b", "dispositions": "B=bussy", "astguiclient": "VARDB_port => mysql"}
    mistakes = mistakes_of(load, ours, **files, environ=environ)
    first = ("line 5: a line of", "batchsize", "line 9: the result of 'B'", "astguiclient.conf line 1: db_port")
    wrong = (*first, "environment DID_OPT")
    assert [] == [part for part, mistake in zip(wrong, mistakes[:5], strict=True) if part not in mistake]
    assert [mistake.split(": ")[1].split()[0] for mistake in mistakes[5:]] == ["api_key", "concurrency", "overlap"]


# Secrets


_ODD_VALUES = st.sampled_from(["", "5", "-5", "1e3", "/", "/a", "\udcff", "yes", "A B", "http://h", "\r"])
_LINES = (
    st.tuples(st.sampled_from([f"{setting.key}=" for setting in SETTINGS] + ["B=", "="]), _ODD_VALUES).map("".join)
    | st.sampled_from(["api_key=s3cret ", "api_key=s3cret key", "api_key=s3crét", "db_pass=s3crét", "s3cret"])
    | st.sampled_from(["ping_url=s3cret", "ping_url=http://h/s3cret", "api_base_url=http://u:s3cret@h", "B=s3cret"])
    | st.sampled_from(["[vicisync]", "[dispositions]", "[general]", "[x]", "[", "=", "\ufeff"])
)
_A_FILE = st.binary() | st.lists(_LINES).map(lambda lines: os.fsencode("\n".join(lines)))


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(astguiclient=st.binary(), dids=_A_FILE)
def test_any_two_files_give_settings_or_mistakes_without_secrets(etc: Path, astguiclient: bytes, dids: bytes) -> None:
    (etc / "astguiclient.conf").write_bytes(astguiclient)
    (etc / "dids.conf").write_bytes(dids)
    try:
        shown = repr(load_settings(None, None, {"VICIDIAL_DB_PASSWORD": "s3cret"}))
    except ConfigError as error:
        shown = str(error)
    assert shown
    assert "s3cr" not in shown


@pytest.mark.parametrize("setting", [pytest.param(setting, id=setting.name) for setting in SETTINGS])
@given(text=st.text(min_size=1))
def test_any_text_of_a_setting_is_parsed_or_refused_in_half_a_sentence(setting: Setting, text: str) -> None:
    try:
        setting.parse(text)
    except ValueError as error:
        assert str(error).startswith("must ")  # noqa: PT017 -- either is well
