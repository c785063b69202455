"""The files of ``deploy/``, judged by cron's shell and by logrotate; tests/commands/test_cron.py has cron itself."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rehearsal.did_optimizer import DidOptimizer
from rehearsal.site import COMMAND, Site
from tests.conftest import finish_calls

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
