"""The files of ``deploy/``, judged by the programs that read them; tests/commands/test_cron.py has cron itself."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rehearsal.did_optimizer import DidOptimizer
from rehearsal.site import COMMAND, Site
from tests.conftest import finish_calls, unmeasured
from tests.machine import machine, needs_root
from tests.state.test_last_run import LAST_RUN
from tests.sync.test_monitoring import values
from vicisync.sync.monitoring import write_metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
CRON = (DEPLOY / "cron" / "vicisync").read_text()
LOG = "/var/log/did-optimizer-sync.log"

JOBS = re.findall(r"^### .*\n(?:#?)\* \* \* \* \* root (.*)\n", CRON, re.MULTILINE)
"""Each below a comment, as in VICIdial's own crontab; those too that an operator switches on by removing the ``#``."""


def test_the_jobs_deliver_and_log_from_cron_s_bare_environment(site: Site, api: DidOptimizer) -> None:
    """Only the places differ from those of a real server, and nobody sleeps."""
    finish_calls(site, 3, 600)
    environment = dict(re.findall(r"^(\w+)=(.*)$", CRON, re.MULTILINE))
    log = site.folder / "sync.log"
    configuration = {
        "VICISYNC_ASTGUICLIENT_CONF": str(site.astguiclient_conf), "VICISYNC_DIDS_CONF": str(site.dids_conf)
    }  # fmt: skip
    assert 2 == len(JOBS)
    for job in JOBS:
        assert job.endswith(f"/usr/local/bin/vicisync run >> {LOG} 2>&1")
        command = job.replace("/usr/local/bin/vicisync", str(COMMAND)).replace(LOG, str(log))
        done = subprocess.run(
            [environment["SHELL"], "-c", command.replace("sleep 30", "sleep 0")],
            env={**environment, **configuration}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr), "cron would send mail"
    assert 3 == len(api.records)
    stamped = [re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} ", line) for line in log.read_text().splitlines()]
    assert None not in stamped
    assert 1 == log.read_text().count("✅ Sync completed successfully")
    assert 1 == log.read_text().count("✅ Nothing new since ")


