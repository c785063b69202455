"""The API's part of ``vicisync check``: everything that can stand in DID Optimizer's place, and its line."""

import re
import ssl
from pathlib import Path

import pytest
import trustme

from rehearsal.did_optimizer import (
    CUT_BEFORE,
    ERROR_500,
    HTML_200,
    REDIRECT,
    DidOptimizer,
    Fault,
    answer,
    rate_limited_429,
    unavailable_503,
)
from tests.checked_dialer import CheckedDialer
from tests.conftest import make_settings
from vicisync.commands.check.api import findings


def test_a_refused_key_is_told_with_the_line_that_holds_it_and_without_the_key(dialer: CheckedDialer) -> None:
    dialer.site.api_key = "another-key"
    dialer.site.configure()
    line = f"copy the key again from DID Optimizer to api_key= ({dialer.site.dids_conf} line 3)"
    assert (4, [f"❌ It refuses the key: 401 Unauthorized: Invalid API key → {line}"]) == dialer.worse()


def test_an_api_that_is_down_is_told_once_with_its_address(dialer: CheckedDialer) -> None:
    dialer.api.down()
    cure = f"start DID Optimizer, or correct api_base_url ({dialer.site.dids_conf} line 2)"
    assert (4, [f"❌ No answer from {dialer.api.url}: connection refused → {cure}"]) == dialer.worse()


def test_a_web_page_in_the_place_of_the_api_is_recognized(dialer: CheckedDialer) -> None:
    dialer.rewrite(dialer.site.dids_conf, dialer.api.url, f"{dialer.api.url}/app")
    code, worse = dialer.worse()
    assert (4, 1) == (code, len(worse))
    assert worse[0] == (
        f"❌ What answers at {dialer.api.url}/app is not DID Optimizer's API: 200 OK, but not in the words of"
        f" DID Optimizer → correct api_base_url ({dialer.site.dids_conf} line 2)"
    )


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("fault", "code", "line"),
    [
        pytest.param(HTML_200, 4, "❌ What answers at .* is not DID Optimizer's API: 200 OK", id="HTML"),
        pytest.param(
            REDIRECT,
            4,
            r"❌ What .*: 301 Moved Permanently: the API has moved → write api_base_url=https://127\.0\.0\.1 \(/",
            id="moved",
        ),
        pytest.param(answer(400), 4, "❌ What answers .* is not DID Optimizer's API: 400", id="400 in no JSON"),
        pytest.param(answer(401), 4, "❌ What answers .* is not DID Optimizer's API: 401", id="a proxy's 401"),
        pytest.param(answer(404, JSON, b'{"error": "none"}'), 4, "❌ What answers .*: 404 Not Found: none →", id="404"),
        pytest.param(answer(200, JSON, b'{"a": 1}'), 4, "❌ What answers .*: 200 OK, but not", id="other JSON"),
        pytest.param(ERROR_500, 4, "❌ .* is there, but out of order: 500 .* → look into its log", id="500"),
        pytest.param(unavailable_503(), 4, "❌ .* is there, but out of order: 503 Service Unavailable →", id="503"),
        pytest.param(rate_limited_429(), 0, r"⚠ It limits .* \(429 Too Many Requests\), so .* → have the op", id="429"),
        pytest.param(CUT_BEFORE, 4, "❌ No answer from .*: the connection was cut without an answer →", id="cut"),
        pytest.param(answer(200, JSON, b'{"success": false}'), 0, None, id="200 that says no"),
    ],
)
def test_each_answer_to_the_empty_call_has_its_line(
    fault: Fault, code: int, line: str | None, dialer: CheckedDialer
) -> None:
    dialer.api.fault_for = lambda payload: fault if not payload else None
    found, worse = dialer.worse()
    assert (code, bool(line)) == (found, bool(worse)), worse
    if line:
        assert re.match(line, worse[0]), worse
    assert {} == dialer.api.records


@pytest.mark.parametrize(
    ("trusts", "host", "is_well"),
    [
        ("its CA", "127.0.0.1", True),
        ("no CA of its own", "127.0.0.1", False),
        ("its CA", "elsewhere.example", False),
        ("anyone", "127.0.0.1", True),
    ],
    ids=["valid", "unknown CA", "another's name", "not verified"],
)
def test_a_certificate_that_is_not_to_be_trusted_is_told(
    trusts: str, host: str, is_well: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(host).configure_cert(context)
    pem = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(pem))
    verify = {"its CA": str(pem), "no CA of its own": "1", "anyone": "0"}[trusts]
    with DidOptimizer(api_key="test-key", ssl_context=context) as api:
        (found,) = findings(make_settings(tmp_path, api_base_url=api.url, verify_ssl=verify))
    well = f"✓ DID Optimizer answers at {api.url} and takes the key"
    broken = f"❌ No answer from {api.url}: its certificate is not to be trusted"
    assert str(found).startswith(well if is_well else broken)
    assert (0 if is_well else 4) == found.exit_code
