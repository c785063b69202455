"""Each script of DID Optimizer's moved over from, by the steps of docs/moving-over.md and back: every call once.

A machine of its own has the script as its installer leaves it: the line in root's crontab, its log, its checkpoint.
What the script would have done is done here, since it needs Perl's modules or Node.js.
"""

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from rehearsal.did_optimizer import DidOptimizer
from rehearsal.mariadb import READ, MariaDB
from rehearsal.site import COMMAND, PASSWORD, Site
from tests.call_rows import insert, row
from tests.commands.command import finish, local, rows
from tests.machine import CRON_D, Machine, machine, needs_root

DOC = (Path(__file__).parents[2] / "docs" / "moving-over.md").read_text()
STEPS, BACK = DOC.partition("## The way back")[::2]

DIDS_CONF = """; as its web page makes it
API_BASE_URL={url}
API_KEY={key}
api_timeout=5   ; Seconds to wait for the API
max_retries=3   # More retries for reliability
fallback_did=+18005551234
notification_email=ops@example.com
"""
OLD_NAMES = re.compile(r"process-call-results|AST_DID_optimizer_sync")
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "TZ": "UTC0"}


@dataclass
class Old:
    """An old script: how its installer has cron call it, where it logs, and what it does."""

    line: str
    log: str
    leaves_ids: bool  # in its checkpoint, and not a time

    def run(self, site: Site, server: Machine) -> None:
        """Send what ended after the time, or what has a greater id and a length, and write down how far that was."""
        checkpoint = server.path("tmp/did-optimizer-last-check.txt")
        last = checkpoint.read_text().strip()
        if self.leaves_ids:
            where, order, last = "uniqueid > %s AND status <> '' AND length_in_sec > 0", "uniqueid", last
        else:
            where, order = "end_epoch > UNIX_TIMESTAMP(%s)", "end_epoch"
        columns = "uniqueid, campaign_id, phone_number, status, length_in_sec, end_epoch"
        sql = f"SELECT {columns} FROM `{site.database}`.vicidial_log WHERE {where} ORDER BY {order} LIMIT 500"
        found = site.mariadb.execute(sql, (last or "0" * self.leaves_ids,))
        with server.path(self.log).open("a") as log:
            for uniqueid, campaign, phone, status, length, end in found:
                body = {"uniqueid": uniqueid, "campaignId": campaign, "phoneNumber": phone, "disposition": status}
                url = f"{site.api_url}/api/v1/call-results"
                requests.post(url, json=body, headers={"x-api-key": site.api_key}, timeout=10).raise_for_status()
                log.write(f"[{local(time.time())}] ✓ {uniqueid}: {campaign}/{phone} → {status} ({length}s)\n")
                checkpoint.write_text(uniqueid if self.leaves_ids else f"{local(end)}\n")


_SEEDS = "* * * * * cd /home/na/didapi && {} >> /var/log/did-optimizer-sync.log 2>&1"
_LATER = "* * * * * {}/usr/share/astguiclient/{}AST_DID_optimizer_sync.pl >> /{} 2>&1"
_LATER_LOG = "var/log/astguiclient/did-optimizer-sync.log"
SCRIPTS = {
    "process-call-results.pl": Old(
        _SEEDS.format("/usr/bin/perl process-call-results.pl"), "var/log/did-optimizer-sync.log", False
    ),
    "process-call-results.js": Old(
        _SEEDS.format("node process-call-results.js"), "var/log/did-optimizer-sync.log", False
    ),
    "the later script": Old(_LATER.format("/usr/bin/perl ", "", _LATER_LOG), _LATER_LOG, True),
    "the later script, by itself, below bin": Old(_LATER.format("", "bin/", _LATER_LOG), _LATER_LOG, True),
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path / "machine", "var/lib", "tmp") as made:
        yield made


@dataclass
class Administrator:
    """Types at a shell of the machine's, by the name that the README gives the command."""

    server: Machine

    def types(self, line: str, code: int = 0) -> str:
        done = self.server.run("/bin/sh", "-c", re.sub("^vicisync ", f"{COMMAND} ", line), environment=ENVIRONMENT)
        assert (line, code) == (line, done.returncode), done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return re.sub(r"^[\d-]{10} [\d:]{8} \+0000 ", "", done.stdout + done.stderr, flags=re.MULTILINE)

    def lets_cron_run(self) -> list[str]:
        """Run each job of the minute as cron would; return their lines."""
        job = self.server.path(CRON_D)
        tables = self.types("crontab -l") + (job.read_text().replace(" root ", " ") if job.exists() else "")
        jobs = re.findall(r"^\* \* \* \* \* (.*)$", tables, re.MULTILINE)
        for line in jobs:
            if not OLD_NAMES.search(line):
                self.types(line)
        return jobs


