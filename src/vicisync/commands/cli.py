"""The command line: the only user of click, and the only place that exits."""

import json
import os
import sys
import time
import traceback
from contextlib import closing, suppress
from typing import Any

import click

from vicisync import __version__
from vicisync.commands.retry_rejected import list_rejected
from vicisync.commands.retry_rejected import retry_rejected as resend
from vicisync.commands.sending import Unsent, progress_bar, session_of, stop_on_signals
from vicisync.commands.telling import is_confirmed, report_error, report_to, tell
from vicisync.commands.typed import Commands, Files, conf_options, number_of_calls, reconcile_options, status_options
from vicisync.errors import BEHIND, CURE, NOT_FOUND, SOME_REJECTED, ConfigError, VicisyncError
from vicisync.settings.settings import load_settings
from vicisync.sync.run import run as run_once


def main() -> None:
    """Run the command and exit: with the code of the error that ended it, or 1 and a traceback for a bug."""
    # Where whoever started us has closed them, what is said goes nowhere, and the calls go on.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115 -- open to the end
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        # A log line that the locale cannot write is written escaped; it must not end a run.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = commands.main(standalone_mode=False, prog_name="vicisync")
    except VicisyncError as error:
        report_error(str(error))
        code = error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        for line in error.format_message().split("\n"):
            tell(line, err=True)
        code = error.exit_code
    except click.ClickException as error:
        message, context = error.format_message(), getattr(error, "ctx", None)
        message += "" if CURE in message or not context else f"{CURE}{context.command_path} --help"
        if "--plugin" in sys.argv:  # whoever reads that knows its line alone, and exit code 2 as CRITICAL
            from vicisync.commands.status import unknown

            code, line = unknown(message)
            tell(line)
        else:
            report_error(message)
            code = error.exit_code
    except click.Abort:
        tell("Stopped by Ctrl-C before it was done; call it again to finish", err=True)
        code = 130
    except MemoryError:
        report_error("There is no memory left (free -m, ulimit -v); nothing is lost, and the next run goes on")
        code = 1
    except Exception:  # noqa: BLE001 -- shown whole, and the sign that operators grep for
        traceback.print_exc()
        report_error("This is a bug in vicisync; please report the lines above")
        code = 1
    sys.exit(code)


_QUIET = click.option("-q", "--quiet", is_flag=True, help="Only the summary and what failed.")


