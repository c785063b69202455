"""What people type: the options that commands share, and the command that was meant where there is none such."""

import errno
import shlex
import sys
from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from typing import Any

import click

from vicisync.errors import CURE
from vicisync.output import send_to_nowhere
from vicisync.settings.parsers import duration, whole_number
from vicisync.settings.settings import ASTGUICLIENT_CONF, DIDS_CONF

Files = tuple[Path | None, Path | None]  # astguiclient.conf and dids.conf, where an option or the environment names one


def conf_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options that name the configuration files; it gets both as ``files``."""

    @wraps(command)
    def with_files(astguiclient_conf: Path | None, dids_conf: Path | None, **options: Any) -> int:
        return command((astguiclient_conf, dids_conf), **options)

    for option, variable, standard in (
        ("--dids-conf", "VICISYNC_DIDS_CONF", DIDS_CONF),
        ("--astguiclient-conf", "VICISYNC_ASTGUICLIENT_CONF", ASTGUICLIENT_CONF),
    ):
        what = f"Read this file, not {standard}; environment: {variable}."
        path = click.Path(path_type=Path, readable=False)
        click.option(option, envvar=variable, type=path, metavar="PATH", help=what)(with_files)
    return with_files


class Commands(click.Group):
    """The commands; what is none is answered with the one that was meant, and with where an option goes."""

    def main(self, *args: Any, **more: Any) -> Any:
        """Run a command; raise ClickException where the disk is full behind what click itself writes, such as help."""
        try:
            return super().main(*args, **more)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            send_to_nowhere(sys.stdout)
            raise click.ClickException(f"Cannot write what was asked for: {error.strerror}") from error

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take ``help`` and ``version`` for the options that they mean; options of a command stand behind it."""
        if args[:1] in (["help"], ["version"]):
            args = [*args[1:], f"--{args[0]}"]
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            option = error.option_name
            knows = [name for name, command in self.commands.items() if any(option in p.opts for p in command.params)]
            name = next((arg for arg in given if arg in self.commands), *knows[:1] or [""])
            if name not in knows:
                raise
            meant = shlex.join([name, *(arg for arg in given if arg != name)])
            raise click.UsageError(f"{option} belongs behind the command{CURE}vicisync {meant}", ctx) from error

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return the command that is called; raise UsageError with the nearest one."""
        if name in self.commands or name.startswith("-") or ctx.resilient_parsing:
            return super().get_command(ctx, name)
        meant = {**{each: each for each in self.commands}, "uninstall": "install --uninstall", "sync": "run"}
        begin_so = [each for each in self.commands if each.startswith(name.lower())]
        near = begin_so or get_close_matches(name.lower(), meant, 1)
        cure = f"{CURE}vicisync {meant[near[0]] if near else '--help'}"
        raise click.UsageError(f"There is no command {name!r}{cure}", ctx)


def parsed(parse: Callable[[str], int]) -> Callable[[click.Context, click.Parameter, str | None], int | None]:
    """Return the callback of an option whose text a parser takes, or refuses with ValueError("must be ...")."""

    def callback(_: object, __: object, text: str | None) -> int | None:
        try:
            return None if text is None else parse(text)
        except ValueError as error:
            raise click.BadParameter(f"{error}, not {text!r}") from error

    return callback


number_of_calls = parsed(whole_number(1, 10**9 - 1))


def status_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of ``status``."""
    late = "Exit with 1 when calls are later: 300, 5m, 2h."
    one_line = "One line, and exit codes 0 to 3, for Nagios, Icinga and their kin."
    for option in (
        click.option("--critical", show_default="15m", metavar="TIME", help="With --plugin: a worse one."),
        click.option("--warning", show_default="5m", metavar="TIME", help="With --plugin: a lag to warn of."),
        click.option("--plugin", is_flag=True, help=one_line),
        click.option("--max-lag", callback=parsed(duration(0, 10**9)), metavar="TIME", help=late),
        click.option("--json", "as_json", is_flag=True, help="As JSON, for programs."),
    ):
        option(command)
    return command


def reconcile_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of ``reconcile``, by the names of `Wanted`."""
    since = "Calls that ended since then.  [default: yesterday]"
    before = "And before then.  [default: today 00:00; now, where --from is given]"
    everything = "With --send: all of them, as where the API has lost its data."
    for option in (
        click.option("-v", "--verbose", is_flag=True, help="List every call that is missing or has changed."),
        click.option("--by", type=click.Choice(["campaign", "disposition"]), help="Also a table by one of these."),
        click.option("--dry-run", is_flag=True, help="Show what would be sent; send and save nothing."),
        click.option("--limit", callback=number_of_calls, metavar="N", help="Send at most N calls."),
        click.option("--all", "everything", is_flag=True, help=everything),
        click.option("--corrections", is_flag=True, help="With --send: also what has changed since it was sent."),
        click.option("--send", is_flag=True, help="Send what is missing."),
        click.option("--to", metavar="TIME", help=before),
        click.option("--from", "from_", metavar="TIME", help=since),
    ):
        option(command)
    return command
