"""Every setting, declared once, as one frozen `Settings`: command-line option > environment > files > default."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import partial
from ipaddress import ip_address
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from vicisync.calls.dispositions import KNOWN_RESULTS, folded
from vicisync.calls.readiness import Rules
from vicisync.errors import ConfigError
from vicisync.settings import parsers
from vicisync.settings.files import DidsFile, Found, read_astguiclient, read_dids
from vicisync.settings.parsers import base_url, duration, path, whole_number, word

ASTGUICLIENT_CONF = Path("/etc/astguiclient.conf")
DIDS_CONF = Path("/etc/asterisk/dids.conf")


class Setting(NamedTuple):
    """What the declaration of a setting says: its default, where it may stand, and what its text may be."""

    name: str  # in `Settings`
    default: str  # as it would be written in dids.conf; empty: None, or to be given
    parse: Callable[[str], object]
    section: str = "vicisync"  # of dids.conf
    variable: str = ""  # in the environment
    vicidial: str = ""  # in astguiclient.conf, which, where it exists, is asked instead of dids.conf
    key: str = ""  # in dids.conf: its name, unless another is declared
    shown: bool = True  # whether a mistake or repr may show it: not if it is a secret, or its text could hold one


def setting(default: str, parse: Callable[[str], object], *more: Any, shown: bool = True) -> Any:
    """Declare a field of `Settings`: with the arguments of `Setting` from its default on."""
    return field(repr=shown, metadata={"setting": Setting("", default, parse, *more)._replace(shown=shown)})


secret = partial(setting, shown=False)


@dataclass(frozen=True)
class Settings:
    """What a run needs to know, times in seconds; ``conf.example`` says why each default is what it is."""

    sources: Mapping[str, str] = field(repr=False, compare=False)  # where each was found: "…/dids.conf line 12"
    dispositions: Mapping[str, str]  # VICIdial status to result, over `vicisync.calls.dispositions.RESULTS`

    db_host: str = setting("localhost", word, "general", "VICIDIAL_DB_HOST", "VARDB_server")
    db_port: int = setting("3306", whole_number(1, 65535), "general", "VICIDIAL_DB_PORT", "VARDB_port")
    db_user: str = setting("cron", word, "general", "VICIDIAL_DB_USER", "VARDB_user")
    db_password: str = secret("1234", parsers.password, "general", "VICIDIAL_DB_PASSWORD", "VARDB_pass", "db_pass")
    db_name: str = setting("asterisk", word, "general", "VICIDIAL_DB_NAME", "VARDB_database")
    api_base_url: str = secret("http://localhost:5000", base_url, "general", "DID_OPTIMIZER_API_URL")
    api_key: str = secret("", parsers.api_key, "general", "API_KEY")
    api_timeout: float = setting("10", parsers.seconds, "general")  # for a request
    max_retries: int = setting("3", whole_number(0, 10), "general")  # further attempts at a call in the same run
    verify_ssl: bool | Path = setting("1", parsers.verification, "general")  # a path: of the CA file to verify with
    batch_size: int = setting("500", whole_number(1, 10000))  # calls read from the database at once
    concurrency: int = setting("8", whole_number(1, 64))  # calls in flight to the API at once
    overlap: int = setting("600", duration(420, 86400))  # before the last poll; VICIdial adds rows up to 420 s late
    wait_for_disposition: int = setting("900", duration(0, 86400))  # after a call's end
    waiting_statuses: frozenset[str] = setting("INCALL QUEUE DISPO ALTNUM DONEM XFER", parsers.statuses)
    """Statuses that are not final; '' and NULL never are, and are not in here."""
    campaigns: frozenset[str] | None = setting("", parsers.campaigns)  # whose calls alone are sent
    exclude_campaigns: frozenset[str] | None = setting("", parsers.campaigns)
    give_up_after: int = setting("28800", duration(3600, 604800))  # after its start, without an end
    max_runtime: int = setting("50", duration(0, 86400))  # then no new call is begun; 0 is no limit
    checkpoint_file: Path = setting("/var/lib/vicisync/checkpoint", path)
    rejected_file: Path = setting("/var/lib/vicisync/rejected.jsonl", path)
    journal_file: Path = setting("/var/lib/vicisync/journal.db", path)
    journal_days: int = setting("31", whole_number(1, 3650))  # from the sending of a call
    old_checkpoint_file: Path = setting("/tmp/did-optimizer-last-check.txt", path)  # noqa: S108 -- the Perl script's
    db_timeout: int = setting("10", duration(1, 300))  # for connecting and for a statement
    db_ssl_ca: Path | None = setting("", parsers.ca_file)
    log_phone_numbers: bool = setting("yes", parsers.yes_no)
    metrics_file: Path | None = setting("", path)
    ping_url: str | None = secret("", parsers.url)  # it holds the secret id of the check
    alert_command: str | None = secret("", parsers.command)  # which may hold one, too

    def rules(self, ended_after: int, looked_until: int) -> Rules:
        """Return what decides about a call; both epochs are the checkpoint's."""
        patience = self.wait_for_disposition, self.give_up_after
        several = self.waiting_statuses, self.campaigns, self.exclude_campaigns
        waiting, only, without = (frozenset(map(folded, texts or ())) for texts in several)
        return Rules(waiting, *patience, ended_after, looked_until, only, without)

    def security_warnings(self) -> Iterator[str]:
        """Return a sentence, cure included, for each way in which others could read or take what is sent."""
        url = urlsplit(self.api_base_url)
        host = url.hostname or ""
        if url.scheme == "http" and not is_this_machine(host):
            problem = f"The API key and phone numbers go to {host} unencrypted, for anyone on the way to read"
            yield f"{problem}; write https:// in api_base_url"
        if url.scheme == "https" and self.verify_ssl is False:
            problem = f"verify_ssl=0: whoever answers in the place of {host} gets the API key and the calls"
            yield f"{problem}; write verify_ssl=1, or the file of its CA"


