"""The README and docs/ tell the truth: their tables, samples and commands are those of the code."""

import html
import json
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from rehearsal.dialer import Dialer
from rehearsal.did_optimizer import DidOptimizer, answer, unavailable_503
from rehearsal.lives import agent_call, new_call
from rehearsal.mariadb import READ, MariaDB
from rehearsal.site import PASSWORD, Site
from tests.conftest import command_here, finish_calls
from tests.state.test_last_run import LAST_RUN
from tests.sync.test_monitoring import values
from vicisync import errors
from vicisync.calls.dispositions import RESULTS
from vicisync.commands.cli import commands
from vicisync.report import REASONS
from vicisync.settings.settings import SETTINGS
from vicisync.sync.monitoring import write_metrics
from vicisync.vicidial import statements

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [*(ROOT / f"{name}.md" for name in ("README", "SECURITY", "CONTRIBUTING")), *ROOT.glob("docs/*.md")]
}
README = PAGES["README.md"]
JSON = PAGES["docs/json.md"]


def test_the_readme_is_one_page_and_no_line_is_wider_than_a_terminal() -> None:
    """What the program printed stands as it was."""
    assert 250 >= len(README.splitlines())
    written = {name: re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S) for name, text in PAGES.items()}
    assert [] == [f"{name}: {line}" for name, text in written.items() for line in text.splitlines() if len(line) > 100]


@pytest.mark.parametrize("name", PAGES)
def test_each_link_leads_to_a_file_and_a_heading_that_are_there(name: str) -> None:
    for place, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", PAGES[name]):
        path = (ROOT / name).parent / place if place else ROOT / name
        assert path.exists(), place
        if heading:
            titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_each_page_is_named_in_the_readme() -> None:
    assert set() == {name for name in PAGES if name != "README.md"} - set(re.findall(r"\]\(([^)#]*)", README))


def test_each_command_stands_in_the_readme_and_tells_of_each_of_its_options() -> None:
    assert set(commands.commands) == set(re.findall(r"^\| `vicisync (\S+?)[ `]", README, re.M))
    options = [(name, each) for name, command in commands.commands.items() for each in [command, *command.params]]
    assert [] == [(name, each.name) for name, each in options if not (isinstance(each, click.Argument) or each.help)]  # type: ignore[attr-defined]


def test_the_settings_of_the_readme_have_their_defaults_and_the_rest_stands_in_conf_example() -> None:
    table = dict(re.findall(r"^\| `(\w+)` \| `?([^|`]*?)`? \|", README, re.MULTILINE))
    assert {"api_key", "api_base_url", "verify_ssl"} < set(table)
    assert table == {s.key: s.default or "none" for s in SETTINGS if s.key in table}
    assert "[conf.example](conf.example) is a complete file" in README  # as test_conf_example holds


def test_each_table_that_a_statement_reads_has_its_grant_in_the_readme_and_its_line_in_the_page_on_security() -> None:
    """The archive is read by the statements of vicidial_log."""
    texts = [value for value in vars(statements).values() if isinstance(value, str)]
    read = {"vicidial_log_archive", *re.findall(r"(?:FROM|JOIN) (vicidial_\w+)", "\n".join(texts))}
    assert read == set(re.findall(r"^GRANT SELECT ON asterisk\.(\w+) TO", README, re.MULTILINE))
    assert read == set(re.findall(r"^\| `(vicidial_\w+)` \|", PAGES["docs/security.md"], re.MULTILINE))


def test_each_result_stands_in_the_documents_with_its_statuses() -> None:
    by_result: dict[str, list[str]] = {}
    for status, result in RESULTS.items():
        by_result.setdefault(result, []).append(status)
    assert all(f"| {', '.join(statuses)} | {result} |" in JSON for result, statuses in by_result.items())


def test_each_exit_code_stands_in_the_readme() -> None:
    codes = {error.exit_code for error in vars(errors).values() if hasattr(error, "exit_code")}
    table = {int(code) for line in re.findall(r"^\| ([\d, ]+) \|", README, re.MULTILINE) for code in line.split(",")}
    assert {0, 1, *codes, errors.SOME_REJECTED, 130, 143} == table


def test_each_module_stands_in_contributing() -> None:
    source = ROOT / "src" / "vicisync"
    modules = {path.name for path in source.glob("*.py")} - {"__init__.py", "__main__.py"}
    rooms = {f"{path.parent.name}/" for path in source.glob("*/__init__.py")}
    table = " ".join(re.findall(r"^\| (`.*?) \|", PAGES["CONTRIBUTING.md"], re.MULTILINE))
    assert modules | rooms == set(re.findall(r"`(\w+(?:\.py|/))`", table))


def test_each_metric_of_the_documents_is_written_and_no_other(tmp_path: Path) -> None:
    write_metrics(tmp_path / "vicisync.prom", LAST_RUN)
    assert set(values(tmp_path / "vicisync.prom")) == set(
        re.findall(r"^\| `(vicisync_\w+)`", PAGES["docs/monitoring.md"], re.MULTILINE)
    )