@click.group(
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
def commands() -> None:
    """Deliver VICIdial's finished calls to DID Optimizer: none lost, none twice."""


@commands.command(short_help="Deliver the calls that have ended; made for cron.")
@conf_options
@click.option("--dry-run", is_flag=True, help="Show what would be sent; send and save nothing.")
@click.option("--limit", callback=number_of_calls, metavar="N", help="Send at most N calls; the next run goes on.")
@click.option("--batch-size", metavar="N", help="Calls read from the database at once.")
@click.option("--max-runtime", metavar="TIME", help="Begin no new call after this time; 0 goes on until done.")
@_QUIET
@click.option("-v", "--verbose", is_flag=True, help="Also which calls wait, and why.")
def run(files: Files, dry_run: bool, limit: int | None, quiet: bool, verbose: bool, **options: str | None) -> int:
    """Deliver the calls that have ended since the last run. Made for cron, every minute."""
    if quiet and verbose:
        raise click.UsageError("-q and -v exclude each other")
    given = {name: text for name, text in options.items() if text is not None}
    if dry_run:
        given["concurrency"] = "1"  # shows the calls in their order
    settings = load_settings(*files, os.environ, given)
    report = report_to(settings, quiet=quiet, verbose=verbose, dry_run=dry_run)
    report.open_bar = None if dry_run else progress_bar
    open_session = Unsent if dry_run else session_of(settings)
    with closing(report):
        tally = run_once(settings, report, stop_on_signals(), open_session, dry_run=dry_run, limit=limit)
    return SOME_REJECTED if tally.rejected else 0


@commands.command(short_help="Check that all is set up; change nothing.")
@conf_options
def check(files: Files) -> int:
    """Check that all a run needs is there, and say what fixes what is not. Changes nothing.

    One line a finding: ✓ is well, ⚠ deserves attention, ❌ keeps a run from its work.
    """
    from vicisync.commands.check import check as check_everything

    return check_everything(*files, os.environ, tell)


@commands.command(short_help="Show how things stand.")
@conf_options
@status_options
def status(files: Files, as_json: bool, max_lag: int | None, plugin: bool, **lags: str | None) -> int:
    """Show how things stand: the checkpoint, the lag, what waits, and how the last run went.

    The lag is the time since the oldest call that could go could have gone. Nothing is changed.
    """
    from vicisync.commands import status as standing

    if plugin and (as_json or max_lag is not None):
        raise click.UsageError("--plugin excludes --json and --max-lag")
    if any(lags.values()) and not plugin:
        raise click.UsageError("--warning and --critical need --plugin")
    if plugin:
        code, line = standing.plugin(lambda: load_settings(*files, os.environ, needs_key=False), **lags)
        tell(line)
        return code
    now = standing.status_of(load_settings(*files, os.environ, needs_key=False))
    as_text = json.dumps(standing.as_json(now, max_lag), indent=2).split("\n") if as_json else None
    for line in as_text or standing.as_lines(now, max_lag):
        tell(line)
    return BEHIND if max_lag is not None and now.is_behind(max_lag) else 0


@commands.command("install", short_help="Have cron run it every minute; or take that back.")
@conf_options
@click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")
@click.option("--uninstall", is_flag=True, help="Remove the cron job and the rotation; keep state and log.")
@click.option("--replace-old", is_flag=True, help="Comment out the cron line of the old script.")
@click.option("--force", is_flag=True, help="Overwrite a cron job or a rotation that differs.")
def install(files: Files, dry_run: bool, uninstall: bool, replace_old: bool, force: bool) -> int:
    """Have cron run vicisync every minute: the cron job, the log and its rotation, the state folder.

    What is there already stays as it is. The job runs the vicisync that was called for this.
    """
    from vicisync.commands import install as machine

    if uninstall and replace_old:
        raise click.UsageError("--uninstall and --replace-old exclude each other")
    if uninstall:
        settings = None
        with suppress(ConfigError):  # then the state is where nobody can say
            settings = load_settings(*files, {}, needs_key=False)
        machine.uninstall(settings, tell, dry_run=dry_run)
        return 0
    named = {"--astguiclient-conf": files[0], "--dids-conf": files[1]}
    absolute = {option: path.absolute() for option, path in named.items() if path}
    settings = load_settings(*files, {}, needs_key=False)  # cron has nothing of our environment: that does not count
    command = machine.command_of(sys.argv[0], sys.executable)
    options = {"dry_run": dry_run, "force": force, "replace_old": replace_old}
    machine.install(settings.checkpoint_file, command, absolute, tell, **options)
    if not settings.api_key:
        tell("⚠ There is no api_key that could be one; until there is, runs exit with 2: vicisync check")
    return 0


@commands.command("retry-rejected", short_help="Send the rejected calls again.")
@conf_options
@click.option("--dry-run", is_flag=True, help="List them, and why they were rejected; send and change nothing.")
@_QUIET
def retry_rejected(files: Files, dry_run: bool, quiet: bool) -> int:
    """Send the rejected calls again, when what was wrong is fixed; keep those that fail."""
    settings = load_settings(*files, os.environ, needs_key=not dry_run)
    with closing(report_to(settings, quiet=quiet, after_failure="stays rejected")) as report:
        if dry_run:
            list_rejected(settings, report)
            return 0
        return SOME_REJECTED if resend(settings, report, stop_on_signals(), session_of(settings)) else 0


@commands.command(short_help="Say what became of a call, and why.")
@conf_options
@click.argument("what", metavar="UNIQUEID|PHONE|LEAD")
def explain(files: Files, what: str) -> int:
    """Say what became of a call, what a run would do with it now, and why; of a phone or lead, list the last calls.

    Changes nothing. Exits with 1 where nothing is known of it.
    """
    from vicisync.commands.explain import explain as tell_of

    settings = load_settings(*files, os.environ, needs_key=False)
    return 0 if tell_of(settings, what.strip(), tell) else NOT_FOUND


@commands.command(short_help="Prove that all calls of a time have arrived; send what is missing.")
@conf_options
@reconcile_options
@_QUIET
def reconcile(files: Files, from_: str | None, to: str | None, quiet: bool, **wanted: Any) -> int:
    """Hold every call that ended yesterday, or from a time to another, against the journal.

    Exits with 6 while calls are missing. What is sent is noted in the journal; the checkpoint stays.
    """
    from vicisync.commands import reconcile as reconciling

    if (wanted["corrections"] or wanted["everything"]) and not wanted["send"]:
        raise click.UsageError("--corrections and --all need --send")
    settings = load_settings(*files, os.environ, needs_key=wanted["send"])
    meant = reconciling.Wanted(*reconciling.stretch(from_, to, time.time()), **wanted)
    report = report_to(settings, quiet=quiet, dry_run=meant.dry_run, after_failure="stays missing")
    open_session = Unsent if meant.dry_run else session_of(settings)
    with closing(report):
        missing = reconciling.reconcile(settings, meant, report, stop_on_signals(), open_session)
    return SOME_REJECTED if missing or report.tally.rejected else 0


@commands.command("reset-checkpoint", short_help="Move the checkpoint to another time.")
@conf_options
@click.option(
    "--to",
    show_default="1h, or from where an outage began",
    metavar="TIME",
    help="Deliver what ended after this: '2024-10-24 12:00:00' (local, or with its zone), an epoch, 14:00, yesterday, "
    "or how long ago: 90m, 1h30m, 2d.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.argument("words", nargs=-1, metavar="[TIME]")
def reset_checkpoint(files: Files, to: str | None, words: tuple[str, ...], yes: bool) -> int:
    """Move the checkpoint: deliver again, or for the first time, what ended after a time."""
    from vicisync.commands.reset_checkpoint import reset

    when = None if to is None and not words else " ".join([to or "", *words]).strip()
    ask = is_confirmed if sys.stdin is not None and sys.stdin.isatty() else None
    settings = load_settings(*files, os.environ, needs_key=False)
    return 0 if reset(settings, when, tell, ask, yes=yes) else 130
