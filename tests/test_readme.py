"""The README tells the truth: its help texts, tables and commands are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from vicisync import errors
from vicisync.cli import commands
from vicisync.dispositions import RESULTS
from vicisync.setting_table import SETTINGS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_the_readme_holds_the_help_of_each_command(name: str) -> None:
    result = CliRunner().invoke(commands, [name, "--help"], prog_name="vicisync", terminal_width=96)
    assert f"```\n{result.output}```" in README


def test_each_setting_stands_in_the_readme_with_its_default() -> None:
    table = dict(re.findall(r"^\| `(\w+)` \| `?([^|`]*?)`? \|", README, re.MULTILINE))
    # The database's stand in VICIdial's own file; the last two are for monitoring.
    ours = {s.key: s.default or "none" for s in SETTINGS if not s.key.startswith("db_") or s.key in table}
    assert {key: default for key, default in ours.items() if key not in ("metrics_file", "ping_url")} == table


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
    modules = {path.name for path in (ROOT / "src" / "vicisync").glob("*.py")} - {"__init__.py", "__main__.py"}
    assert modules == set(re.findall(r"`(\w+\.py)`", README))


def test_each_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make (demo|test|chaos|bench)\b", README)) <= targets


def test_every_command_has_a_help_of_its_own() -> None:
    assert all(isinstance(command, click.Command) and command.help for command in commands.commands.values())
