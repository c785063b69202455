"""How commands speak to whoever called them: a line, an error, a question, the report of a run."""

import sys
from contextlib import closing, suppress
from typing import Any

import click

from vicisync.output import printable, send_to_nowhere
from vicisync.report import Report, Verbosity
from vicisync.settings.settings import Settings


def report_error(message: str) -> None:
    """Tell what ended a command."""
    with closing(Report(sys.stderr)) as report:
        report.error(message)


def tell(line: str, *, err: bool = False) -> None:
    """Tell a line."""
    try:
        click.echo(printable(line), err=err)
    except OSError:  # a full disk behind a redirection keeps nobody from a reset, and changes no exit code
        send_to_nowhere(sys.stderr if err else sys.stdout)


def is_confirmed() -> bool:
    """Ask whether to reset; return whether that was answered with yes."""
    with suppress(click.Abort):
        if click.confirm("Reset?", err=True):
            return True
    tell("Aborted; nothing was changed", err=True)
    return False


def report_to(settings: Settings, *, quiet: bool, verbose: bool = False, **more: Any) -> Report:
    """Return the report of a command that sends calls."""
    verbosity = Verbosity.QUIET if quiet else Verbosity.VERBOSE if verbose else Verbosity.NORMAL
    return Report(sys.stdout, verbosity, settings.log_phone_numbers, rejected_file=settings.rejected_file, **more)
