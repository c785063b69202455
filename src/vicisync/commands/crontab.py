"""What stands in cron's tables: the jobs, which of them run vicisync, and which still run the script it replaces."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator
from typing import NamedTuple


class Job(NamedTuple):
    """An active line of a table."""

    line_number: int
    """From 1."""
    command: str
    """As cron hands it to the shell."""


def jobs(text: str, *, with_user: bool) -> list[Job]:
    """Return the jobs of a table; ``with_user`` where a user stands before each command, as in /etc/crontab.

    Lines that cron ignores or refuses are no jobs, and neither are settings such as ``PATH=/usr/bin``.
    """
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip(_BLANKS)
        if not line or line.startswith("#") or _SETTING.match(line):
            continue
        times = 1 if line.startswith("@") else 5
        before_command = times + with_user
        fields = re.split(r"[ \t]+", line, maxsplit=before_command)
        if len(fields) > before_command:
            # The rest of the line, behind a bare %, is what the command reads.
            command = _BARE_PERCENT.split(fields[-1], maxsplit=1)[0].replace(r"\%", "%")
            found.append(Job(number, command))
    return found


_BLANKS = " \t\r"
_SETTING = re.compile(r"""("[^"]*"|'[^']*'|[^\s=]+)\s*=""")
_BARE_PERCENT = re.compile(r"(?<!\\)%")


def comment_out(text: str, line_numbers: Collection[int]) -> str:
    """Make comments of these lines, and say above each why."""
    lines = text.split("\n")
    for number in sorted(line_numbers, reverse=True):
        lines[number - 1 : number] = ["# Commented out by vicisync install, which took over:", f"#{lines[number - 1]}"]
    return "\n".join(lines)


def runs_old_script(command: str) -> bool:
    """Return whether a job runs the script that vicisync replaces, in Perl or for Node.js."""
    return any(_OLD_SCRIPT.fullmatch(_base(words[0])) for words in _invocations(command))


def executable_of(command: str) -> str | None:
    """Return the program by which a job calls ``vicisync run``; None where it does not.

    That is vicisync itself or its .pyz, and for ``python -m vicisync`` the Python.
    """
    for words in _invocations(command):
        program = _base(words[0])
        if _VICISYNC.fullmatch(program) and words[1:2] == ["run"]:
            return words[0]
        if _PYTHON.fullmatch(program):
            for index, word in enumerate(words):
                if word == "-m" and words[index + 1 : index + 3] == ["vicisync", "run"]:
                    return words[0]
    return None


_OLD_SCRIPT = re.compile(r"process-call-results\.(?:pl|js)")
_VICISYNC = re.compile(r"vicisync[\w.-]*")
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*")
_RUNS_ANOTHER = re.compile(
    r"(?:python|pypy|perl)[\d.]*|node|nodejs|sh|bash|dash|exec|env|nice|ionice|chrt|taskset|timeout|time|flock|chronic|"
    r"nohup|setsid|sudo|su|runuser|command|cronlock|systemd-cat|systemd-run|if|then|else|elif|while|until|do|!|\{"
)


def _base(word: str) -> str:
    return word.rpartition("/")[2]


def _invocations(command: str) -> Iterator[list[str]]:
    """Return the words from each place on where a program may begin: behind a ``;`` or the like, or another program.

    Where one only reads a file of that name (``tail``, ``pgrep -f``), nothing begins with the name.
    """
    for words in _simple_commands(command):
        led = False  # a program that runs another stands before: what follows may be its options, or that other
        for index, word in enumerate(words):
            yield words[index:]
            if re.fullmatch("-[a-z]*c", word) and index + 1 < len(words):
                yield from _invocations(words[index + 1])
            led = led or _RUNS_ANOTHER.fullmatch(_base(word)) is not None
            if not led and not _ASSIGNMENT.match(word):
                break


_ASSIGNMENT = re.compile(r"\w+=")


def _simple_commands(command: str) -> Iterator[list[str]]:
    """Return the words of each command of a line of shell, without the operators between them."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="();<>|&`\n")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        tokens = list(lexer)
    except ValueError:  # a quote without its end: the shell, too, makes nothing of it
        return
    words: list[str] = []
    for token in tokens:
        if token.startswith("#"):
            break
        if token and not token.strip("();|&`\n"):
            yield words
            words = []
        else:
            words.append(token)
    yield words
