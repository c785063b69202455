import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.limits import as_nobody
from vicisync.errors import ConfigError
from vicisync.settings.files import SIZE_LIMIT, Found, read_astguiclient, read_dids

Read = Callable[[Path], object]


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return tmp_path / "some.conf"


@pytest.mark.parametrize(
    ("text", "password"),
    [
        pytest.param("VARDB_pass => 1234", "1234", id="as the installer writes it"),
        pytest.param("VARDB_pass=1234", "1234", id="without an arrow"),
        pytest.param("  VARDB_pass\t=>  12 34 ", "1234", id="spaces and tabs go, inside the value too"),
        pytest.param("VARDB_pass => 12>34", "1234", id="every > goes"),
        pytest.param("VARDB_pass => 12=34", "34", id="the value follows the last ="),
        pytest.param("VARDB_pass => one\nVARDB_pass =>", "", id="the last line wins even if it is empty"),
        pytest.param("VARDB_pass => 1234\r\nVARDB_port => 3306\r\n", "1234", id="CRLF"),
        pytest.param("VARDB_pass => one\nmyVARDB_pass => two", "one", id="a key begins its line"),
        pytest.param("VARDB_pass => one\nvardb_pass => two", "one", id="a key is case-sensitive"),
        pytest.param("VARDB_pass => one\x85two\x0bthree\u2028", "one\x85two\x0bthree\u2028", id="only LF ends a line"),
        pytest.param("VARDBpass => 1234", "1234", id="DID Optimizer's spelling"),
        pytest.param("$VARDB_pass = 1234", "1234", id="a leading $"),
        pytest.param("VARDB_pass => one\n$VARDB_pass => two", "one", id="VICIdial's spelling wins over a later other"),
        pytest.param("PATHlogs => /var/log/astguiclient", None, id="no such key"),
        pytest.param("\ufeffVARDB_pass => 1234", None, id="VICIdial does not skip a BOM either"),
    ],
)
def test_astguiclient_is_read_as_vicidial_reads_it(conf: Path, text: str, password: str | None) -> None:
    conf.write_bytes(text.encode())
    found = read_astguiclient(conf).get("VARDB_pass")
    assert password == (found and found.value)


def as_perl_does(text: bytes, key: bytes) -> bytes | None:
    """VICIdial's own lines, as literally as Python can say them."""
    value = None
    for line in text.split(b"\n"):
        stripped = re.sub(rb" |>|\n|\r|\t|#.*|;.*", b"", line)
        if re.match(re.escape(key), stripped):
            value = re.sub(rb".*=", b"", stripped)
    return value


_KEYS = ["VARDB_server", "VARDB_database", "VARDB_user", "VARDB_pass", "VARDB_port"]


_BEGINS = st.sampled_from([*(key.encode() for key in _KEYS), b"VARDB_custom_pass", b"#VARDB_pass", b""])
_PARTS = st.lists(st.sampled_from([b" => ", b"=", b"#", b";", b"\r", b"\t", b"a", b"\xff", b"'", b"\x0b"]))
_LINES = st.lists(st.builds(lambda begin, parts: begin + b"".join(parts), _BEGINS, _PARTS))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_LINES.map(b"\n".join))
def test_every_key_has_the_value_that_vicidial_gives_it(tmp_path: Path, text: bytes) -> None:
    conf = tmp_path / "astguiclient.conf"
    conf.write_bytes(text)
    found = {key: os.fsencode(value) for key, (value, _) in read_astguiclient(conf).items()}
    expected = {key: as_perl_does(text, key.encode()) for key in _KEYS}
    assert {key: value for key, value in expected.items() if value is not None} == found


@pytest.mark.parametrize(
    ("line", "value"),
    [
        pytest.param("api_key=k", "k", id="plain"),
        pytest.param("api_key = k", "k", id="spaces around ="),
        pytest.param("\tapi_key\t=>\tk\t", "k", id="an arrow and tabs"),
        pytest.param("api_key=k==", "k==", id="split at the first ="),
        pytest.param("api_key=a#b;c%d", "a#b;c%d", id="comment signs inside a value are kept"),
        pytest.param("api_key=a b", "a b", id="spaces inside a value are kept"),
        pytest.param("api_key=one\napi_key=two", "two", id="the last one wins"),
        pytest.param("api_key=one\n#api_key=two", "one", id="a # line is a comment"),
        pytest.param("api_key=one\n  ; api_key=two", "one", id="a ; line is a comment"),
        pytest.param("api_key=k\r\nother=1\r\n", "k", id="CRLF"),
        pytest.param("\ufeffapi_key=k", "k", id="BOM"),
        pytest.param("\ufeff[general]\r\napi_key=k", "k", id="BOM before a header"),
        pytest.param("[general]\napi_key=k", "k", id="under general"),
        pytest.param("[cache]\napi_key=k", "k", id="under any foreign section"),
        pytest.param("[general]\napi_key=one\n[vicisync]\n[geo]\napi_key=two", "two", id="general goes on elsewhere"),
        pytest.param("nonsense\n=x\napi_key=k", "k", id="after foreign nonsense"),
        pytest.param("name=\udcff\napi_key=k", "k", id="after foreign bytes"),
        pytest.param("API_KEY=k", "k", id="in capitals"),
    ],
)
def test_dids_finds_a_general_setting(conf: Path, line: str, value: str | None) -> None:
    conf.write_bytes(line.encode("utf-8", "surrogateescape"))
    general, _, _, mistakes, _ = read_dids(conf)
    assert value == (general["api_key"].value if "api_key" in general else None)
    assert mistakes == []