def test_the_json_has_the_shape_that_is_documented(site: Site, api: DidOptimizer) -> None:
    finish_calls(site, 3, 60)
    api.fault_for = lambda _: answer(400, body=b'{"success": false, "error": "No"}') if api.records else None
    site.vicisync("run")
    posted, status, rejected = (
        json.loads(re.sub(r" +//.*", "", block)) for block in re.findall(r"```jsonc?\n(.*?)\n```", JSON, re.DOTALL)
    )
    found = json.loads(site.vicisync("status", "--json").stdout)
    assert _shape(status) == _shape(found)
    assert list(status["waiting"]) == list(REASONS) == re.findall(r"^\| `(\w+)` \| (?:has|is|can|was) ", JSON, re.M)
    (sent, *_) = api.posts
    assert list(posted) == list(sent.payload or {})
    line = json.loads(site.rejected_file.read_text().splitlines()[0])
    assert _shape(rejected) == _shape(line)


def _shape(value: object) -> object:
    return {key: _shape(below) for key, below in value.items()} if isinstance(value, dict) else None


def test_the_greps_of_the_readme_find_summaries_failures_and_ends_in_the_log(site: Site, api: DidOptimizer) -> None:
    finish_calls(site, 3, 60)
    log = site.folder / "sync.log"
    log.write_text(site.vicisync("run", "--limit", "1").stdout)
    api.down()
    done = site.vicisync("run")
    log.write_text(log.read_text() + done.stdout + done.stderr)
    greps = re.findall(r"^grep .*$", README, re.MULTILINE)
    found = [
        subprocess.run(
            ["/bin/sh", "-c", line.replace("/var/log/did-optimizer-sync.log", shlex.quote(str(log)))],
            check=True, stdout=subprocess.PIPE, encoding="utf-8",
        ).stdout.splitlines()
        for line in greps
    ]  # fmt: skip
    assert [2, 2, 1] == [len(lines) for lines in found]
    assert "1 processed, 0 failed" in found[0][0]
    assert "0 processed, 2 failed" in found[0][1]
    assert "connection refused" in found[2][0]


SIGNS = "[🚀✅📅📞✓✗⚠❌💾📊⏳]"


def shown() -> Iterator[str]:
    """Yield each line that the program is said to print, in the samples of all pages and in the picture of a run."""
    for text in PAGES.values():
        for block in re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            yield from (line for line in block.splitlines() if re.match(SIGNS, _unstamped(line)))
    drawn: dict[str, list[str]] = {}
    for y, words in re.findall(r'<text [^>]*y="(\d+)"[^>]*>([^<]*)</text>', (ROOT / "docs" / "run.svg").read_text()):
        drawn.setdefault(y, []).append(html.unescape(words))
    yield from map(" ".join, drawn.values())


def _unstamped(line: str) -> str:
    return re.sub(r"^[\d-]{10} [\d:]{8} \+0000 ", "", line)


def _worded(line: str) -> str:
    """Return the words of a line alone: every call, number, time and list of reasons is like any other."""
    line = re.sub(r"\S+/\d+", "CAMPAIGN/PHONE", re.sub(r"[A-Z]+ \(", "STATUS (", _unstamped(line)))
    line = re.sub("|".join(REASONS.values()), "reason", re.sub(r"\d[\d.:-]*", "0", line.replace(": ", " : ")))
    return re.sub(r"(0 reason, )*0 reason", "reasons", line)


@pytest.mark.usefixtures("utc")
def test_each_line_of_the_samples_is_one_that_the_program_prints(
    site: Site, api: DidOptimizer, mariadb: MariaDB, database: str
) -> None:
    """A call that fails once, one that is delivered, and one whose agent has not decided: told by every command."""
    mariadb.create_reader("cron", PASSWORD, database, READ)
    site.configure(max_retries="0", concurrency="1")
    now = time.time()
    dialer = Dialer(lambda: mariadb.connect(database))
    fails, _, held = (
        dialer.begin(agent_call(new_call(now - 300 + n), talk=60, wrap_up=wrap_up)).final.uniqueid  # type: ignore[union-attr]
        for n, wrap_up in enumerate((20, 20, 600))
    )
    dialer.play(now)
    dialer.close()
    api.fault_for = lambda payload: unavailable_503() if payload["uniqueid"] == fails else None
    printed = [command_here(site, "run"), command_here(site, "explain", fails)]
    api.fault_for = None
    typed = ("run", f"explain {fails}", f"explain {held}", "status --max-lag 5m", "reconcile --from 2h --by campaign")
    printed += [command_here(site, *line.split()) for line in typed]
    assert {0} == {done.returncode for done in printed}
    words = {_worded(line) for done in printed for line in done.stdout.splitlines()}
    lines = list(shown())
    assert len(lines) > 50
    assert [] == [line for line in lines if _worded(line) not in words]
