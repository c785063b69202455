import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicisync.did_optimizer.answer import LONGEST_WORDS, Answer, Meaning, answer_of

OK = b'{"success": true, "message": "Call result recorded"}'
NO = b'{"success": false, "message": "phoneNumber is required"}'
HTML = b"<!DOCTYPE html><html><body>DID Optimizer</body></html>"
NGINX = b"<html><center>The plain HTTP request was sent to HTTPS port</center></html>"

DELIVERED, REJECTED, TRY_AGAIN, REFUSED = Meaning.DELIVERED, Meaning.REJECTED, Meaning.TRY_AGAIN, Meaning.REFUSED
WANTS_HTTPS = "400 Bad Request: the server expects https; write https:// in api_base_url"
IN_FRONT = "not from DID Optimizer but from something in front of it; "
ON_THE_WAY = f"{IN_FRONT}check api_base_url and what is on the way"
OTHER_WORDS = "but not in the words of DID Optimizer; check api_base_url"


@pytest.mark.parametrize(
    ("meaning", "words", "http_status", "body"),
    [
        pytest.param(DELIVERED, "200 OK: Call result recorded", 200, OK, id="stored"),
        pytest.param(DELIVERED, "201 Created: Call result recorded", 201, OK, id="created"),
        pytest.param(DELIVERED, "200 OK", 200, b'{"success": true}', id="stored, without a word"),
        pytest.param(TRY_AGAIN, "200 OK: phoneNumber is required", 200, NO, id="200 that says no"),
        pytest.param(TRY_AGAIN, "201 Created: phoneNumber is required", 201, NO, id="201 that says no"),
        pytest.param(REJECTED, "400 Bad Request: phoneNumber is required", 400, NO, id="a field is missing"),
        pytest.param(REJECTED, "413 ", 413, NO, id="too large"),
        pytest.param(REJECTED, "422 Unprocessable ", 422, NO, id="unprocessable"),
        pytest.param(REFUSED, f"400 Bad Request, {ON_THE_WAY}", 400, HTML, id="nginx asks for a certificate"),
        pytest.param(
            REFUSED, f"401 Unauthorized, {IN_FRONT}it wants a user and", 401, HTML, id="nginx asks for a password"
        ),
        pytest.param(REFUSED, f"403 Forbidden, {IN_FRONT}it does not let this", 403, HTML, id="a CDN's page"),
        pytest.param(REFUSED, f"407 Proxy Authentication Required, {IN_FRONT}it is a", 407, b"", id="a proxy"),
        pytest.param(REFUSED, "413 ", 413, b"", id="nginx's own limit"),
        pytest.param(REFUSED, "422 ", 422, b"[]", id="422 of something else"),
        pytest.param(TRY_AGAIN, "408 Request Timeout", 408, b"", id="too slow"),
        pytest.param(TRY_AGAIN, "409 Conflict", 409, b"", id="409"),
        pytest.param(TRY_AGAIN, "418", 418, b"", id="418"),
        pytest.param(TRY_AGAIN, "425 Too Early", 425, b"", id="too early"),
        pytest.param(TRY_AGAIN, "429 Too Many Requests", 429, b"Too many requests", id="rate limit, as plain text"),
        pytest.param(TRY_AGAIN, "451 ", 451, b"", id="451"),
        pytest.param(TRY_AGAIN, "500 Internal Server Error: E11000", 500, b'{"error": "E11000"}', id="500"),
        pytest.param(TRY_AGAIN, "500 Internal Server Error: Call", 500, OK, id="500 that says yes"),
        pytest.param(TRY_AGAIN, "502 Bad Gateway", 502, HTML, id="the proxy's page"),
        pytest.param(TRY_AGAIN, "503 Service Unavailable", 503, b"", id="503"),
        pytest.param(TRY_AGAIN, "504 Gateway Timeout", 504, b"", id="504"),
        pytest.param(TRY_AGAIN, "599", 599, b"", id="a status without a name"),
        pytest.param(TRY_AGAIN, "100 Continue", 100, b"", id="1xx"),
        pytest.param(REFUSED, "401 Unauthorized: bad key; check api_key", 401, b'{"error": "bad key"}', id="no key"),
        pytest.param(REFUSED, "403 Forbidden; check api_key", 403, b"{}", id="forbidden"),
        pytest.param(REFUSED, "404 Not Found; check api_base_url", 404, HTML, id="no such path"),
        pytest.param(REFUSED, "405 Method Not Allowed; check api_base_url", 405, b"", id="no POST"),
        pytest.param(REFUSED, "202 Accepted: Call", 202, OK, id="202 is not stored"),
        pytest.param(REFUSED, "204 No Content, which DID Optimizer never says", 204, b"", id="204"),
        pytest.param(REFUSED, f"200 OK, {OTHER_WORDS}", 200, HTML, id="a web app's page for unknown paths"),
        pytest.param(REFUSED, f"200 OK, {OTHER_WORDS}", 200, b"", id="nothing"),
        pytest.param(REFUSED, f"200 OK, {OTHER_WORDS}", 200, b"{}", id="an empty object"),
        pytest.param(REFUSED, f"200 OK, {OTHER_WORDS}", 200, b'[{"success": true}]', id="an array"),
        pytest.param(REFUSED, f"200 OK, {OTHER_WORDS}", 200, b"true", id="true alone"),
        pytest.param(REFUSED, f"200 OK, {OTHER_WORDS}", 200, b'{"success": "true"}', id="success as a string"),
        pytest.param(REFUSED, f"200 OK, {OTHER_WORDS}", 200, b'{"success": 1}', id="success as a number"),
        pytest.param(REFUSED, f"200 OK, {OTHER_WORDS}", 200, b'{"success": null}', id="success as null"),
        pytest.param(REFUSED, f"200 OK, {OTHER_WORDS}", 200, OK[:-1], id="cut short"),
        pytest.param(REFUSED, f"200 OK, {OTHER_WORDS}", 200, b"[" * 100_000, id="nested deep"),
        pytest.param(REFUSED, f"200 OK, {OTHER_WORDS}", 200, b'{"a":' * 100_000, id="objects nested deep"),
        pytest.param(REFUSED, f"200 OK, {OTHER_WORDS}", 200, b"\xff\xfe\x00", id="no text"),
        pytest.param(REFUSED, f"200 OK, {OTHER_WORDS}", 200, b"9" * 5000, id="an endless number"),
        pytest.param(REFUSED, WANTS_HTTPS, 400, NGINX, id="plain HTTP to nginx's HTTPS port"),
        pytest.param(REFUSED, "301 Moved Permanently: the API has moved", 301, b"", id="301"),
        pytest.param(REFUSED, "302 Found: Call result recorded: the API", 302, OK, id="302 that says yes"),
    ],
)
def test_each_answer_has_its_meaning_and_words(meaning: Meaning, words: str, http_status: int, body: bytes) -> None:
    answer = answer_of(http_status, {}, body)
    assert meaning is answer.meaning
    assert answer.words.startswith(words)
    assert not answer.duplicate


