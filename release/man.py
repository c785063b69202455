"""``make docs``: the man page, made from the commands' own help and the README's table of exit codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from vicisync import __version__
from vicisync.commands.cli import commands
from vicisync.settings.settings import ASTGUICLIENT_CONF, DIDS_CONF, SETTINGS

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "deploy" / "man" / "vicisync.1"

DESCRIPTION = """\
vicisync tells DID Optimizer how each call of a VICIdial dialer ended. Cron starts it every minute, on one server of the
cluster. It reads the calls of the last minutes from VICIdial's table vicidial_log, without writing to it, watches each
until its disposition is final, sends it once, and remembers that.

A call that can never be stored is written into the rejected file, with the reason. In an outage nothing is rejected:
later runs go on where this one stopped.
"""

FILES = {
    str(ASTGUICLIENT_CONF): "VICIdial's own configuration; the settings of the database are read from it.",
    str(DIDS_CONF): (
        "The configuration of DID Optimizer: address and key of the API in [general], vicisync's own settings in "
        "[vicisync], results by status in [dispositions]."
    ),
    "checkpoint_file": "What has been delivered, and what is watched. Its first line is the newest end delivered.",
    "/var/lib/vicisync/checkpoint.*": (
        "What stands beside the checkpoint: .last_run, how the last run went, for vicisync status; .lock, which a run "
        "holds; .reserve, room for the checkpoint on a full disk; .installed, what vicisync install made."
    ),
    "rejected_file": "The calls that can never be stored, one line of JSON each, with the reason.",
    "old_checkpoint_file": "Where the Perl script stopped that vicisync replaces; read by the first run alone.",
    "/etc/cron.d/vicisync": "Starts vicisync run every minute.",
    "/etc/logrotate.d/vicisync": "Rotates the log, daily.",
    "/var/log/did-optimizer-sync.log": "What the runs of cron said.",
}
"""By path, or by the setting whose default the path is."""

EXAMPLES = {
    "vicisync check": "Say what is wrong or missing, and how to fix it; change nothing.",
    "vicisync run --dry-run --limit 3": "Show three calls as they would be sent; send and save nothing.",
    "vicisync install": "Have cron run it every minute from now on.",
    "vicisync run --max-runtime 0": "Work off a backlog in one go.",
    "vicisync run -v": "Also say which calls wait, and why.",
    "vicisync reset-checkpoint --to '2024-10-24 12:00:00'": "Send again what ended after that time.",
    "vicisync retry-rejected": "Send the rejected calls again, when their cause is fixed.",
}


def page() -> str:
    """Make the whole page, in the man macros of roff."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield '.\\" Made by "make docs" from the help texts of the commands; changes here do not last.'
    yield f'.TH VICISYNC 1 "" "vicisync {__version__}" "User Commands"'
    yield from (".nh", ".ad l")  # no hyphens or gaps of its own: names and options are to be pasted
    yield ".SH NAME"
    yield r"vicisync \- deliver VICIdial's finished calls to DID Optimizer"
    yield ".SH SYNOPSIS"
    for name in commands.commands:
        yield from (".B " + _roff(f"vicisync {name}"), "[options]", ".br")
    yield from (r".B vicisync \-\-version", ".br", r".B vicisync \-\-help")
    yield ".SH DESCRIPTION"
    yield from _paragraphs(DESCRIPTION)
    yield ".SH COMMANDS"
    for name, command in commands.commands.items():
        yield ".SS " + _roff(f"vicisync {name}")
        yield from _paragraphs(command.help or "")
        for option, what in options(command):
            yield from _term(option, what)
    yield ".SH EXIT STATUS"
    for codes, what in exit_codes():
        yield from _term(codes, what)
    yield ".SH ENVIRONMENT"
    for variable, what in environment():
        yield from _term(variable, what)
    yield ".SH FILES"
    standard = {setting.name: setting.default for setting in SETTINGS}
    for path, what in FILES.items():
        name = f" The setting {path} names another." if path in standard else ""
        yield from _term(standard.get(path, path), what + name)
    yield ".SH EXAMPLES"
    for line, what in EXAMPLES.items():
        yield from _term(line, what)
    yield from (".SH SEE ALSO", ".BR crontab (5),", ".BR logrotate (8)")


def options(command: click.Command) -> list[tuple[str, str]]:
    """List the options of a command as its help does: the names with what they take, and what they are for."""
    with click.Context(command, help_option_names=["-h", "--help"]) as context:
        records = (option.get_help_record(context) for option in command.get_params(context))
        return [record for record in records if record]


def exit_codes() -> list[tuple[str, str]]:
    """List the exit codes as the README does, whose table is checked against the code."""
    text = (ROOT / "README.md").read_text().replace("`", "")
    return re.findall(r"^\| (\d[\d, ]*) \| (.+) \|$", text, re.MULTILINE)


def environment() -> list[tuple[str, str]]:
    """List the variables that stand in for an option or a setting."""
    files = (("VICISYNC_ASTGUICLIENT_CONF", ASTGUICLIENT_CONF), ("VICISYNC_DIDS_CONF", DIDS_CONF))
    settings = ((setting.variable, setting.key) for setting in SETTINGS if setting.variable)
    return [
        *((variable, f"Read this file, not {path}.") for variable, path in files),
        *((variable, f"In place of the setting {key}.") for variable, key in settings),
    ]


def _term(term: str, what: str) -> Iterator[str]:
    yield from (".TP", ".B " + _roff(term), _roff(what))


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        yield from (".PP", _roff(" ".join(paragraph.split())))


def _roff(text: str) -> str:
    """Escape a line so that roff shows it as it is, with hyphens and quotes that a shell understands."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace('"', r"\(dq")
    return rf"\&{escaped}" if escaped.startswith(".") else escaped


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
