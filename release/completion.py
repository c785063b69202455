"""``make docs``: bash's completion of commands and options, made from the commands themselves.

click's own completion starts the program at each TAB, which takes half a second for ``vicisync.pyz``, and knows no
files. This one needs nothing but bash.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from vicisync.commands.cli import commands

SCRIPT = Path(__file__).parent.parent / "deploy" / "bash-completion" / "vicisync"

TEMPLATE = """\
# bash completion for vicisync. Made by "make docs" from the commands themselves; changes here do not last.

_vicisync() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}} command="" word words
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD - 1}}"; do
        [[ $word == -* ]] || {{ command=$word; break; }}
    done
    case $command,$previous in
        ,*) words={first} ;;
{valued}
{each}
        *) words="" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}

complete -F _vicisync vicisync
"""


def script() -> str:
    """Make the whole script; bash loads it at the first TAB behind ``vicisync``."""
    options = [option for command in commands.commands.values() for option in _options(command) if not option.is_flag]
    paths = sorted({name for option in options if option.metavar == "PATH" for name in _names(option)})
    others = sorted({name for option in options if option.metavar != "PATH" for name in _names(option)})
    files = 'mapfile -t COMPREPLY < <(compgen -f -- "$current"); compopt -o filenames; return'
    valued = [f"        *,{' | *,'.join(paths)}) {files} ;;", f"        *,{' | *,'.join(others)}) return ;;"]
    each = [f"        {name},*) words={_quoted(_all_names(command))} ;;" for name, command in commands.commands.items()]
    first = _quoted([*commands.commands, *_all_names(commands)])
    return TEMPLATE.format(first=first, valued="\n".join(valued), each="\n".join(each))


def _options(command: click.Command) -> list[click.Option]:
    with click.Context(command, help_option_names=["-h", "--help"]) as context:
        return [option for option in command.get_params(context) if isinstance(option, click.Option)]


def _names(option: click.Option) -> list[str]:
    """Return the short one first; click 8.1 keeps those of --help in no order."""
    return sorted([*option.opts, *option.secondary_opts], key=len)


def _all_names(command: click.Command) -> list[str]:
    return [name for option in _options(command) for name in _names(option)]


def _quoted(words: Iterable[str]) -> str:
    return f'"{" ".join(words)}"'


if __name__ == "__main__":
    SCRIPT.parent.mkdir(parents=True, exist_ok=True)
    SCRIPT.write_text(script(), encoding="utf-8")