def test_what_is_in_front_is_named_as_it_names_itself() -> None:
    page = b"<html><head><title>400 No required SSL certificate was sent</title></head></html>"
    answer = answer_of(400, {"Server": "nginx/1.22.1"}, page)
    assert "400 Bad Request (400 No required SSL certificate was sent), not from DID Optimizer" in answer.words
    assert " but from nginx/1.22.1 in front of it; " in answer.words


@pytest.mark.parametrize("http_status", [200, 201, 400, 401, 422, 500])
@pytest.mark.parametrize(
    ("other", "content"),
    [
        (True, {"uniqueid": "1.2"}),
        (True, {"data": {"uniqueid": "1.2"}}),
        (True, {"data": {"uniqueId": 1.2}}),
        (False, {"uniqueid": "1.1"}),
        (False, {"data": {"uniqueid": "1.1"}}),
        (False, {"uniqueid": None, "data": {"disposition": "SALE"}}),
        (False, {"previous": {"uniqueid": "1.2"}, "data": {"uniqueid": "1.1"}}),
    ],
)
def test_an_answer_that_names_another_call_is_no_answer_to_this_one(
    other: bool, content: dict[str, object], http_status: int
) -> None:
    answer = answer_of(http_status, {}, json.dumps({"success": True, **content}).encode(), uniqueid="1.1")
    assert other == answer.words.endswith("but the answer is to another call, 1.2")
    assert other == ((TRY_AGAIN, True, False) == (answer.meaning, answer.perhaps_stored, answer.by_api))


@pytest.mark.parametrize("uniqueid", ["1795730279.620", "1795730279.1000000", "1795730279.000500376"])
def test_an_id_that_comes_back_as_a_number_has_lost_digits_and_is_the_calls_all_the_same(uniqueid: str) -> None:
    body = b'{"success": true, "data": {"uniqueid": %s}}' % uniqueid.encode()
    assert DELIVERED is answer_of(200, {}, body, uniqueid=uniqueid).meaning
    assert TRY_AGAIN is answer_of(200, {}, body, uniqueid="1795730279.7").meaning
    assert TRY_AGAIN is answer_of(200, {}, body, uniqueid="no number").meaning


@pytest.mark.parametrize(
    ("perhaps", "http_status"), [(True, 500), (True, 502), (True, 504), (False, 503), (False, 429)]
)
def test_a_failure_may_come_after_the_call_was_stored(perhaps: bool, http_status: int) -> None:
    assert perhaps == answer_of(http_status, {}, b"").perhaps_stored


