"""Reading cron's tables: what is a job, what runs vicisync, and what runs the script that it replaces."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicisync.commands.crontab import Job, comment_out, executable_of, jobs, runs_old_script

JOB = "* * * * * {user}/usr/local/bin/vicisync run >> /var/log/did-optimizer-sync.log 2>&1"
COMMAND = "/usr/local/bin/vicisync run >> /var/log/did-optimizer-sync.log 2>&1"


@pytest.mark.parametrize(
    ("line", "command"),
    [
        pytest.param(JOB.format(user=""), COMMAND, id="every minute"),
        pytest.param("\t 0-59/2  1,2 * jan\tmon   a  b ", "a  b", id="blanks, ranges, names"),
        pytest.param("@reboot sleep 5; a", "sleep 5; a", id="a name in place of the five times"),
        pytest.param("* * * * * a --at=5", "a --at=5", id="an equals sign in the command"),
        pytest.param("* * * * * A=5 a", "A=5 a", id="an assignment before the command"),
        pytest.param(r"* * * * * a +\%F % what it reads", "a +%F ", id="percent signs"),
        pytest.param("* * * * * a # b", "a # b", id="a comment of the shell, not of cron"),
        pytest.param("* * * * * a\r", "a", id="a line end of DOS"),
    ],
)
def test_a_job_is_what_follows_the_times(line: str, command: str) -> None:
    assert [Job(1, command)] == jobs(line, with_user=False)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("# " + JOB.format(user=""), id="a comment"),
        pytest.param("  #* * * * * a", id="an indented comment"),
        pytest.param("", id="nothing"),
        pytest.param("PATH=/usr/bin:/bin:/a b c d e", id="a setting"),
        pytest.param('MAILTO = "a b c d e f"', id="a setting with blanks"),
        pytest.param("'MAIL TO' = a b c d e f", id="a quoted name"),
        pytest.param("* * * * *", id="no command"),
        pytest.param("@daily", id="a name and no command"),
    ],
)
def test_what_cron_does_not_run_is_no_job(line: str) -> None:
    assert [] == jobs(line, with_user=False)


@pytest.mark.parametrize(
    "line", [JOB.format(user="root "), JOB.format(user="root\t"), "@hourly root " + COMMAND], ids=["", "tab", "named"]
)
def test_a_user_stands_before_the_command_in_the_system_s_tables(line: str) -> None:
    assert [Job(2, COMMAND)] == jobs(f"SHELL=/bin/sh\n{line}\n", with_user=True)


def test_a_system_s_line_without_a_command_is_no_job() -> None:
    assert [] == jobs("* * * * * root\n", with_user=True)


@pytest.mark.parametrize(
    ("command", "executable"),
    [
        pytest.param(COMMAND, "/usr/local/bin/vicisync", id="as installed"),
        pytest.param("vicisync run", "vicisync", id="by PATH"),
        pytest.param("sleep 30; /opt/v/bin/vicisync run -q>>log", "/opt/v/bin/vicisync", id="half a minute later"),
        pytest.param("cd /opt && ./vicisync run", "./vicisync", id="after cd"),
        pytest.param("nice -n 10 timeout 55 /usr/bin/vicisync run", "/usr/bin/vicisync", id="behind nice and timeout"),
        pytest.param("TZ=UTC vicisync run", "vicisync", id="behind an assignment"),
        pytest.param("flock -n /run/l -c 'vicisync run -q'", "vicisync", id="in a string for a shell"),
        pytest.param("'/opt/a b/vicisync' run", "/opt/a b/vicisync", id="a blank in its path"),
        pytest.param("/usr/bin/python3.11 -m vicisync run", "/usr/bin/python3.11", id="as a module"),
        pytest.param("python3 -I /opt/vicisync.pyz run", "/opt/vicisync.pyz", id="as one file, run by python"),
        pytest.param("/opt/vicisync-1.0.0.pyz run", "/opt/vicisync-1.0.0.pyz", id="as one file"),
        pytest.param("vicisync status --json", None, id="another command of it"),
        pytest.param("tail -n 5 /opt/vicisync run", None, id="a file of that name"),
        pytest.param("echo vicisync run", None, id="only said"),
        pytest.param("true # or; vicisync run", None, id="in a comment"),
        pytest.param("python3 -m http.server", None, id="another module"),
        pytest.param("vicisync run 'what", None, id="a quote without its end"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_the_executable_of_a_job_that_delivers_is_found(command: str, executable: str | None) -> None:
    assert executable == executable_of(command)


@pytest.mark.parametrize(
    "command",
    [
        "cd /home/na/didapi && /usr/bin/perl process-call-results.pl >> /var/log/did-optimizer-sync.log 2>&1",
        "sleep 30 && cd /home/na/didapi && /usr/bin/perl process-call-results.pl >> /var/log/sync.log 2>&1",
        "/home/na/didapi/process-call-results.pl>>/var/log/sync.log",
        "cd /home/na/didapi; node process-call-results.js",
        "/usr/bin/nodejs --max-old-space-size=64 /home/na/didapi/process-call-results.js",
        "API_KEY=x perl -w /opt/process-call-results.pl",
        "flock -n /tmp/l perl /opt/process-call-results.pl",
        "bash -lc 'cd /opt && perl process-call-results.pl'",
        "if [ -e /opt/on ]; then perl /opt/process-call-results.pl; fi",
        "(cd /opt; ./process-call-results.pl)",
    ],
)
def test_a_job_of_the_old_script_is_known(command: str) -> None:
    assert runs_old_script(command)
    assert executable_of(command) is None


@pytest.mark.parametrize(
    "command",
    [
        COMMAND,
        "pgrep -f process-call-results.pl",
        "tail -n 1 /home/na/didapi/process-call-results.pl",
        "perl /opt/process-call-results.pl.bak",
        "perl /opt/my-process-call-results.pl",
        "true # or; perl process-call-results.pl",
    ],
)
def test_a_job_that_only_names_the_old_script_is_none_of_it(command: str) -> None:
    assert not runs_old_script(command)


def test_the_shipped_table_has_one_job() -> None:
    text = (Path(__file__).parents[2] / "deploy" / "cron" / "vicisync").read_text()
    assert ["/usr/local/bin/vicisync"] == [executable_of(job.command) for job in jobs(text, with_user=True)]


TABLE = "MAILTO=root\n* * * * * one\n\n@daily two\n# three\n* * * * * four"


def test_lines_that_are_commented_out_run_no_more_and_say_why() -> None:
    text = comment_out(TABLE, [2, 6])
    assert [Job(5, "two")] == jobs(text, with_user=False)
    why = "# Commented out by vicisync install, which took over:\n#* * * * * "
    assert text == TABLE.replace("* * * * * one", f"{why}one").replace("* * * * * four", f"{why}four")


def test_all_else_in_a_table_stays_to_the_byte() -> None:
    assert TABLE == comment_out(TABLE, [])


@given(st.text(), st.booleans())
def test_no_table_is_too_odd_to_be_read(text: str, with_user: bool) -> None:
    for job in jobs(text, with_user=with_user):
        assert 1 <= job.line_number <= text.count("\n") + 1
        runs_old_script(job.command)
        executable_of(job.command)


@given(st.text(alphabet="ab '\"\\;&|<>()#-c=/\n\t") | st.text())
def test_no_command_is_too_odd_to_be_read(command: str) -> None:
    assert not runs_old_script(command)
    assert executable_of(command) is None
