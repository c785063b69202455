"""The README and docs/ followed word by word: each command is typed here, in its order, on a machine of its own."""

import os
import re
import sys
import time
from pathlib import Path

import pytest

from rehearsal.dialer import fill
from rehearsal.did_optimizer import DidOptimizer
from rehearsal.mariadb import MariaDB
from rehearsal.site import Site
from release.dist import KEPT_WHEELS
from tests.machine import CRON_D, machine, needs_root

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
_DOCS = {path.stem: path.read_text() for path in (ROOT / "docs").glob("*.md")}
_STEPS = _DOCS.pop("moving-over").partition("## The way back")[0]
_READ_LAST = _DOCS.pop("upgrade-and-removal")
README = (
    (ROOT / "README.md")
    .read_text()
    .partition("## See it")[2]
    .replace("[Moving over](docs/moving-over.md) takes", _STEPS)
)
README = "\n".join([README, *_DOCS.values(), _READ_LAST])
"""Whoever has an old script follows the link there, and comes back; test_moving_over has the way back. Then docs/."""

PROGRAMS = {"/opt/vicisync/bin/pip", "apt-get", "chmod", "date", "dnf", "grep", "ln", "make", "pip", "pipx", "python3"}
PROGRAMS |= {"tail", "vicisync", "zypper"}

ELSEWHERE = {
    "make test": "is what runs this",
    "make bench": "tests/test_bench.py, on small tables",
    "make dist": "tests/test_dist.py, and below",
    "apt-get install python3-venv": "rehearsal/set-up, on a machine without it",
    "dnf install python3.12": "AlmaLinux has it, Debian has not",
    "zypper install python311": "openSUSE has it, Debian has not",
    "PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx install vicisync": "pip, in a folder of pipx's own",
}
"""Commands that are not typed here, and why."""


def commands() -> list[str]:
    """Return the command lines of the README in their order, from code blocks and from the text, each once."""
    found: list[str] = []
    for language, block, span in re.findall(r"^```(\w*)\n(.*?)^```$|`([^`\n]+)`", README, re.MULTILINE | re.DOTALL):
        if not language:
            found += block.splitlines() or [span]
    lines = [re.sub(r"\s{2,}#.*", "", line.removeprefix("$ ")) for line in found]
    return [line for line in dict.fromkeys(lines) if re.sub(r"^(?:\w+=\S+ )*(\S*).*", r"\1", line) in PROGRAMS]


def test_what_is_not_typed_here_is_in_the_readme_all_the_same() -> None:
    assert set() == set(ELSEWHERE) - set(commands())


@needs_root
@pytest.mark.skipif(
    sys.base_prefix.startswith(("/opt", "/usr/local")), reason="this Python lies where the README puts vicisync"
)
def test_every_command_of_the_readme_does_what_it_says(
    released: Path, tmp_path: Path, mariadb: MariaDB, database: str, api: DidOptimizer
) -> None:
    api.knows_repeats = True
    site = Site.of(tmp_path / "site", mariadb, database, api)
    with mariadb.connect(database) as connection:
        fill(connection, 3, int(time.time()) - 60)
    conf = (ROOT / "conf.example").read_text()
    conf = conf.replace("http://localhost:5000", api.url).replace("your_api_key_here", api.api_key)
    conf = re.sub(r"^(old_checkpoint_file=).*", rf"\g<1>{tmp_path}/old", conf, flags=re.MULTILINE)
    environment = {
        "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8",
        "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"{released} {KEPT_WHEELS}", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }  # fmt: skip

    with machine(tmp_path / "machine", "opt", "usr/local/bin", "var/lib") as server:
        python = server.path("usr/local/bin/python3")
        python.write_text(f'#!/bin/sh\nexec {os.path.realpath(sys.executable)} "$@"\n')
        python.chmod(0o755)
        server.path("etc/astguiclient.conf").write_text(site.astguiclient_conf.read_text())
        server.path("etc/asterisk").mkdir()
        server.path("etc/asterisk/dids.conf").write_text(conf)

        def ran(line: str) -> str:
            done = server.run("/bin/sh", "-c", line, environment=environment)
            assert (line, 0) == (line, done.returncode), done.stdout + done.stderr
            return done.stdout

        (grants,) = re.findall(r"^```sql\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
        phones = "lead_id INT, phone_number VARCHAR(18), KEY phone_number (phone_number)"
        mariadb.execute(f"CREATE TABLE `{database}`.vicidial_list ({phones})")
        mariadb.execute("REVOKE ALL, GRANT OPTION FROM cron@localhost")
        for grant in grants.strip().splitlines():
            mariadb.execute(grant.replace("asterisk", f"`{database}`"))
        said = {}
        for line in commands():
            if line == "make demo":
                own = f"--old-file={sys.prefix}/ready VENV={sys.prefix}"  # this environment, as it is
                said[line] = ran(f"cd {ROOT} && make {own} demo")
            elif line == "vicisync install --replace-old":
                ran("echo '* * * * * /usr/bin/perl /home/na/didapi/process-call-results.pl' | crontab -")
                said[line] = ran(line) + ran("crontab -l")
                (job,) = re.findall(r"^\* \* \* \* \* root (.*)$", server.path(CRON_D).read_text(), re.MULTILINE)
                ran(job)
            elif line.startswith("tail -f"):
                said[line] = ran(f"timeout 1 {line} || test $? = 124")
            elif line.startswith("vicisync explain"):
                said[line] = ran(f"{line} || test $? = 1")  # the call is nobody's here
            elif line.startswith("grep") and "Summary" not in line:
                said[line] = ran(f"{line} || test $? = 1")  # nothing has failed
            elif line not in ELSEWHERE:
                said[line] = ran(f"{line} --yes" if line == "vicisync reset-checkpoint" else line)
        (copied,) = re.findall(r"^cp (/opt/\S+) ", README, re.MULTILINE)
        assert "vicisync-reconcile.timer" in ran(f"ls {copied}")

    assert "0 were sent twice." in said["make demo"]
    assert ", 0 are missing." in said["make demo"]
    assert "✅ All that a run needs is there" in said["vicisync check"]
    assert "3 calls would be sent" in said["vicisync run --dry-run --limit 3"]
    assert "\n#* * * * * /usr/bin/perl" in said["vicisync install --replace-old"]
    assert "Summary: 3 processed, 0 failed" in said['grep "Summary:" /var/log/did-optimizer-sync.log | tail']
    assert "✅ Nothing new since" in said["vicisync run"]
    assert "✅ Lag: 0 s" in said["vicisync status"]
    assert "(3 duplicates)" in said["vicisync run -v"]  # reset-checkpoint came before it
    assert "(3 duplicates)" in said["vicisync run --max-runtime 0"]  # and the date, put into the file
    assert "✅ Nothing is missing" in said["vicisync reconcile --from 2h --by campaign"]
    assert "removed /etc/cron.d/vicisync" in said["vicisync install --uninstall"]
    assert 3 == len(api.records)
