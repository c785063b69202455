"""The API's part of ``vicisync check``: everything that can stand in DID Optimizer's place, and its line."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rehearsal import did_optimizer as faults
from rehearsal.did_optimizer import DidOptimizer, Fault, answer
from tests.certificates import Offered, unknown_ca, valid, wrong_host
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
    says = "is not DID Optimizer's API: 200 OK, but not in the words of DID Optimizer"
    cure = f"correct api_base_url ({dialer.site.dids_conf} line 2)"
    assert (4, [f"❌ What answers at {dialer.api.url}/app {says} → {cure}"]) == dialer.worse()


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("fault", "code", "line"),
    [
        pytest.param(faults.HTML_200, 4, "❌ What answers at .* is not DID Optimizer's API: 200 OK", id="HTML"),
        pytest.param(faults.REDIRECT, 4, r"❌ What .*: 301 .* → write .*=https://127\.0\.0\.1 \(/", id="moved"),
        pytest.param(answer(400), 4, "❌ What answers .* is not DID Optimizer's API: 400", id="400 in no JSON"),
        pytest.param(answer(401), 4, "❌ What answers .* is not DID Optimizer's API: 401", id="a proxy's 401"),
        pytest.param(answer(404, JSON, b'{"error": "none"}'), 4, "❌ What answers .*: 404 Not Found: none →", id="404"),
        pytest.param(answer(200, JSON, b'{"a": 1}'), 4, "❌ What answers .*: 200 OK, but not", id="other JSON"),
        pytest.param(faults.ERROR_500, 4, "❌ .* is there, but out of order: 500 .* → look into its log", id="500"),
        pytest.param(faults.unavailable_503(), 4, "❌ .* is there, but out of order: 503 Service .* →", id="503"),
        pytest.param(faults.rate_limited_429(), 0, r"⚠ It limits .* \(429 .*\), so .* → have the op", id="429"),
        pytest.param(faults.CUT_BEFORE, 4, "❌ No answer from .*: the connection was cut without .* →", id="cut"),
        pytest.param(answer(200, JSON, b'{"success": false}'), 0, "", id="200 that says no"),
    ],
)
def test_each_answer_to_the_empty_call_has_its_line(fault: Fault, code: int, line: str, dialer: CheckedDialer) -> None:
    dialer.api.fault_for = lambda payload: fault if not payload else None
    found, worse = dialer.worse()
    assert (code, bool(line)) == (found, bool(worse)), worse
    assert re.match(line, "".join(worse)), worse
    assert {} == dialer.api.records


@pytest.mark.parametrize(
    ("offer", "verify_ssl", "is_well"),
    [(valid, "{ca}", True), (valid, "1", False), (wrong_host, "{ca}", False), (unknown_ca, "0", True)],
    ids=["valid", "unknown CA", "another's name", "not verified"],
)
def test_a_certificate_that_is_not_to_be_trusted_is_told(
    offer: Callable[[], Offered], verify_ssl: str, is_well: bool, tmp_path: Path
) -> None:
    with DidOptimizer(api_key="test-key", ssl_context=offer().context(tmp_path)) as api:
        verify_ssl = verify_ssl.format(ca=tmp_path / "ca.pem")
        (found,) = findings(make_settings(tmp_path, api_base_url=api.url, verify_ssl=verify_ssl))
    well = f"✓ DID Optimizer answers at {api.url} and takes the key"
    broken = f"❌ No answer from {api.url}: its certificate is not to be trusted"
    assert str(found).startswith(well if is_well else broken)
    assert (0 if is_well else 4) == found.exit_code