@pytest.mark.parametrize(
    ("duplicate", "said"), [(True, True), (False, False), (False, None), (False, "true"), (False, 1)]
)
def test_a_call_that_the_api_knew_already_is_delivered_and_counted(duplicate: bool, said: object) -> None:
    answer = answer_of(200, {}, json.dumps({"success": True, "duplicate": said}).encode())
    assert Answer(DELIVERED, "200 OK", duplicate=duplicate, by_api=True) == answer


@pytest.mark.parametrize(
    ("words", "content"),
    [
        ("400 Bad Request: e", {"error": "e", "message": "m"}),
        ("400 Bad Request: m", {"error": "", "message": "m"}),
        ("400 Bad Request: m", {"message": "m"}),
        ("400 Bad Request", {"message": {"text": "m"}}),
        ("400 Bad Request", {"message": 5}),
        ("400 Bad Request", {"message": ""}),
        ("400 Bad Request: m", {"error": {"code": 5}, "message": "m"}),
    ],
)
def test_the_words_are_the_apis_error_or_else_its_message(words: str, content: object) -> None:
    assert words == answer_of(400, {}, json.dumps(content).encode()).words


def test_long_words_are_cut() -> None:
    answer = answer_of(500, {}, json.dumps({"message": "m" * 10_000}).encode())
    assert answer.words == "500 Internal Server Error: ".ljust(LONGEST_WORDS, "m")


@pytest.mark.parametrize(
    ("cure", "location"),
    [
        ("; write api_base_url=https://did.example.com", "https://did.example.com/api/v1/call-results"),
        ("; write api_base_url=http://did.example.com:8080", "http://did.example.com:8080/api/v1/call-results"),
        ("; write api_base_url=https://did.example.com/app", "https://did.example.com/app/api/v1/call-results?x=1"),
        pytest.param(" to '/api/v1/call-results/'; check api_base_url", "/api/v1/call-results/", id="a path alone"),
        pytest.param(" to 'http://x/api/v1/call-results/'; check", "http://x/api/v1/call-results/", id="a slash more"),
        pytest.param(" to 'https://example.com/login'; check api_base_url", "https://example.com/login", id="a login"),
        pytest.param(" to 'https://['; check api_base_url", "https://[", id="no URL"),
        pytest.param(" to 'ftp://x/api/v1/call-results'; check", "ftp://x/api/v1/call-results", id="not the web"),
    ],
)
@pytest.mark.parametrize("http_status", [301, 302, 303, 307, 308])
def test_a_redirect_says_what_to_put_into_api_base_url(http_status: int, cure: str, location: str) -> None:
    answer = answer_of(http_status, {"Location": location}, b"")
    assert answer.meaning is REFUSED
    assert f": the API has moved{cure}" in answer.words


@pytest.mark.parametrize("http_status", [300, 304])
def test_a_redirect_to_nowhere_does_not_say_where_to(http_status: int) -> None:
    assert "''" not in answer_of(http_status, {}, b"").words


@pytest.mark.parametrize("location", ["x" * 10_000, f"https://{'x' * 10_000}/api/v1/call-results"])
def test_an_endless_redirect_is_cut(location: str) -> None:
    assert len(answer_of(302, {"Location": location}, b"").words) < 2 * LONGEST_WORDS


@pytest.mark.parametrize(
    ("says_nothing", "http_status"), [(True, 425), (True, 429), (False, 408), (False, 500), (False, 503), (False, 400)]
)
def test_too_many_and_too_early_say_nothing_of_the_call(says_nothing: bool, http_status: int) -> None:
    assert says_nothing is answer_of(http_status, {}, b"").throttled


SAID: list[object] = [True, False, None, 1, 0, "true", "", [], {}]
VALUES = st.sampled_from(SAID) | st.text(max_size=300)
OBJECTS = st.dictionaries(st.sampled_from(["success", "duplicate", "error", "message"]), VALUES)
BODIES = st.binary() | OBJECTS.map(lambda content: json.dumps(content).encode())


@given(
    http_status=st.sampled_from([200, 201]) | st.integers(100, 599),
    headers=st.dictionaries(st.just("Location"), st.text()),
    body=BODIES,
)
def test_whatever_comes_is_understood_and_only_the_words_of_success_deliver(
    http_status: int, headers: Mapping[str, str], body: bytes
) -> None:
    answer = answer_of(http_status, headers, body, retry_after=1.0)
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    success = isinstance(content, dict) and content.get("success") is True
    assert (answer.meaning is DELIVERED) is (http_status in (200, 201) and success)
    assert answer.words.startswith(str(http_status))
    assert (1.0 if answer.meaning is TRY_AGAIN else None) == answer.retry_after


@pytest.mark.parametrize(("http_status", "perhaps"), [(200, True), (201, True), (202, True), (204, True), (404, False)])
def test_behind_a_page_in_its_place_a_call_may_have_been_stored(http_status: int, perhaps: bool) -> None:
    assert perhaps == answer_of(http_status, {}, HTML).perhaps_stored
