"""DID Optimizer's API: whether it answers, is what it should be, and takes the key. Nothing is recorded by asking."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial

from vicisync.commands.check.finding import Finding, broken, fine, warning
from vicisync.did_optimizer.answer import json_object
from vicisync.did_optimizer.session import ApiSession, Reply
from vicisync.errors import ApiError
from vicisync.settings.settings import Settings

_unusable = partial(broken, exit_code=ApiError.exit_code)


def findings(settings: Settings) -> Iterator[Finding]:
    """Let it judge the key of an empty object in a call's place."""
    with closing(ApiSession(settings)) as session:
        if proxy := session.proxy():
            text = f"The way to the API is the proxy {proxy}, which this shell's environment names, and cron's does not"
            yield warning(text, "write that variable into /etc/cron.d/vicisync, above the line, or unset it here")
        yield _judged(session.try_key(), settings)


def _judged(reply: Reply, settings: Settings) -> Finding:
    url, where = settings.api_base_url, settings.sources["api_base_url"]
    http_status, words = reply.http_status, reply.answer.words
    why, _, cure = words.partition("; ")
    content = json_object(reply.body)
    if http_status is None:
        cure = cure or f"start DID Optimizer, or correct api_base_url ({where})"
        return _unusable(f"No answer from {url}: {why}", cure)
    if content is not None and (http_status in (400, 413, 422) or (http_status in (200, 201) and "success" in content)):
        return fine(f"DID Optimizer answers at {url} and takes the key")
    if content is not None and http_status in (401, 403):
        cure = f"copy the key again from DID Optimizer to api_key= ({settings.sources['api_key']})"
        return _unusable(f"It refuses the key: {words.partition(';')[0]}", cure)
    if http_status == 429:
        cure = "have the operator of DID Optimizer lift the limit for this server"
        return warning(f"It limits this server's requests ({words}), so the key could not be tried", cure)
    if http_status >= 500 or http_status in (408, 425):
        cure = "look into its log, and run vicisync check again"
        return _unusable(f"{url} is there, but out of order: {words}", cure)
    cure = "correct api_base_url" if not cure or cure.startswith("check ") else cure
    place = f" ({where})" if "api_base_url" in cure else ""
    return _unusable(f"What answers at {url} is not DID Optimizer's API: {why}", f"{cure}{place}")