def counted_once(api: DidOptimizer, *uniqueids: Any) -> None:
    times = Counter(post.payload["uniqueid"] for post in api.posts if post.payload)
    assert {} == {uniqueid: number for uniqueid, number in times.items() if number > 1}, "sent twice"
    assert [] == [uniqueid for uniqueid in uniqueids if uniqueid not in times], "lost"


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_is_moved_over_from_and_back_to_with_every_call_counted_once(
    name: str, server: Machine, tmp_path: Path, mariadb: MariaDB, database: str, api: DidOptimizer
) -> None:
    old, administrator = SCRIPTS[name], Administrator(server)
    site = Site.of(tmp_path / "site", mariadb, database, api)
    mariadb.create_reader("cron", PASSWORD, database, READ)
    server.path("etc/astguiclient.conf").write_text(site.astguiclient_conf.read_text())
    server.path("etc/asterisk").mkdir()
    server.path("etc/asterisk/dids.conf").write_text(DIDS_CONF.format(url=api.url, key=api.api_key))
    server.path("etc/asterisk/dids.conf").chmod(0o600)
    server.path("var/log/astguiclient").mkdir()
    server.path(old.log).touch()
    began = int(time.time())
    server.path("tmp/did-optimizer-last-check.txt").write_text("" if old.leaves_ids else local(began - 7000))
    assert 0 == server.run("crontab", "-", text=f"### VICIdial's\n17 3 * * * true\n{old.line}\n").returncode

    # The script has sent calls, and passed one by that is still up.
    finish(site, 200, ago=900)
    long = f"{began - 1000}.77"
    insert(mariadb, database, row(long, began - 1000, lead_id=77, status="INCALL", end_epoch=None))
    old.run(site, server)
    assert len(api.records) > 20
    mariadb.execute(
        f"UPDATE `{database}`.vicidial_log SET status = 'SALE', end_epoch = %s, length_in_sec = 200 WHERE lead_id = 77",
        (began - 800,),
    )
    later = finish(site, 40, ago=100)

    said = administrator.types("vicisync check")
    assert "⚠ root's crontab line 3 still runs the old script: each call would be sent twice\n" in said
    assert "   → vicisync install --replace-old\n" in said
    assert "No checkpoint yet: the first run goes on where the old script stopped, " in said
    assert "   → vicisync install\n" in administrator.types("vicisync instal", code=2)
    assert "   → vicisync install --replace-old\n" in administrator.types("vicisync install", code=2)
    assert "→ vicisync run --dry-run\n" in administrator.types("vicisync --dry-run run", code=2)
    assert f"→ would send {later[-1]}" in administrator.types("vicisync run --dry-run")
    assert not {*later, long} & set(api.records), "nothing was sent so far"
    (replace,) = re.findall(r"`(vicisync install --\S+)`", STEPS)
    administrator.types(replace)
    assert "add --yes" in administrator.types("vicisync reset-checkpoint </dev/null", code=2)
    assert ["run"] == [job.split()[1] for job in administrator.lets_cron_run()]
    log = server.path("var/log/did-optimizer-sync.log").read_text()
    assert re.search(
        "📅 First run: going on where the old script stopped, .* says /tmp/did-optimizer-last-check.txt", log
    )
    counted_once(api, long, *later)
    said = administrator.types("vicisync check")
    assert "notification_email is read by nobody" in said
    assert "✅ All that a run needs is there, 1 warning" in said
    assert "✅ Last run: " in administrator.types("vicisync status --max-lag 5m")
    administrator.lets_cron_run()
    counted_once(api)

    time_of, id_of = re.findall(r"^ *(head .*)$", BACK, re.MULTILINE)
    administrator.types(id_of if old.leaves_ids else time_of)
    assert "Kept the state" in administrator.types("vicisync install --uninstall")
    administrator.types("crontab -l | sed '/^# Commented out/{n;s/^#//}' | crontab -")
    assert [old.line.partition("* * * * * ")[2]] == administrator.lets_cron_run()
    last = max(end for (end,) in rows(site, "end_epoch")) + 1
    news = [
        row(f"{last}.{n}", last, lead_id=100 + n, status="SALE", end_epoch=last + 9, length_in_sec=9) for n in range(5)
    ]
    insert(mariadb, database, *news)
    old.run(site, server)
    counted_once(api, *(each["uniqueid"] for each in news))
