"""Every setting as one frozen `Settings`: command-line option > environment > files > default."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path
from typing import Any, Callable, TypeVar

from vicisync.calls.dispositions import KNOWN_RESULTS
from vicisync.calls.readiness import Rules
from vicisync.errors import ConfigError
from vicisync.settings.files import DidsFile, Found, read_astguiclient, read_dids
from vicisync.settings.table import SETTINGS, Setting, a_status

ASTGUICLIENT_CONF = Path("/etc/astguiclient.conf")
DIDS_CONF = Path("/etc/asterisk/dids.conf")


@dataclass(frozen=True)
class Settings:
    """What a run needs to know; secrets are not in its repr. ``conf.example`` says why each default is what it is."""

    db_host: str
    db_port: int
    db_user: str
    db_password: str = field(repr=False)
    """One character, up to U+00FF, for each byte of the password."""
    db_name: str
    db_ssl_ca: Path | None
    db_timeout: int
    """Seconds, for connecting and for a statement."""
    api_base_url: str
    """Without a slash at its end."""
    api_key: str = field(repr=False)
    api_timeout: float
    """Seconds, for a request."""
    max_retries: int
    """Further attempts at a call in the same run."""
    verify_ssl: bool | Path
    """Whether to verify the API's certificate, or the CA file to verify it with."""
    batch_size: int
    """Calls read from the database at once."""
    concurrency: int
    """Calls in flight to the API at once."""
    overlap: int
    """Seconds to look back before the last look, for rows that appear late."""
    checkpoint_file: Path
    rejected_file: Path
    old_checkpoint_file: Path
    """The Perl script's checkpoint, which the first run takes over."""
    wait_for_disposition: int
    """Seconds after its end that a call waits for its agent's disposition."""
    waiting_statuses: frozenset[str]
    """Statuses that are not final; '' and NULL never are, and are not in here."""
    give_up_after: int
    """Seconds after its start that a call without an end is watched."""
    max_runtime: int
    """Seconds after which a run begins no new call; 0 is no limit."""
    log_phone_numbers: bool
    metrics_file: Path | None
    ping_url: str | None = field(repr=False)  # it holds the secret id of the check
    dispositions: Mapping[str, str]
    """VICIdial status to result, over `vicisync.calls.dispositions.RESULTS`."""
    sources: Mapping[str, str] = field(repr=False, compare=False)
    """Where each setting was found, by its name here, such as ``/etc/asterisk/dids.conf line 12``."""

    def rules(self, ended_after: int) -> Rules:
        """Return what decides about a call, where calls that ended by the epoch ``ended_after`` are not ours."""
        return Rules(self.waiting_statuses, self.wait_for_disposition, self.give_up_after, ended_after)


def load_settings(
    astguiclient_conf: Path | None,
    dids_conf: Path | None,
    environ: Mapping[str, str],
    options: Mapping[str, str] = {},
) -> Settings:
    """Find, check and return every setting.

    A path of None means ``VICISYNC_ASTGUICLIENT_CONF`` or ``VICISYNC_DIDS_CONF`` in ``environ``, then the standard
    path; only there may the file be absent. ``options`` holds the raw text of command-line options by setting name.
    An empty text is no setting, wherever it stands.

    Raises ConfigError with every mistake at once; none of them shows a key or password.
    """
    mistakes: list[str] = []
    named = astguiclient_conf or environ.get("VICISYNC_ASTGUICLIENT_CONF")
    vicidial = _read(read_astguiclient, named, ASTGUICLIENT_CONF, mistakes)
    named = dids_conf or environ.get("VICISYNC_DIDS_CONF")
    dids = _read(read_dids, named, DIDS_CONF, mistakes) or DidsFile({}, {}, {}, [])
    if mistakes:  # without the files, what else seems missing may stand in them
        raise ConfigError(mistakes)

    mistakes = [*dids.mistakes, *_misplaced_keys(dids)]
    found = {setting.name: _find(setting, options, environ, vicidial, dids) for setting in SETTINGS}
    values: dict[str, Any] = {"dispositions": _dispositions(dids, mistakes)}
    for setting in SETTINGS:
        text, where = found[setting.name]
        try:
            values[setting.name] = setting.parse(text) if text or setting.default else None
        except ValueError as error:
            shown = f", not {_quoted(text)}" if setting.shown else ""
            mistakes.append(f"{where}: {setting.key} {error}{shown}.")
    if not found["api_key"].value:
        mistakes.append(f"api_key is missing: write api_key=YOUR_KEY under [general] of {named or DIDS_CONF}.")
    for one, other in combinations(("checkpoint_file", "rejected_file", "old_checkpoint_file"), 2):
        if os.path.normpath(found[one].value) == os.path.normpath(found[other].value):
            mistakes.append(f"{found[other].where}: {other} must be another file than {one} ({found[one].where}).")
    if mistakes:
        raise ConfigError(mistakes)
    return Settings(**values, sources={name: where for name, (_, where) in found.items()})