@pytest.mark.parametrize("option", ["--debug", "--force"])
def test_logrotate_keeps_a_week_of_the_log_and_its_numbers_from_others(option: str, tmp_path: Path) -> None:
    """Only root can give a file to root; who runs this otherwise has it given to himself."""
    log = tmp_path / "log" / "sync.log"
    log.parent.mkdir(mode=0o755)
    log.write_text("2026-11-23 02:43:19 +0000 ✓ 1.1: C/5550100 → NA (0s)\n")
    text = (DEPLOY / "logrotate" / "vicisync").read_text()
    assert f"\n{LOG} {{\n" in text
    text = text.replace(LOG, str(log))
    file = tmp_path / "vicisync"
    file.write_text(text.replace("create 0640 root root", "create 0640") if os.geteuid() else text)
    file.chmod(0o644)
    program = shutil.which("logrotate", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    assert program, "logrotate is not installed: apt-get install logrotate"
    done = subprocess.run(
        [program, option, "--state", tmp_path / "state", file], capture_output=True, encoding="utf-8", check=True
    )
    said = done.stdout + done.stderr
    assert "error" not in said
    if option == "--debug":
        assert re.search(r"after 1 days .*\(7 rotations\)", said)
    else:
        assert (0o640, b"") == (log.stat().st_mode & 0o777, log.read_bytes())
        assert "5550100" in (log.parent / "sync.log.1").read_text()


# systemd

SERVICES = {name: (DEPLOY / "systemd" / f"{name}.service").read_text() for name in ("vicisync", "vicisync-reconcile")}
TIMERS = {name: (DEPLOY / "systemd" / f"{name}.timer").read_text() for name in SERVICES}


def judged(program: str, *arguments: str | Path) -> None:
    """Have a file judged by the program that reads it, which says nothing against it; skip where that is not here."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if not found:
        pytest.skip(f"{program} is not installed here")
    done = subprocess.run([found, *arguments], capture_output=True, encoding="utf-8", check=False)
    assert (0, "") == (done.returncode, done.stderr)


def test_systemd_takes_the_services_and_timers(tmp_path: Path) -> None:
    for path in (DEPLOY / "systemd").iterdir():
        text = path.read_text().replace("/usr/local/bin/vicisync", "/bin/true")  # it looks for the program
        (tmp_path / path.name).write_text(text)
    judged("systemd-analyze", "verify", *sorted(tmp_path.iterdir()))


def test_the_timers_do_what_cron_does_and_both_services_have_the_same_rights() -> None:
    times = {"vicisync": ("* * * * *", "*-*-* *:*:00"), "vicisync-reconcile": ("30 3 * * *", "*-*-* 03:30:00")}
    for name, (cron, calendar) in times.items():
        (command,) = re.findall(r"^ExecStart=(.*)$", SERVICES[name], re.MULTILINE)
        (log,) = set(re.findall(r"^Standard(?:Output|Error)=append:(.*)$", SERVICES[name], re.MULTILINE))
        assert f"\n{cron} root {command} >> {log} 2>&1\n" in CRON
        assert f"\nOnCalendar={calendar}\n" in TIMERS[name]
    one, other = (
        {*re.sub(r"^(#|Description=|ExecStart=).*", "", text, flags=re.M).split("\n")} for text in SERVICES.values()
    )
    assert one == other


@needs_root
def test_a_run_delivers_with_no_more_rights_than_the_service_gives_it(
    site: Site, api: DidOptimizer, tmp_path: Path
) -> None:
    """Nothing can be written to but the state folder and the log, which systemd opens; root is without its powers."""
    finish_calls(site, 3, 600)
    (kept,) = re.findall(r"^CapabilityBoundingSet=CAP_(\w+)$", SERVICES["vicisync"], re.MULTILINE)
    assert "\nProtectSystem=strict\nStateDirectory=vicisync\nStateDirectoryMode=0700\n" in SERVICES["vicisync"]
    site.configure(
        **{name: f"/var/lib/vicisync/{name}" for name in ("checkpoint_file", "rejected_file", "journal_file")}
    )
    with machine(tmp_path / "machine", "var/lib") as server:
        state = server.path("var/lib/vicisync")
        state.mkdir(mode=0o700)
        (state / "own").write_text("")
        server.path("etc/dids.conf").write_text(site.dids_conf.read_text())
        server.path("etc/dids.conf").chmod(0o600)
        os.chown(server.path("etc/dids.conf"), 65534, 65534)  # Asterisk's account may own it
        script = f"""set -e
            mount --bind /var/lib/vicisync /var/lib/vicisync
            for folder in / /etc /run /var/log /var/lib; do mount -o remount,bind,ro $folder; done
            for folder in / /etc /usr /var/log /var/lib; do if touch $folder/x 2>/dev/null; then exit 9; fi; done
            rm /var/lib/vicisync/own
            umask 0077
            exec setpriv --bounding-set=-all,+{kept.lower()} --inh-caps=-all --no-new-privs {COMMAND} run"""
        environment = {**unmeasured(site.environment()), "VICISYNC_DIDS_CONF": "/etc/dids.conf"}
        done = server.run("unshare", "--mount", "sh", "-c", script, environment=environment)
        assert (0, "") == (done.returncode, done.stderr)
        assert "✅ Sync completed successfully" in done.stdout
        assert 3 == len(api.records)
        assert {"checkpoint_file", "journal_file", "checkpoint_file.last_run"} <= {
            path.name for path in state.iterdir()
        }


# Monitoring

RULES = (DEPLOY / "prometheus" / "vicisync.rules.yml").read_text()
SUDOERS = re.findall(r"^\w+ ALL=\(root\) NOPASSWD: (.*)$", (DEPLOY / "sudoers" / "vicisync").read_text(), re.MULTILINE)


def test_prometheus_takes_the_rules_and_each_goes_by_a_metric_that_is_written(tmp_path: Path) -> None:
    """The part of YAML that they are written in is small enough to be held here; promtool knows all of it."""
    rule = (
        r"      - alert: Vicisync\w+\n        expr: [^\"'#:{}\n]+\n(?:        for: \d+m\n)?"
        r"        labels: \{severity: (?:critical|warning)\}\n        annotations:\n"
        r'          summary: "[^"\\\n]+"\n          description: "[^"\\\n]+"\n'
    )
    assert re.fullmatch(rf"(?:#.*\n)+groups:\n  - name: vicisync\n    rules:\n{rule}(?:\n{rule})+", RULES)
    write_metrics(tmp_path / "vicisync.prom", LAST_RUN)
    used = [set(re.findall(r"vicisync_\w+", line)) for line in re.findall(r"expr: (.*)", RULES)]
    assert all(used)
    assert set().union(*used) <= set(values(tmp_path / "vicisync.prom"))
    if shutil.which("promtool"):
        judged("promtool", "check", "rules", DEPLOY / "prometheus" / "vicisync.rules.yml")


def asked() -> list[str]:
    """Return the commands that monitoring systems have sudo run."""
    nagios, zabbix, icinga = (
        (DEPLOY / name).read_text() for name in ("nagios/vicisync.cfg", "zabbix/vicisync.conf", "icinga/vicisync.conf")
    )
    found = re.findall(
        r"^(?:command\[\w+\]=|UserParameter=[\w.]+,)/usr/bin/sudo -n (.*)$", f"{nagios}{zabbix}", re.MULTILINE
    )
    (array,) = re.findall(r'command = \[ "/usr/bin/sudo", "-n", (.*) \]', icinga)
    defaults = dict(re.findall(r'vars\.(\w+) = "(.*)"', icinga))
    options = re.findall(r'"(--\w+)" = \{ value = "\$(\w+)\$", order = \d \}', icinga)
    words = [*re.findall(r'"(.*?)"', array), *(word for option, name in options for word in (option, defaults[name]))]
    return [*found, " ".join(words)]


def test_sudo_allows_what_monitoring_systems_ask_word_by_word_and_nothing_else() -> None:
    assert 3 == len(asked())
    assert set(asked()) == set(SUDOERS)
    assert not re.search(r"[*?\[\]!]", "".join(SUDOERS)), "whoever may choose options can have root read any file"
    if shutil.which("visudo", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"):
        subprocess.run(["visudo", "-cf", DEPLOY / "sudoers" / "vicisync"], check=True, capture_output=True)


@pytest.mark.parametrize("line", SUDOERS)
def test_status_knows_each_option_that_monitoring_systems_give_it(line: str, site: Site) -> None:
    program, *words = line.split()
    assert "/usr/local/bin/vicisync" == program
    assert 0 <= site.vicisync(*words).returncode <= 3
    assert "no such option" not in site.vicisync(*words).stderr.lower()
