"""The installed command as an operator, cron or a shell calls it, and what it left where."""

import os
import pty
import re
import select
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from rehearsal.dialer import fill
from rehearsal.did_optimizer import DidOptimizer
from rehearsal.site import COMMAND, PASSWORD, Site

STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ([+-]\d{4}) ")

INDIA = {"TZ": "Asia/Kolkata"}
"""A zone that is not UTC, to tell local time from it, and has no change of clocks, to mean the same all year."""


def vicisync(
    site: Site, *arguments: str, code: int = 0, environment: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    """Run the command, which has to exit with ``code``; whatever happens, it shows neither of its secrets."""
    done = site.vicisync(*arguments, **environment)
    check_secrets(site, done.stdout + done.stderr, environment)
    assert code == done.returncode, f"{done.stdout}{done.stderr}"
    return done


def check_secrets(site: Site, output: str, environment: Mapping[str, str]) -> None:
    secrets = {site.api_key, PASSWORD, environment.get("API_KEY"), environment.get("VICIDIAL_DB_PASSWORD")}
    assert [] == [secret for secret in secrets if secret and secret in output]


def lines(output: str) -> list[str]:
    """The lines without their time stamps, which they all have."""
    found = output.splitlines()
    assert [] == [line for line in found if not STAMP.match(line)]
    return [STAMP.sub("", line, count=1) for line in found]


def on_terminal(site: Site, *arguments: str, answer: str | Callable[[], str] = "") -> tuple[int, str]:
    """Run the command on a terminal of its own, and type ``answer`` where it asks; return exit code and output.

    An answer that takes its time is a function.
    """
    ours, its = pty.openpty()
    # Whoever runs the tests in the background of a shell has them ignore Ctrl-C, and all that they start.
    command = ["env", "--default-signal=INT", "setsid", "--ctty", str(COMMAND), *arguments]
    process = subprocess.Popen(command, env=site.environment(), stdin=its, stdout=its, stderr=its)
    os.close(its)
    shown = b""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if not select.select([ours], [], [], 1)[0]:
            if (
                isinstance(answer, str) and answer and b"?" in shown
            ):  # a Ctrl-C that comes before readline is ready has no effect: press it again
                os.write(ours, answer.encode())
            continue
        asked = b"?" in shown
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the last one at the other end has gone
            break
        if answer and b"?" in shown and not asked:
            answer = answer if isinstance(answer, str) else answer()
            os.write(ours, answer.encode())
    else:
        process.kill()
    os.close(ours)
    output = shown.decode()
    check_secrets(site, output, {})
    return process.wait(60), output.replace("\r\n", "\n")


def finish(site: Site, calls: int, ago: float = 200) -> list[str]:
    """Let calls end, a second apart, the last one ``ago`` seconds ago; return their ids in that order."""
    first_lead = 1 + max((lead for (lead,) in rows(site, "lead_id")), default=1000)
    with site.mariadb.connect(site.database) as connection:
        fill(connection, calls, int(time.time() - ago), per_hour=3600, first_lead=first_lead)
    return [uniqueid for uniqueid, lead in rows(site, "uniqueid, lead_id") if lead >= first_lead]


def rows(site: Site, columns: str) -> list[tuple[Any, ...]]:
    return site.mariadb.execute(f"SELECT {columns} FROM `{site.database}`.vicidial_log ORDER BY end_epoch, lead_id")


def local(epoch: float, hours_east: float = 0) -> str:
    return datetime.fromtimestamp(epoch, timezone(timedelta(hours=hours_east))).strftime("%Y-%m-%d %H:%M:%S")


def files(site: Site) -> dict[str, bytes]:
    """Every file of the site, with what is in it."""
    return {str(path): path.read_bytes() for path in site.folder.rglob("*") if path.is_file()}


def arrived(api: DidOptimizer) -> list[str]:
    """The ids that were POSTed, in order of arrival."""
    return [post.payload["uniqueid"] for post in api.posts]


def in_shell(site: Site, line: str, **environment: str) -> tuple[int, str, str]:
    """Run the command with its streams where the shell's line puts them; return its own exit code, stdout, stderr."""
    code = site.folder / "exit-code"
    streams, *pipe = line.partition("|")
    command = f"{{ {shlex.quote(str(COMMAND))} {streams}; echo $? > {shlex.quote(str(code))}; }} {''.join(pipe)}"
    done = subprocess.run(
        ["sh", "-c", command], env=site.environment(**environment), stdin=subprocess.DEVNULL, capture_output=True,
        encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip
    check_secrets(site, done.stdout + done.stderr, environment)
    exit_code = int(code.read_text())
    code.unlink()
    return exit_code, done.stdout, done.stderr