_File = TypeVar("_File")


def _read(
    reader: Callable[[Path], _File], named: Path | str | None, standard: Path, mistakes: list[str]
) -> _File | None:
    """Return the file, or None where there is none; what is wrong goes into ``mistakes``."""
    try:
        return reader(Path(named or standard))
    except FileNotFoundError:
        if named:
            mistakes.append(f"{named} does not exist: correct the option or environment variable that names it.")
    except ConfigError as error:
        mistakes += error.mistakes
    return None


def _find(
    setting: Setting,
    options: Mapping[str, str],
    environ: Mapping[str, str],
    vicidial: Mapping[str, Found] | None,
    dids: DidsFile,
) -> Found:
    """Return the text that counts."""
    if text := options.get(setting.name):
        return Found(text, f"option --{setting.name.replace('_', '-')}")
    if setting.variable and (text := environ.get(setting.variable)):
        return Found(text, f"environment {setting.variable}")
    if setting.vicidial and vicidial is not None:
        found = vicidial.get(setting.vicidial)
        if found and setting.vicidial == "VARDB_pass":
            return found  # even if empty: VICIdial then logs in without a password
    else:
        found = (dids.general if setting.section == "general" else dids.vicisync).get(setting.key)
    return found if found and found.value else Found(setting.default, "default")


_SECTIONS = {setting.key: setting.section for setting in SETTINGS}
_OURS = [key for key, section in _SECTIONS.items() if section == "vicisync"]


def _misplaced_keys(dids: DidsFile) -> list[str]:
    """Return a mistake for each key of [vicisync] that is none of its settings."""
    mistakes = []
    for key, (_, where) in dids.vicisync.items():
        if _SECTIONS.get(key.lower()) == "general":
            mistakes.append(f"{where}: {key.lower()} belongs under [general]: move the line above [vicisync].")
        elif key not in _OURS:
            meant = _suggestion(key, _OURS)
            # Not shown where it resembles no setting: it may be the first half of a key or password that holds a =.
            shown, cure = (_quoted(key), meant) if meant else ("this", "Its settings are listed in conf.example.")
            mistakes.append(f"{where}: {shown} is no setting of [vicisync]. {cure}")
    return mistakes


def _dispositions(dids: DidsFile, mistakes: list[str]) -> dict[str, str]:
    """Return the results that are given for single statuses; what is wrong goes into ``mistakes``."""
    overrides = {}
    for status, (result, where) in dids.dispositions.items():
        try:
            a_status(status)
        except ValueError as error:
            home = _SECTIONS.get(status.lower())
            # What is neither a status nor a setting is not shown: it may be half of a key or password.
            shown, cure = (_quoted(status), f": move {status.lower()} to [{home}]") if home else ("this", "")
            mistakes.append(f"{where}: {shown} {error}{cure}.")
            continue
        if result in KNOWN_RESULTS:
            overrides[status] = result
        elif result:  # not shown: whatever was put into the wrong section may be a key
            cure = _suggestion(result, KNOWN_RESULTS) or ""
            mistakes.append(
                f"{where}: the result of {_quoted(status)} must be one of {', '.join(KNOWN_RESULTS)}. {cure}".rstrip()
            )
    return overrides


def _suggestion(word: str, known: Sequence[str]) -> str | None:
    close = get_close_matches(word[:_SHOWN].lower(), known, n=1)
    return f"Did you mean {close[0]}?" if close else None


_SHOWN = 60
"""Characters of a wrong text that a mistake shows."""


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
