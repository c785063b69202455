"""A real nginx in front of DID Optimizer: its own pages are no verdict on a call, nor on the key."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rehearsal.did_optimizer import DidOptimizer
from rehearsal.ports import hold_port
from rehearsal.site import Site
from tests.certificates import valid
from tests.commands.command import finish, vicisync

PROXY = "proxy_pass {api}; proxy_http_version 1.1; proxy_set_header Connection '';"
TLS = "ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;"

Nginx = Callable[[str], str]


@pytest.fixture
def nginx(tmp_path: Path, api: DidOptimizer) -> Iterator[Nginx]:
    """Start nginx before the API, with some lines of its server's configuration; return its address."""
    with ExitStack() as stack:

        def start(lines: str) -> str:
            holder = stack.enter_context(hold_port())
            port = holder.getsockname()[1]
            tls = "ssl" if "ssl_" in lines else ""
            temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            places = " ".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in temporary)
            lines = lines.replace("{api}", api.url).replace("{folder}", str(tmp_path))
            (tmp_path / "nginx.conf").write_text(
                f"daemon off; master_process off; pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log; events {{}}"
                f" http {{ access_log off; {places} server {{ listen 127.0.0.1:{port} {tls}; {lines} }} }}"
            )
            command: list[str | Path] = ["nginx", "-p", tmp_path, "-c", tmp_path / "nginx.conf"]
            server = subprocess.Popen(command, env={"PATH": "/usr/sbin:/usr/bin"}, stderr=subprocess.DEVNULL)
            stack.callback(server.wait, 10)
            stack.callback(server.terminate)
            wait_until_it_listens(server, tmp_path / "nginx.pid")
            return f"http{tls and 's'}://127.0.0.1:{port}"

        yield start


def wait_until_it_listens(server: "subprocess.Popen[bytes]", pid: Path) -> None:
    until = time.monotonic() + 10
    while not pid.exists():
        assert server.poll() is None, "nginx ended"
        assert time.monotonic() < until
        time.sleep(0.01)


IN_FRONT = "not from DID Optimizer but from nginx/.* in front of it; "
FRONTS = {
    "wants a client's certificate": (
        f"{TLS} ssl_client_certificate {{folder}}/ca.pem; ssl_verify_client on; location / {{ {PROXY} }}",
        rf"400 Bad Request \(400 No required SSL certificate was sent\), {IN_FRONT}check api_base_url",
    ),
    "speaks TLS to who does not": (
        f"{TLS} location / {{ {PROXY} }}",
        "400 Bad Request: the server expects https; write https:// in api_base_url",
    ),
    "wants a password": (
        f"auth_basic DID; auth_basic_user_file {{folder}}/nobody; location / {{ {PROXY} }}",
        rf"401 Unauthorized \(401 Authorization Required\), {IN_FRONT}it wants a user and password",
    ),
    "lets nobody pass": (
        f"deny all; location / {{ {PROXY} }}",
        rf"403 Forbidden \(403 Forbidden\), {IN_FRONT}it does not let this server pass",
    ),
    "takes only little": (
        f"client_max_body_size 100; location / {{ {PROXY} }}",
        rf"413 .*\(413 Request Entity Too Large\), {IN_FRONT}check api_base_url",
    ),
    "knows no such place": ("location /else { }", "404 Not Found; check api_base_url"),
}


@pytest.mark.parametrize(("lines", "said"), FRONTS.values(), ids=FRONTS)
def test_what_nginx_says_is_refused_and_rejects_no_call(
    lines: str, said: str, site: Site, api: DidOptimizer, nginx: Nginx, tmp_path: Path
) -> None:
    valid().context(tmp_path)
    (tmp_path / "nobody").touch()
    calls = finish(site, 7)
    url = nginx(lines)
    site.api_url = url.replace("https", "http") if "expects https" in said else url
    site.configure(verify_ssl=str(tmp_path / "ca.pem"))
    done = vicisync(site, "run", code=4)
    assert f"❌ DID Optimizer at {site.api_url} cannot be used: " in done.stderr
    assert re.search(said, done.stdout)
    assert "check api_key" not in done.stderr
    assert not site.rejected_file.exists()
    checked = site.vicisync("check").stdout
    assert "refuses the key" not in checked
    assert ("password" in said) == ("→ it wants a user and password: let this server pass without them" in checked)
    site.api_url = api.url
    site.configure(verify_ssl="1")
    vicisync(site, "run")
    assert sorted(calls) == sorted(api.records)


def test_a_wrong_key_is_told_as_such_also_behind_nginx(site: Site, nginx: Nginx) -> None:
    finish(site, 3)
    site.api_url, site.api_key = nginx(f"location / {{ {PROXY} }}"), "wrong"
    site.configure()
    assert "failed: 401 Unauthorized: Invalid API key; check api_key" in vicisync(site, "run", code=4).stdout


def test_an_api_that_is_gone_behind_nginx_is_down_and_keeps_every_call(
    site: Site, api: DidOptimizer, nginx: Nginx
) -> None:
    calls = finish(site, 9)
    site.api_url = nginx(f"location / {{ {PROXY} }}")
    site.configure(max_retries="0")
    api.down()
    assert "is down: 5 calls in a row failed, 502 Bad Gateway" in vicisync(site, "run", code=4).stderr
    api.up()
    vicisync(site, "run")
    assert sorted(calls) == sorted(api.records)
    assert not site.rejected_file.exists()
