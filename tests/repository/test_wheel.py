"""What is released, on a machine that has nothing else: put on it, at work, and taken away again."""

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from rehearsal.did_optimizer import DidOptimizer
from rehearsal.site import Site
from release.dist import KEPT_WHEELS
from tests.conftest import finish_calls
from tests.machine import CRON_D, LOG, machine, needs_root
from vicisync import __version__

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PYTHON = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture(scope="module")
def commands(released: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The wheel installed into a virtual environment that was empty, and the pyz with a Python that has nothing."""
    empty = tmp_path_factory.mktemp("venv")
    venv.create(empty, with_pip=True)
    wheel = released / f"vicisync-{__version__}-py3-none-any.whl"
    pip: list[str | Path] = [empty / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-index", "--find-links", KEPT_WHEELS, wheel], check=True, timeout=180)
    pyz = tmp_path_factory.mktemp("pyz") / "vicisync.pyz"
    shutil.copyfile(released / pyz.name, pyz)  # not executable, as it comes from a download
    return {"wheel": [str(empty / "bin" / "vicisync")], "pyz": [str(PYTHON), str(pyz)]}


@needs_root
@pytest.mark.parametrize(
    "kind",
    ["wheel", "pyz"],
)
def test_what_is_released_leaves_a_machine_as_it_was(
    kind: str, commands: dict[str, list[str]], tmp_path: Path, site: Site, api: DidOptimizer
) -> None:
    finish_calls(site, 3, 600)
    files = {"VICISYNC_ASTGUICLIENT_CONF": str(site.astguiclient_conf), "VICISYNC_DIDS_CONF": str(site.dids_conf)}
    environment = {"PATH": os.defpath, **files}
    with machine(tmp_path / "machine") as server:

        def ran(*command: str, environment: dict[str, str] = environment) -> str:
            done = server.run(*command, environment=environment)
            assert (0, "") == (done.returncode, done.stderr), done.stdout
            return done.stdout

        def there() -> tuple[object, ...]:
            return server.state(), sorted(site.folder.rglob("*"))

        before = there()
        ran(*commands[kind], "install")
        (job,) = re.findall(r"^\* \* \* \* \* root (.*)$", server.path(CRON_D).read_text(), re.MULTILINE)
        ran(*commands[kind], "check")
        ran("/bin/sh", "-c", job, environment={"PATH": "/usr/bin:/bin"})
        assert 3 == len(api.records)
        assert "✅ Sync completed successfully\n" in server.path(LOG).read_text()
        ran(*commands[kind], "status")
        uninstalled = ran(*commands[kind], "install", "--uninstall")
        for cure in re.findall("; to remove it: (.*)", uninstalled):
            ran("/bin/sh", "-c", cure)
        site.checkpoint_file.parent.rmdir()
        assert before == there()
