"""What ``make dist`` builds: the same bytes each time, and a vicisync.pyz that needs nothing but a Python."""

import ast
import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import NamedTuple
from zipfile import ZIP_STORED, ZipFile

import pytest
import trustme
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from rehearsal.did_optimizer import ERROR_500, DidOptimizer, Fault
from rehearsal.site import Site
from tests.conftest import finish_calls, unmeasured
from vicisync import __version__

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BARE = [str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"), "-I", "-S"]
"""This Python with nothing installed: without a virtual environment, site-packages and a variable's say."""


class Built(NamedTuple):
    """The products of one build."""

    sdist: Path
    wheel: Path
    pyz: Path


def build(tree: Path, out: Path, umask: int = 0o022, **environment: str) -> Built:
    subprocess.run(
        [sys.executable, "-m", "release.dist", "--out", out],
        cwd=tree, env={**os.environ, **environment}, check=True, capture_output=True, timeout=180, umask=umask,
    )  # fmt: skip
    return products(out)


def products(out: Path) -> Built:
    return Built(*(out / name for name in (
        f"vicisync-{__version__}.tar.gz", f"vicisync-{__version__}-py3-none-any.whl", "vicisync.pyz"
    )))  # fmt: skip


@pytest.fixture(scope="module")
def built(released: Path) -> Built:
    return products(released)


def test_another_build_elsewhere_and_later_gives_the_same_bytes(built: Built, tmp_path: Path) -> None:
    """Another folder, times of files, umask, time zone, language and order of sets."""
    tree = tmp_path / "elsewhere"
    ignored = shutil.ignore_patterns(".git", *(ROOT / ".gitignore").read_text().replace("/", "").split())
    shutil.copytree(ROOT, tree, ignore=ignored, copy_function=shutil.copyfile)
    for path in tree.rglob("*"):  # copyfile leaves times and modes behind; the programs are to remain programs
        path.chmod((ROOT / path.relative_to(tree)).stat().st_mode & 0o700)
    again = build(tree, tmp_path / "dist", 0o077, TZ="Asia/Kolkata", LC_ALL="C", PYTHONHASHSEED="1", PYTHONPATH="")
    assert [] == [one.name for one, other in zip(built, again, strict=True) if one.read_bytes() != other.read_bytes()]


# What is in them


def names(archive: Path) -> list[str]:
    with ZipFile(archive) as opened:
        return opened.namelist()


def packages(pyz: Path) -> dict[str, Message]:
    """What each package in the file says of itself, by its name."""
    with ZipFile(pyz) as archive:
        metadata = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        texts = [message_from_bytes(archive.read(name)) for name in metadata]
    return {canonicalize_name(each["Name"]): each for each in texts}


def needed(package: Message, python: str) -> Iterator[Requirement]:
    """The packages that one needs on such a Python."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    for text in package.get_all("Requires-Dist", []):
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            yield requirement


@pytest.mark.parametrize("python", ["3.10", "3.13"])
def test_the_pyz_holds_all_that_is_needed_and_nothing_else(python: str, built: Built) -> None:
    found = packages(built.pyz)
    needs = {"vicisync"}
    for package in found.values():
        assert f"{python}.0" in SpecifierSet(package.get("Requires-Python", ""))
        for requirement in needed(package, python):
            needs.add(canonicalize_name(requirement.name))
            version = found[canonicalize_name(requirement.name)]["Version"]
            assert requirement.specifier.contains(version), f"{package['Name']} needs {requirement}"
    assert needs == set(found)
    assert [] == [name for name in names(built.pyz) if name.endswith((".so", ".pyd", ".pyc", ".pth"))]


def test_what_goes_into_the_pyz_is_fixed_to_the_byte(built: Built) -> None:
    text = (ROOT / "release" / "pyz-requirements.txt").read_text()
    pins = dict(re.findall(r"^(\S+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}$", text, re.MULTILINE))
    inside = {name: each["Version"] for name, each in packages(built.pyz).items() if name != "vicisync"}
    assert inside == {canonicalize_name(name): version for name, version in pins.items()}


def test_each_package_in_the_pyz_keeps_its_licence(built: Built) -> None:
    folders = {name.partition(".dist-info/")[0] for name in names(built.pyz) if ".dist-info/" in name}
    licences = {name.partition(".dist-info/")[0] for name in names(built.pyz) if re.search(r"/.*LICEN[CS]E", name)}
    assert folders == licences


def test_the_sdist_is_the_whole_project(built: Built, tmp_path: Path) -> None:
    subprocess.run(["tar", "-xf", built.sdist, "-C", tmp_path], check=True)
    unpacked = tmp_path / f"vicisync-{__version__}"
    parts = ["src", "tests", "rehearsal", "bench", "release", "deploy", "docs"]
    files = [path for part in parts for path in (ROOT / part).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    files += [
        ROOT / name for name in ("Makefile", "README.md", "SECURITY.md", "CONTRIBUTING.md", "LICENSE", "conf.example")
    ]
    assert [] == [path for path in files if not (unpacked / path.relative_to(ROOT)).is_file()]
    assert os.access(unpacked / "rehearsal" / "set-up", os.X_OK)


# How the pyz runs


def run(site: Site, pyz: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BARE, pyz, *arguments], env=site.environment(**environment), stdin=subprocess.DEVNULL,
        capture_output=True, encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip


def test_the_pyz_is_a_program_of_its_own(built: Built) -> None:
    bare = subprocess.run([*BARE, built.pyz, "--version"], capture_output=True, text=True, check=True)
    alone = subprocess.run([built.pyz, "--version"], capture_output=True, text=True, check=True)
    assert f"vicisync {__version__}\n" == bare.stdout == alone.stdout


def test_the_job_that_the_pyz_installs_names_the_python_that_ran_it(built: Built, site: Site) -> None:
    done = run(site, built.pyz, "install", "--dry-run")
    assert 0 == done.returncode, done.stderr
    assert f"* * * * * root {BARE[0]} {built.pyz} run --dids-conf {site.dids_conf} " in done.stdout.replace(
        f"--astguiclient-conf {site.astguiclient_conf} ", ""
    )


def test_a_python_that_is_too_old_is_told_so(built: Built) -> None:
    """An older one is not at hand everywhere, so this one pretends to be older."""
    with ZipFile(built.pyz) as archive:
        ast.parse(archive.read("__main__.py"), feature_version=(3, 0))
    pretence = "import runpy, sys; sys.version_info = (3, 9, 8, 'final', 0); runpy.run_path(sys.argv[1])"
    done = subprocess.run([*BARE, "-c", pretence, built.pyz], capture_output=True, text=True, check=False)
    assert (2, "") == (done.returncode, done.stdout)
    assert "vicisync.pyz needs Python 3.10 or newer, and this is 3.9: name a newer one" in done.stderr
    assert "Traceback" not in done.stderr


def with_ca(pyz: Path, ca: trustme.CA, into: Path) -> Path:
    """Make a copy whose certifi trusts ``ca`` alone."""
    with ZipFile(pyz) as old, ZipFile(into, "w", ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, ca.cert_pem.bytes() if name == "certifi/cacert.pem" else old.read(name))
    return into


def test_the_pyz_delivers_by_its_own_certificates_and_leaves_no_file(built: Built, site: Site, tmp_path: Path) -> None:
    finish_calls(site, 3, 600)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {"TMPDIR": str(temporary), "REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": ""}
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    with DidOptimizer(api_key=site.api_key, ssl_context=context) as api:
        site.api_url = api.url
        site.configure()
        refused = run(site, built.pyz, "run", **environment)
        assert 4 == refused.returncode
        assert "unable to get local issuer certificate" in refused.stdout + refused.stderr
        delivered = run(site, with_ca(built.pyz, ca, tmp_path / "own.pyz"), "run", **environment)
    assert (0, "") == (delivered.returncode, delivered.stderr)
    assert 3 == len(api.records)
    assert [] == list(temporary.iterdir())


@pytest.mark.parametrize("how", ["cp", "mv", "rm"])
def test_a_pyz_that_is_replaced_during_a_run_keeps_it_from_nothing(
    how: str, built: Built, site: Site, api: DidOptimizer, tmp_path: Path
) -> None:
    """All that a run imports it has imported before its first call is sent."""
    pyz, other = tmp_path / "vicisync.pyz", tmp_path / "other.pyz"
    shutil.copyfile(built.pyz, pyz)
    other.write_bytes(b"#!/bin/sh\n" + bytes(10_000))
    finish_calls(site, 20)
    site.configure(ping_url=f"{api.url}/ping", metrics_file=str(tmp_path / "vicisync.prom"))

    def replace_at_the_first(_: object) -> Fault | None:
        if how == "mv":
            other.replace(pyz)
        elif how == "cp":
            shutil.copyfile(other, pyz)
        else:
            pyz.unlink()
        api.fault_for = lambda _: ERROR_500 if len(api.posts) == 3 else None
        return None

    api.fault_for = replace_at_the_first
    done = run(site, pyz, "run")
    assert (0, "") == (done.returncode, done.stderr)
    assert 20 == len(api.records)


# What is uploaded


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("this is no clone of git's, or git is not here")
    tree = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, tree], check=True)
    (tree / "src/vicisync/__init__.py").write_text(f'__version__ = "{__version__}"\n')
    changelog = (tree / "CHANGELOG.md").read_text()
    (tree / "CHANGELOG.md").write_text(
        re.sub(r"^## .*$", f"## {__version__} – 2026-11-26", changelog, count=1, flags=re.M)
    )
    commit(tree)
    return tree


def commit(tree: Path) -> None:
    names = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.com"]
    subprocess.run(["git", *names, "commit", "--quiet", "--all", "--allow-empty", "-m", "…"], cwd=tree, check=True)


def release(tree: Path) -> subprocess.CompletedProcess[str]:
    environment = {**unmeasured(os.environ), "PYTHONPATH": f"{tree}/src"}
    return subprocess.run(
        [sys.executable, "-m", "release.release"],
        cwd=tree, env=environment, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip


def test_a_release_is_built_with_its_sums_and_says_what_to_do_with_it(clone: Path) -> None:
    done = release(clone)
    assert 0 == done.returncode, done.stderr
    sums = (clone / "dist" / "SHA256SUMS").read_text()
    assert [path.name for path in products(clone / "dist")] == re.findall(r"^[0-9a-f]{64}  (\S+)$", sums, re.MULTILINE)
    assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=clone / "dist", check=True)
    for words in (sums, f"git tag -s v{__version__}", "twine upload ", "CHANGELOG.md"):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("spoil", "commits", "says"),
    [
        pytest.param(lambda tree: (tree / "README.md").write_text("?"), False, "Not all is committed", id="changed"),
        pytest.param(
            lambda tree: (tree / "CHANGELOG.md").write_text("## Unreleased\n"),
            True,
            f"CHANGELOG.md begins with 'Unreleased': write '## {__version__} – '",
            id="no day",
        ),
        pytest.param(
            lambda tree: subprocess.run(["git", "tag", f"v{__version__}"], cwd=tree, check=True),
            True,
            f"v{__version__} is tagged already",
            id="tagged",
        ),
    ],
)
def test_what_is_no_release_is_not_built(
    spoil: Callable[[Path], object], commits: bool, says: str, clone: Path
) -> None:
    spoil(clone)
    if commits:
        commit(clone)
    done = release(clone)
    assert (1, True) == (done.returncode, says in done.stderr)
    assert not (clone / "dist").exists()