def is_this_machine(host: str) -> bool:
    """Return whether what goes to a host stays on this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


_DECLARED = [(each.name, each.metadata["setting"]) for each in fields(Settings) if each.metadata]
SETTINGS: tuple[Setting, ...] = tuple(each._replace(name=name, key=each.key or name) for name, each in _DECLARED)
"""Every setting: reading, the check for misspelt keys and the test of ``conf.example`` follow from it."""

_SECTIONS = {each.key: each.section for each in SETTINGS}
_OURS = [key for key, section in _SECTIONS.items() if section == "vicisync"]
_WITH_QUOTES = ("db_password", "alert_command")  # which may begin and end with one
_SHOWN = 60  # characters of a wrong text that a mistake shows
_File = TypeVar("_File")
_Texts = Mapping[str, str]


def load_settings(
    astguiclient_conf: Path | None,
    dids_conf: Path | None,
    environ: Mapping[str, str],
    options: Mapping[str, str] = {},
    *,
    needs_key: bool = True,
) -> Settings:
    """Find, check and return every setting; raise ConfigError with every mistake at once, none showing a secret.

    A path of None means the standard path; only there may the file be absent. ``options`` holds the raw text of
    command-line options by setting name. An empty text is no setting, wherever it stands. What does not send calls
    ``needs_key`` not: without a key, or with one that cannot be right, it is ''.
    """
    mistakes: list[str] = []
    vicidial = _read(read_astguiclient, astguiclient_conf, ASTGUICLIENT_CONF, mistakes)
    dids = _read(read_dids, dids_conf, DIDS_CONF, mistakes) or DidsFile({}, {}, {}, [], "")
    if mistakes:  # without the files, what else seems missing may stand in them
        raise ConfigError(mistakes)

    mistakes = [*dids.mistakes, *_misplaced_keys(dids)]
    values: dict[str, Any] = {"dispositions": _dispositions(dids, mistakes)}
    found = {each.name: _find(each, options, environ, vicidial, dids) for each in SETTINGS}
    for each in SETTINGS:
        text, where = found[each.name]
        if each.shown and each.default.isdigit():  # behind a number, DID Optimizer's own template has comments
            text = parsers.COMMENT.sub("", text)
        is_in_quotes = each.name not in _WITH_QUOTES and parsers.QUOTED.fullmatch(text)
        try:
            if is_in_quotes:
                raise ValueError("is in quotes, which count as part of it here: write it without them")
            values[each.name] = each.parse(text) if text or each.default else None
        except ValueError as error:
            wrong = f"{error}{f', not {_quoted(text)}' if each.shown and not is_in_quotes else ''}"
            if parsers.COMMENT.search(text) and not is_in_quotes:
                wrong = "has a comment behind its value: write that on a line of its own"
            mistakes += [f"{where}: {each.key} {wrong}."] if needs_key or each.name != "api_key" else []
    values["api_key"] = values.get("api_key") or ""
    if needs_key and not found["api_key"].value:
        mistakes.append(f"api_key is missing: write api_key=YOUR_KEY under [general] of {dids_conf or DIDS_CONF}.")
    if found["alert_command"].value and dids.owner_cure:
        why = "counts only in a file that nobody else can write to, as root runs it"
        mistakes.append(f"{found['alert_command'].where}: alert_command {why}: {dids.owner_cure}")
    for one, other in combinations(("checkpoint_file", "rejected_file", "journal_file", "old_checkpoint_file"), 2):
        if os.path.normpath(found[one].value) == os.path.normpath(found[other].value):
            mistakes.append(f"{found[other].where}: {other} must be another file than {one} ({found[one].where}).")
    if mistakes:
        raise ConfigError(mistakes)
    return Settings(**values, sources={name: where for name, (_, where) in found.items()})


def _read(reader: Callable[[Path], _File], named: Path | None, standard: Path, mistakes: list[str]) -> _File | None:
    """Return the file, or None where there is none; what is wrong goes into ``mistakes``."""
    try:
        return reader(named or standard)
    except FileNotFoundError:
        if named:
            mistakes.append(f"{named} does not exist: correct the option or environment variable that names it.")
    except ConfigError as error:
        mistakes += error.mistakes
    return None


def _find(it: Setting, options: _Texts, environ: _Texts, vicidial: dict[str, Found] | None, dids: DidsFile) -> Found:
    """Return the text that counts."""
    if text := options.get(it.name):
        return Found(text, f"option --{it.name.replace('_', '-')}")
    if text := environ.get(it.variable):
        return Found(text, f"environment {it.variable}")
    if it.vicidial and vicidial is not None:
        found = vicidial.get(it.vicidial)
        if found and it.vicidial == "VARDB_pass":
            return found  # even if empty: VICIdial then logs in without a password
    else:
        found = (dids.general if it.section == "general" else dids.vicisync).get(it.key)
    return found if found and found.value else Found(it.default, "default")


def _misplaced_keys(dids: DidsFile) -> Iterator[str]:
    """Return a mistake for each key of [vicisync] that is none of its settings."""
    for key, (_, where) in dids.vicisync.items():
        if _SECTIONS.get(key.lower()) == "general":
            yield f"{where}: {key.lower()} belongs under [general]: move the line above [vicisync]."
        elif key not in _OURS:
            meant = _suggestion(key, _OURS)
            # Not shown where it resembles no setting: it may be the first half of a key or password that holds a =.
            shown, cure = (_quoted(key), meant) if meant else ("this", "Its settings are listed in conf.example.")
            yield f"{where}: {shown} is no setting of [vicisync]. {cure}"


def _dispositions(dids: DidsFile, mistakes: list[str]) -> dict[str, str]:
    """Return the results that are given for single statuses; what is wrong goes into ``mistakes``."""
    overrides = {}
    for status, (result, where) in dids.dispositions.items():
        try:
            parsers.status(status)
        except ValueError as error:
            home = _SECTIONS.get(status.lower())
            # What is neither a status nor a setting is not shown: it may be half of a key or password.
            shown, cure = (_quoted(status), f": move {status.lower()} to [{home}]") if home else ("this", "")
            mistakes.append(f"{where}: {shown} {error}{cure}.")
            continue
        if result in KNOWN_RESULTS:
            overrides[status] = result
        elif result:  # not shown: whatever was put into the wrong section may be a key
            must = f"the result of {_quoted(status)} must be one of {', '.join(KNOWN_RESULTS)}."
            mistakes.append(f"{where}: {must} {_suggestion(result, KNOWN_RESULTS)}".rstrip())
    return overrides


def _suggestion(text: str, known: Sequence[str]) -> str:
    close = get_close_matches(text[:_SHOWN].lower(), known, n=1)
    return f"Did you mean {close[0]}?" if close else ""


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