@pytest.mark.parametrize("header", ["[vicisync]", "[ ViciSync ]", "  [VICISYNC]\t", "[vicisync] ; ours"])
def test_dids_knows_our_section_in_any_case_and_spacing(conf: Path, header: str) -> None:
    conf.write_text(f"overlap=1\n{header}\noverlap=2\n[general]\noverlap=3")
    assert read_dids(conf).vicisync == {"overlap": Found("2", f"{conf} line 3")}


def test_dids_keeps_dispositions_apart(conf: Path) -> None:
    conf.write_text("[dispositions]\nXFER => answered\n")
    assert read_dids(conf) == ({}, {}, {"XFER": Found("answered", f"{conf} line 2")}, [], "")


@pytest.mark.parametrize("section", ["vicisync", "dispositions"])
@pytest.mark.parametrize("line", ["# overlap=1", "; overlap=1", "\t;", "#", ""])
def test_a_comment_sets_nothing_in_our_sections(conf: Path, section: str, line: str) -> None:
    conf.write_text(f"[{section}]\n{line}\n")
    assert read_dids(conf) == ({}, {}, {}, [], "")


@pytest.mark.parametrize("section", ["vicisync", "dispositions"])
@pytest.mark.parametrize("line", ["s3cret", "=s3cret", "[s3cret"])
def test_a_line_of_ours_that_is_no_setting_is_a_mistake_that_does_not_show_it(
    conf: Path, section: str, line: str
) -> None:
    conf.write_text(f"[{section}]\n\n{line}\n")
    (mistake,) = read_dids(conf).mistakes
    assert f"{conf} line 3: a line of [{section}] must be key=value" in mistake
    assert "s3cret" not in mistake


@pytest.mark.parametrize("read", [read_astguiclient, read_dids])
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        pytest.param(Path.mkdir, "Is a directory", id="directory"),
        pytest.param(os.mkfifo, "is not a regular file", id="FIFO"),
        pytest.param(lambda path: path.write_bytes(b"#" * (SIZE_LIMIT + 1)), "is larger than 1 MiB", id="large"),
        pytest.param(lambda path: path.write_bytes("api_key=k".encode("utf-16")), "holds NUL bytes", id="UTF-16"),
        pytest.param(lambda path: path.symlink_to(path), "Too many levels of symbolic links", id="endless link"),
    ],
)
def test_what_is_no_plain_text_file_is_refused_in_a_sentence(
    conf: Path, read: Read, make: Callable[[Path], None], sentence: str
) -> None:
    make(conf)
    with pytest.raises(ConfigError, match=f"^[^\n]*{conf}[^\n]*{sentence}[^\n]*$"):
        read(conf)


def test_a_file_that_may_not_be_read_or_exist_is_refused_in_a_sentence(conf: Path) -> None:
    conf.touch(mode=0)
    with as_nobody(), pytest.raises(ConfigError, match="permission denied; run vicisync as root"):
        read_dids(conf)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_dids(Path("/etc/dids\0.conf"))


def test_a_file_of_exactly_the_limit_is_read(conf: Path) -> None:
    conf.write_bytes(b"api_key=k\n" + b"#" * (SIZE_LIMIT - 10))
    assert read_dids(conf).general["api_key"].value == "k"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary())
@example(b"[vicisync]\n\xff\n=\n")
def test_any_bytes_are_read_or_refused(tmp_path: Path, data: bytes) -> None:
    conf = tmp_path / "any.conf"
    conf.write_bytes(data)
    for read in (read_astguiclient, read_dids):
        if b"\0" in data:
            with pytest.raises(ConfigError, match="NUL"):
                read(conf)
        else:
            read(conf)
