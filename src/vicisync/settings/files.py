"""Reading astguiclient.conf and dids.conf, and nothing else: what the values mean is for `settings.settings`."""

import os
import re
import shlex
import stat
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from vicisync.errors import ConfigError

SIZE_LIMIT = 1024 * 1024  # bytes; real files have a few thousand, a larger one is a log or an image named by mistake


class Found(NamedTuple):
    """The text of a setting, and where it was written."""

    value: str
    where: str  # for people, such as "/etc/asterisk/dids.conf line 12" or "environment API_KEY"


class DidsFile(NamedTuple):
    """The ``key=value`` lines of dids.conf by section."""

    general: dict[str, Found]  # every line outside our two sections, whatever header stands above it
    vicisync: dict[str, Found]
    dispositions: dict[str, Found]
    mistakes: list[str]  # a sentence for each line of our two sections that is no ``key=value``, or misspells one
    owner_cure: str  # the command after which nobody but root, or who runs us, can write to it; "" where that is so


# What every VICIdial script does to a line: s/ |>|\n|\r|\t|\#.*|;.*//gi
_DROPPED_BY_VICIDIAL = re.compile(r"[ >\n\r\t]|[#;].*")
_WHITE_SPACE = " \t\r\v\f"
_HEADER = re.compile(r"\[([^]]*)\]\s*(?:[#;].*)?")
_KEY = re.compile(r"(\$?VARDB_?)(server|database|user|pass|port)")


def read_astguiclient(path: Path) -> dict[str, Found]:
    """Read ``VARDB_server`` and the like of astguiclient.conf exactly as VICIdial's scripts do.

    A key is a prefix (``VARDB_password`` sets ``VARDB_pass``), the value follows the last ``=`` and is the whole line
    where there is none, and the last line wins. DID Optimizer's own script also took ``VARDBserver`` and
    ``$VARDB_server``; those count only where VICIdial's spelling is absent, so both programs log in to the same
    database. Raises FileNotFoundError, and ConfigError for a file that cannot be read.
    """
    vicidial: dict[str, Found] = {}
    did_optimizer: dict[str, Found] = {}
    for where, raw in _lines(path)[1]:
        line = _DROPPED_BY_VICIDIAL.sub("", raw)
        if match := _KEY.match(line):
            spelling = vicidial if match[1] == "VARDB_" else did_optimizer
            spelling[f"VARDB_{match[2]}"] = Found(line.rpartition("=")[2], where)
    return {**did_optimizer, **vicidial}


def read_dids(path: Path) -> DidsFile:
    """Read dids.conf: ``key=value``, ``key = value`` or ``key => value``, split at the first ``=``; the last one wins.

    The file belongs to DID Optimizer's AGI script, which reads every such line and ignores the headers. So all that
    stands outside ``[vicisync]`` and ``[dispositions]`` is general, and what is no setting there is not ours to judge.
    Keys may be upper-case, as its web page writes them. Only a whole line is a comment here: ``#``, ``;`` and ``%`` may
    be part of a key or password.
    Raises FileNotFoundError, and ConfigError for a file that cannot be read.
    """
    status, lines = _lines(path)
    file = DidsFile({}, {}, {}, [], owner_cure(path, status))
    ours = {"vicisync": file.vicisync, "dispositions": file.dispositions}
    section = "general"
    for where, raw in lines:
        line = raw.removeprefix("\ufeff").strip(_WHITE_SPACE)
        if not line or line[0] in "#;":
            continue
        if header := _HEADER.fullmatch(line):
            section = header[1].strip(_WHITE_SPACE).lower()
            if section not in ours and (meant := get_close_matches(section, ours, 1, 0.75)):
                file.mistakes.append(f"{where}: [{section}] is none of our sections. Did you mean [{meant[0]}]?")
            continue
        key, equals, value = line.partition("=")
        key = key.rstrip(_WHITE_SPACE)
        if key and equals:
            key = key if section == "dispositions" else key.lower()
            ours.get(section, file.general)[key] = Found(value.removeprefix(">").strip(_WHITE_SPACE), where)
        elif section in ours:
            # The line itself is not shown: it may be half of a key or password.
            file.mistakes.append(f"{where}: a line of [{section}] must be key=value; a comment begins with # or ;.")
    return file


def owner_cure(path: Path, status: os.stat_result) -> str:
    """Return the command after which nobody but root, or who runs us, can write to a file; "" where nobody can."""
    name, us = shlex.quote(str(path)), os.geteuid()
    chown = [f"chown {us or 'root'} {name}"] if status.st_uid not in (0, us) else []
    return " && ".join(chown + ([f"chmod go-w {name}"] if status.st_mode & 0o022 else []))


def _lines(path: Path) -> tuple[os.stat_result, list[tuple[str, str]]]:
    """Return what the file is, and each line with its place; raise FileNotFoundError, or ConfigError saying what it is.

    Bytes that are no UTF-8 become lone surrogates (PEP 383), as in the environment: no byte of a password is lost.
    """
    try:
        # A FIFO without a writer would hang the run, and every later one behind its lock.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG((status := os.fstat(file.fileno())).st_mode):
                raise ConfigError([f"{path} is not a regular file: name the configuration file itself."])
            data = file.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        raise
    except PermissionError:
        raise ConfigError([f"{path} cannot be read: permission denied; run vicisync as root, as cron does."]) from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError([f"{str(path)!r} cannot be read: {reason}; name a readable configuration file."]) from None
    if len(data) > SIZE_LIMIT:
        raise ConfigError([f"{path} is larger than 1 MiB: that is no configuration file; name the right one."])
    if b"\0" in data:
        raise ConfigError([f"{path} holds NUL bytes: it is damaged or not plain text; restore it or save it as UTF-8."])
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    return status, [(f"{path} line {number}", line) for number, line in enumerate(lines, start=1)]
