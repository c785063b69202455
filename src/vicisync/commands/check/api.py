"""DID Optimizer's API: whether it answers, is what it should be, and takes the key. Nothing is recorded by asking."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from vicisync.commands.check.finding import Finding, broken, fine, warning
from vicisync.did_optimizer.answer import Meaning
from vicisync.did_optimizer.session import ApiSession, Probe
from vicisync.errors import ApiError
from vicisync.settings.settings import Settings


def findings(settings: Settings) -> Iterator[Finding]:
    """Let it judge the key of an empty object in a call's place."""
    with closing(ApiSession(settings)) as session:
        probe = session.try_key()
    if probe.http_status is None:
        yield _no_answer(probe, settings)
        return
    if settings.api_base_url.lower().startswith("https:") and settings.verify_ssl is not False:
        yield fine("Its certificate is valid")
    yield _judged(probe, probe.http_status, settings)


def _no_answer(probe: Probe, settings: Settings) -> Finding:
    why, _, cure = probe.answer.words.partition("; ")
    cure = cure or f"start DID Optimizer, or correct api_base_url ({settings.sources['api_base_url']})"
    return broken(ApiError.exit_code, f"No answer from {settings.api_base_url}: {why}", cure)


def _judged(probe: Probe, http_status: int, settings: Settings) -> Finding:
    words = probe.answer.words
    if probe.is_json and (http_status == 400 or probe.answer.meaning in (Meaning.DELIVERED, Meaning.REJECTED)):
        return fine(f"DID Optimizer answers at {settings.api_base_url} and takes the key")
    if probe.is_json and http_status in (401, 403):
        cure = f"copy the key again from DID Optimizer to api_key= ({settings.sources['api_key']})"
        return broken(ApiError.exit_code, f"It refuses the key: {words.partition(';')[0]}", cure)
    if http_status == 429:
        cure = "have the operator of DID Optimizer lift the limit for this server"
        return warning(f"It limits this server's requests ({words}), so the key could not be tried", cure)
    if http_status >= 500 or http_status in (408, 425):
        cure = "look into its log, and run vicisync check again"
        return broken(ApiError.exit_code, f"{settings.api_base_url} is there, but out of order: {words}", cure)
    why, _, cure = words.partition("; ")
    cure = cure if cure.startswith("write ") else "correct api_base_url"
    return broken(
        ApiError.exit_code,
        f"What answers at {settings.api_base_url} is not DID Optimizer's API: {why}",
        f"{cure} ({settings.sources['api_base_url']})",
    )
