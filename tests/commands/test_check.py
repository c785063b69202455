"""``vicisync check`` as a whole, its configuration and the command; the other subjects have files of their own."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Callable

import pytest

from rehearsal.site import COMMAND
from tests.checked_dialer import SIGNS, CheckedDialer
from tests.conftest import make_settings
from tests.limits import as_nobody
from vicisync.commands.check import configuration
from vicisync.commands.check.finding import line_of


def test_of_a_healthy_dialer_all_is_well_under_each_heading_in_the_order_of_a_run(dialer: CheckedDialer) -> None:
    code, lines = dialer.check()
    assert 0 == code
    assert "✅ All is well" == lines[-1]
    assert [
        "Configuration files:",
        "Settings:",
        "Checkpoint:",
        "Database:",
        "API:",
        "Cron and logrotate:",
    ] == [line for line in lines[:-1] if line and not line.startswith(SIGNS)]
    assert [] == [line for line in lines[:-1] if line.startswith(SIGNS[1:])]


def test_every_setting_is_shown_with_its_value_and_where_it_was_found_but_no_secret(dialer: CheckedDialer) -> None:
    dialer.site.configure(overlap="900", ping_url="https://hc.example/s3cret-id", concurrency="4")
    with dialer.site.dids_conf.open("a") as file:
        file.write("[dispositions]\nB=busy\nA=dropped\n")
    _, lines = dialer.check()
    shown = {line.split()[1]: line.split(None, 2)[2] for line in lines if line.count("  ") > 1}
    conf, dids = dialer.site.astguiclient_conf, dialer.site.dids_conf
    assert re.fullmatch(rf"127\.0\.0\.1 +{conf} line 3", shown["db_host"])
    assert re.fullmatch(rf"\(not shown\) +{conf} line 6", shown["db_pass"])
    assert re.fullmatch(rf"\(not shown\) +{dids} line 3", shown["api_key"])
    assert re.fullmatch(rf"900 +{dids} line \d+", shown["overlap"])
    assert re.fullmatch(rf"https://hc\.example/… +{dids} line \d+", shown["ping_url"])
    assert re.fullmatch(r"ALTNUM DISPO DONEM INCALL QUEUE XFER +default", shown["waiting_statuses"])
    assert re.fullmatch(r"yes +default", shown["verify_ssl"])
    assert re.fullmatch(r"\(none\) +default", shown["db_ssl_ca"])
    assert re.fullmatch(r"A=dropped B=busy +dids.conf", shown["[dispositions]"])
    assert 26 == len(shown)


def test_it_changes_nothing_and_nothing_is_recorded_or_left_connected(dialer: CheckedDialer) -> None:
    shutil.rmtree(dialer.site.checkpoint_file.parent)
    folder = dialer.root.parent

    def snapshot() -> dict[str, tuple[int, int, bytes]]:
        return {
            str(path): (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
            for path in folder.rglob("*")
        }

    rows = dialer.site.mariadb.execute(f"CHECKSUM TABLE `{dialer.database}`.vicidial_log")
    before = snapshot()
    assert 0 == dialer.check()[0]
    assert before == snapshot()
    assert {} == dialer.api.records
    assert [{}] == [post.payload for post in dialer.api.posts]
    assert rows == dialer.site.mariadb.execute(f"CHECKSUM TABLE `{dialer.database}`.vicidial_log")
    deadline = time.monotonic() + 10
    while dialer.site.mariadb.execute("SELECT id FROM information_schema.processlist WHERE user = 'cron'"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


# Configuration


def world_reads_key(dialer: CheckedDialer) -> None:
    dialer.site.dids_conf.chmod(0o644)


def group_writes_key(dialer: CheckedDialer) -> None:
    dialer.site.dids_conf.chmod(0o660)


def group_reads_key(dialer: CheckedDialer) -> None:
    dialer.site.dids_conf.chmod(0o640)


def group_writes_database_settings(dialer: CheckedDialer) -> None:
    dialer.site.astguiclient_conf.chmod(0o664)


def plain_http(dialer: CheckedDialer) -> None:
    every = "0.0.0.0"  # noqa: S104 -- leads to this machine, and is no loopback address
    dialer.rewrite(dialer.site.dids_conf, "127.0.0.1", every)


def no_metrics_folder(dialer: CheckedDialer) -> None:
    dialer.site.configure(metrics_file=str(dialer.root / "none" / "vicisync.prom"))


@pytest.mark.parametrize(
    ("breakage", "line"),
    [
        pytest.param(
            world_reads_key,
            r"⚠ (\S+/dids\.conf) holds the key, and can be read by others \(mode 0644\) → chmod 600 \1",
            id="key readable by all",
        ),
        pytest.param(
            group_writes_key,
            r"⚠ (\S+/dids\.conf) holds the key, and can be written to by others \(mode 0660\) → chmod 600 \1",
            id="key writable by a group",
        ),
        pytest.param(
            group_writes_database_settings,
            r"⚠ (\S+/astguiclient\.conf) can be written to by others \(mode 0664\) → chmod go-w \1",
            id="database settings writable by a group",
        ),
        pytest.param(
            plain_http,
            r"⚠ The API key and phone numbers go to 0\.0\.0\.0 unencrypted.* → write https:// in api_base_url",
            id="http across the network",
        ),
        pytest.param(
            no_metrics_folder,
            r"⚠ metrics_file lies in (\S+), which does not exist → mkdir -p \1",
            id="no metrics folder",
        ),
    ],
)
def test_what_is_unwise_in_the_configuration_is_a_warning_with_what_mends_it(
    breakage: Callable[[CheckedDialer], None], line: str, dialer: CheckedDialer
) -> None:
    breakage(dialer)
    code, worse = dialer.worse()
    assert 0 == code
    assert 1 == len(worse), worse
    match = re.fullmatch(line, worse[0])
    assert match, worse
    if "chmod" in line:
        subprocess.run(["sh", "-c", worse[0].partition(" → ")[2]], check=True)
        assert (0, []) == dialer.worse()


def test_a_group_may_read_the_key_where_an_administrator_made_it_so(dialer: CheckedDialer) -> None:
    group_reads_key(dialer)
    assert (0, []) == dialer.worse()


def test_where_the_standard_files_are_missing_it_says_what_counts_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration, "ASTGUICLIENT_CONF", tmp_path / "astguiclient.conf")
    monkeypatch.setattr(configuration, "DIDS_CONF", tmp_path / "dids.conf")
    cure = f"install -m 600 /dev/null {tmp_path}/dids.conf, and write api_key=YOUR_KEY into it"
    assert [
        f"✓ {tmp_path}/astguiclient.conf does not exist: db_* of dids.conf count, or their defaults",
        f"⚠ {tmp_path}/dids.conf does not exist → {cure}",
    ] == [line_of(found) for found in configuration.files(None, None, {})]


def test_a_folder_for_metrics_that_cannot_be_written_to_is_a_warning(tmp_path: Path) -> None:
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    settings = make_settings(tmp_path, metrics_file=str(tmp_path / "vicisync.prom"))
    with as_nobody():
        last = line_of(list(configuration.values(settings))[-1])
    assert f"⚠ metrics_file lies in {tmp_path}, which cannot be written to → chown root {tmp_path}" == last


def test_verify_ssl_0_is_a_warning_that_names_the_cure(dialer: CheckedDialer) -> None:
    dialer.site.api_url = dialer.site.api_url.replace("http:", "https:")
    dialer.site.configure(verify_ssl="0")
    code, worse = dialer.worse()
    assert worse[0].startswith("⚠ verify_ssl=0: whoever answers in the place of 127.0.0.1 gets the API key")
    assert worse[0].endswith(" → write verify_ssl=1, or the file of its CA")
    assert 4 == code  # nobody speaks TLS there


def test_settings_of_the_shell_are_a_warning_since_cron_does_not_have_them(dialer: CheckedDialer) -> None:
    code, worse = dialer.worse(API_KEY=dialer.api.api_key, VICIDIAL_DB_HOST="127.0.0.1")
    assert 0 == code
    text = "⚠ db_host, api_key from the environment of this shell, which cron's jobs do not have"
    assert [f"{text} → write them into the configuration file, or unset the variables"] == worse


def test_all_mistakes_of_a_configuration_are_told_and_what_needs_it_is_left_out_saying_so_once(
    dialer: CheckedDialer,
) -> None:
    dialer.site.configure(batch_size="many", overlap="5", concurency="8")
    code, lines = dialer.check()
    dids = dialer.site.dids_conf
    assert 2 == code
    broken = [line for line in lines[:-1] if line.startswith("❌")]
    assert 3 == len(broken)
    assert all(
        re.match(rf"❌ {dids} line \d+: .*(batch_size|overlap|Did you mean concurrency)", line) for line in broken
    )
    left_out = "⚠ Checkpoint, database and API were not looked at; they need these settings"
    assert [f"{left_out} → mend the settings, then vicisync check"] == [line for line in lines if line.startswith("⚠")]
    assert f"✓ {dialer.cron} line 1 runs {COMMAND}" in lines
    assert "❌ 3 things to mend, 1 warning" == lines[-1]


@pytest.mark.parametrize("which", ["astguiclient_conf", "dids_conf"])
def test_a_named_file_that_does_not_exist_is_told_once(which: str, dialer: CheckedDialer) -> None:
    path = getattr(dialer.site, which)
    path.unlink()
    code, worse = dialer.worse()
    assert 2 == code
    assert f"❌ {path} does not exist: correct the option or environment variable that names it" == worse[0]
    assert 2 == len(worse)


# The command


def test_the_installed_command_exits_with_the_code_of_the_first_thing_that_a_run_would_meet(
    dialer: CheckedDialer,
) -> None:
    dialer.site.api_key = "another-key-than-the-api-s"
    dialer.site.configure()
    assert 4 == dialer.site.vicisync("check").returncode
    dialer.revoke()
    done = dialer.site.vicisync("check")
    assert (3, "") == (done.returncode, done.stderr)
    assert dialer.site.api_key not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("❌ 2 things to mend")


@pytest.mark.parametrize("language", [{"LANG": "C", "LC_ALL": ""}, {"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}])
def test_it_speaks_in_every_locale(language: dict[str, str], dialer: CheckedDialer) -> None:
    done = dialer.site.vicisync("check", **language)
    assert (0, "") == (done.returncode, done.stderr)
    assert "It takes the key" in done.stdout


def test_a_full_disk_behind_its_output_changes_no_exit_code(dialer: CheckedDialer) -> None:
    dialer.revoke()
    with open("/dev/full", "w") as full:  # noqa: PTH123 -- a device
        done = subprocess.run([COMMAND, "check"], env=dialer.site.environment(), stdout=full, stderr=full, check=False)
    assert 3 == done.returncode


def test_what_others_wrote_cannot_steer_the_terminal(dialer: CheckedDialer) -> None:
    path = dialer.etc / "cron.d" / "evil"
    path.write_text("* * * * * root /opt/\x1b[31mevil/vicisync run\n")
    path.chmod(0o644)
    code, worse = dialer.worse()
    assert 2 == code
    assert r"runs /opt/\x1b[31mevil/vicisync, which is not there" in worse[0]
