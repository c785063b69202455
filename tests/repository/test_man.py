"""The man page and bash's completion say what the commands themselves say."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from release import completion, man
from vicisync import __version__, errors
from vicisync.commands.cli import commands
from vicisync.settings.settings import ASTGUICLIENT_CONF, DIDS_CONF, SETTINGS

ROOT = Path(__file__).parents[2]
PAGE = man.PAGE.read_text()


def help_of(*command: str) -> str:
    return CliRunner().invoke(commands, [*command, "--help"], prog_name="vicisync", terminal_width=96).output


def options_of(text: str) -> list[str]:
    """The options of a help text, as it shows them, such as ``-q, --quiet`` or ``--limit N``."""
    return re.findall(r"^  (-\S.*?)(?:  |$)", text.partition("Options:")[2], re.MULTILINE)


def plain(roff: str) -> str:
    """What a reader sees of roff, line by line."""
    for escape, sign in ((r"\-", "-"), (r"\(aq", "'"), (r"\(dq", '"'), (r"\&", ""), (r"\e", "\\")):
        roff = roff.replace(escape, sign)
    return roff


def section(name: str, *, level: str = "SH") -> str:
    begin = PAGE.index(f".{level} {name}\n")
    following = re.compile(r"^\.S[HS] " if level == "SS" else r"^\.SH ", re.MULTILINE).search(PAGE, begin + 1)
    return plain(PAGE[begin : following.start() if following else len(PAGE)])


def terms(text: str) -> list[str]:
    return re.findall(r"^\.TP\n\.B (.+)$", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("made", "file"),
    [
        pytest.param(man.page, man.PAGE, id="man page"),
        pytest.param(completion.script, completion.SCRIPT, id="completion"),
    ],
)
def test_what_was_made_is_what_would_be_made_now(made: object, file: Path) -> None:
    assert callable(made)
    assert made() == file.read_text(), "a help text has changed: make docs"


def test_the_page_has_the_sections_of_a_man_page_in_their_order() -> None:
    names = ["NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES"]
    assert [*names, "SEE ALSO"] == re.findall(r"^\.SH (.+)$", PAGE, re.MULTILINE)
    assert f'"vicisync {__version__}"' in PAGE


@pytest.mark.parametrize("command", commands.commands)
def test_the_page_has_each_command_with_what_its_help_says(command: str) -> None:
    text = section(plain(f"vicisync {command}".replace("-", r"\-")).replace("-", r"\-"), level="SS")
    help_text = help_of(command)
    assert options_of(help_text) == terms(text)
    assert " ".join(help_text.split()).replace("Usage: ", "").startswith(f"vicisync {command} [OPTIONS] ")
    said = {" ".join(line.split()) for line in text.splitlines()}
    for paragraph in (commands.commands[command].help or "").split("\n\n"):
        assert " ".join(paragraph.split()) in said
    assert f"vicisync {command}" in section("SYNOPSIS")


def test_the_page_has_each_exit_code() -> None:
    codes = {error.exit_code for error in vars(errors).values() if hasattr(error, "exit_code")}
    named = {int(code) for codes in terms(section(r"EXIT STATUS")) for code in codes.split(", ")}
    assert {0, 1, *codes, errors.SOME_REJECTED, 130, 143} == named


def test_the_page_has_each_variable_that_the_help_or_a_setting_names() -> None:
    of_options = {name for command in commands.commands for name in re.findall(r"VICISYNC_\w+", help_of(command))}
    of_settings = {setting.variable for setting in SETTINGS if setting.variable}
    assert of_options | of_settings == set(terms(section("ENVIRONMENT")))


def test_each_file_of_the_page_is_one_that_is_read_written_or_installed() -> None:
    settings = {setting.default for setting in SETTINGS if setting.name.endswith("_file") and setting.default}
    installed = {f"/etc/{kind}.d/vicisync" for kind in ("cron", "logrotate") if (ROOT / "deploy" / kind).is_dir()}
    logs = set(re.findall(r">> (\S+)", (ROOT / "deploy" / "cron" / "vicisync").read_text()))
    (beside,) = (f"{setting.default}.*" for setting in SETTINGS if setting.name == "checkpoint_file")
    named = {str(ASTGUICLIENT_CONF), str(DIDS_CONF), beside, *settings, *installed, *logs}
    assert named == set(terms(section("FILES")))


def test_the_page_names_every_file_that_stands_beside_the_checkpoint() -> None:
    code = "".join(path.read_text() for path in (ROOT / "src" / "vicisync").rglob("*.py"))
    endings = set(re.findall(r'\.name \+ "(\.\w+)"', code)) - {".new"}  # which lasts for a moment
    assert len(endings) >= 3
    assert [] == [ending for ending in endings if f" {ending}, " not in section("FILES")]


@pytest.mark.parametrize("line", man.EXAMPLES)
def test_each_example_is_a_command_with_options_that_it_has(line: str) -> None:
    program, command, *arguments = line.split()
    assert "vicisync" == program
    assert [] == [word for word in arguments if word.startswith("-") and word not in help_of(command)]


@pytest.mark.skipif(not shutil.which("man"), reason="no man here: apt-get install man-db")
def test_man_shows_the_page_without_a_warning() -> None:
    done = subprocess.run(
        ["man", "--warnings=w", "--local-file", man.PAGE],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "80", "MANROFFOPT": "-ww"},
        capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    assert "" == done.stderr
    shown = " ".join(done.stdout.split())
    assert "vicisync reset-checkpoint --to '2024-10-24 12:00:00'" in shown
    assert "vicisync - deliver VICIdial's finished calls to DID Optimizer" in shown


def complete(line: str, folder: Path) -> list[str]:
    """Let a real bash complete the last word of a line, with no program but itself to start; return what it offers."""
    lines = [
        f". {completion.SCRIPT}",
        "PATH=/nowhere",
        f"COMP_WORDS=({line})",
        *(["COMP_WORDS+=('')"] if line.endswith(" ") else []),
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1))",
        "compopt() { :; }",  # knows what it is about only at a real TAB
        "_vicisync",
        'printf "%s\\n" "${COMPREPLY[@]}"',
    ]
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run(
        [bash, "--norc", "-c", "\n".join(lines)], cwd=folder, capture_output=True, encoding="utf-8", check=True
    )
    assert "" == done.stderr
    return done.stdout.split()


def test_bash_completes_every_command(tmp_path: Path) -> None:
    assert [*commands.commands, "--version", "-h", "--help"] == complete("vicisync ", tmp_path)


@pytest.mark.parametrize("command", commands.commands)
def test_bash_completes_every_option_of_a_command(command: str, tmp_path: Path) -> None:
    shown = [name for option in options_of(help_of(command)) for name in re.findall(r"(?<!\S)--?[\w-]+", option)]
    assert shown == complete(f"vicisync {command} -q ", tmp_path)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        pytest.param("vicisync ru", ["run"], id="a command"),
        pytest.param("vicisync re", ["retry-rejected", "reset-checkpoint"], id="two commands"),
        pytest.param("vicisync run --dr", ["--dry-run"], id="an option"),
        pytest.param("vicisync run --limit 3 --qu", ["--quiet"], id="an option behind another's value"),
        pytest.param("vicisync run --limit ", [], id="a number"),
        pytest.param("vicisync reset-checkpoint --to ", [], id="a time"),
        pytest.param("vicisync run --dids-conf di", ["dids.conf"], id="a file"),
        pytest.param("vicisync run --astguiclient-conf other/", ["other/ast.conf"], id="a file in a folder"),
        pytest.param("vicisync rum --dr", [], id="no such command"),
    ],
)
def test_bash_completes(line: str, offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "dids.conf").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "ast.conf").touch()
    assert offered == complete(line, tmp_path)
