"""The README tells the truth: its help texts, tables and commands are those of the code."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from rehearsal.did_optimizer import DidOptimizer
from rehearsal.site import Site
from tests.conftest import finish_calls
from tests.state.test_last_run import LAST_RUN
from tests.sync.test_monitoring import values
from vicisync import errors
from vicisync.calls.dispositions import RESULTS
from vicisync.commands.cli import commands
from vicisync.settings.settings import SETTINGS
from vicisync.sync.monitoring import write_metrics

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_the_readme_holds_the_help_of_each_command(name: str) -> None:
    assert commands.commands[name].help
    result = CliRunner().invoke(commands, [name, "--help"], prog_name="vicisync", terminal_width=96)
    assert f"```\n{result.output}```" in README


def test_each_setting_stands_in_the_readme_with_its_default() -> None:
    table = dict(re.findall(r"^\| `(\w+)` \| `?([^|`]*?)`? \|", README, re.MULTILINE))
    # The database's stand in VICIdial's own file.
    assert {s.key: s.default or "none" for s in SETTINGS if not s.key.startswith("db_") or s.key in table} == table


def test_each_result_stands_in_the_readme_with_its_statuses() -> None:
    by_result: dict[str, list[str]] = {}
    for status, result in RESULTS.items():
        by_result.setdefault(result, []).append(status)
    assert all(f"| {', '.join(statuses)} | {result} |" in README for result, statuses in by_result.items())


def test_each_exit_code_stands_in_the_readme() -> None:
    codes = {error.exit_code for error in vars(errors).values() if hasattr(error, "exit_code")}
    table = {int(code) for line in re.findall(r"^\| ([\d, ]+) \|", README, re.MULTILINE) for code in line.split(",")}
    assert {0, 1, *codes, errors.SOME_REJECTED, 130, 143} == table


def test_each_module_stands_in_the_readme() -> None:
    source = ROOT / "src" / "vicisync"
    modules = {path.name for path in source.glob("*.py")} - {"__init__.py", "__main__.py"}
    rooms = {f"{path.parent.name}/" for path in source.glob("*/__init__.py")}
    assert modules | rooms == set(re.findall(r"`(\w+(?:\.py|/))`", README)) - {"rehearsal/"}


def test_json_of_a_status_has_the_shape_that_the_readme_documents(site: Site) -> None:
    finish_calls(site, 3, 60)
    site.vicisync("run")
    [block] = re.findall(r"```\n(\{\n.*?\n\})\n```", README, re.DOTALL)
    documented = json.loads(re.sub(r" +//.*", "", block))
    found = json.loads(site.vicisync("status", "--json").stdout)
    assert _shape(documented) == _shape(found)


def _shape(value: object) -> object:
    return {key: _shape(below) for key, below in value.items()} if isinstance(value, dict) else None


def test_each_metric_of_the_readme_is_written_and_no_other(tmp_path: Path) -> None:
    write_metrics(tmp_path / "vicisync.prom", LAST_RUN)
    assert set(values(tmp_path / "vicisync.prom")) == set(re.findall(r"`(vicisync_\w+)`", README))


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
