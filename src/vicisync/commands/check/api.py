"""DID Optimizer's API: whether it answers, is what it should be, and takes the key. Nothing is recorded by asking."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from vicisync.commands.check.finding import Finding, Severity, broken, fine, warning
from vicisync.did_optimizer.answer import Meaning
from vicisync.did_optimizer.session import ApiSession, Probe
from vicisync.errors import ApiError
from vicisync.settings.settings import Settings

NO_KEY = (401, 403)


def findings(settings: Settings) -> Iterator[Finding]:
    """Ask for its health, then let it judge the key of an empty object in a call's place."""
    with closing(ApiSession(settings)) as session:
        health = session.health()
        if health.http_status is None:
            yield _no_answer(health, settings)
            return
        if settings.api_base_url.lower().startswith("https:") and settings.verify_ssl is not False:
            yield fine("Its certificate is valid")
        key = session.try_key()
    key_found = _of_key(key, settings)
    if health.is_json and health.http_status not in (404, 405):
        yield from _of_health(health, settings)
    elif key_found.severity is Severity.FINE:
        yield fine(f"DID Optimizer answers at {settings.api_base_url}; this version has no address for its health")
    yield key_found


def _no_answer(probe: Probe, settings: Settings) -> Finding:
    why, _, cure = probe.answer.words.partition("; ")
    cure = cure or f"start DID Optimizer, or correct api_base_url ({settings.sources['api_base_url']})"
    return broken(ApiError.exit_code, f"No answer from {settings.api_base_url}: {why}", cure)


def _of_health(health: Probe, settings: Settings) -> Iterator[Finding]:
    at = f"{settings.api_base_url} ({health.place})"
    if health.http_status == 200:
        yield fine(f"DID Optimizer answers at {at}")
    elif health.http_status not in NO_KEY:  # the key is told once, by its own question
        yield warning(f"DID Optimizer answers at {at}, but is not well: {health.answer.words}", "look into its log")


def _of_key(probe: Probe, settings: Settings) -> Finding:
    words, status = probe.answer.words, probe.http_status
    where = settings.sources["api_key"]
    if status is None:
        return _no_answer(probe, settings)
    if probe.is_json and (status == 400 or probe.answer.meaning in (Meaning.DELIVERED, Meaning.REJECTED)):
        return fine("It takes the key")
    if probe.is_json and status in NO_KEY:
        cure = f"copy the key again from DID Optimizer to api_key= ({where})"
        return broken(ApiError.exit_code, f"It refuses the key: {words.partition(';')[0]}", cure)
    if status == 429:
        cure = "have the operator of DID Optimizer lift the limit for this server"
        return warning(f"It limits this server's requests ({words}), so the key could not be tried", cure)
    if status >= 500 or status in (408, 425):
        cure = "look into its log, and run vicisync check again"
        return broken(ApiError.exit_code, f"{settings.api_base_url} is there, but out of order: {words}", cure)
    why, _, cure = words.partition("; ")
    cure = cure if cure.startswith("write ") else "correct api_base_url"
    return broken(
        ApiError.exit_code,
        f"What answers at {settings.api_base_url} is not DID Optimizer's API: {why}",
        f"{cure} ({settings.sources['api_base_url']})",
    )
