"""``make test-all``: the suite on every Python that is here, with the lowest and with the newest dependencies."""

import os
import shutil
import subprocess
from pathlib import Path

import nox

nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"

PYPROJECT = nox.project.load_toml("pyproject.toml")

if pyenv := shutil.which("pyenv"):
    # It hides the versions that it has behind shims until they are named.
    versions = subprocess.run([pyenv, "versions", "--bare"], check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    os.environ["PYENV_VERSION"] = ":".join(versions.stdout.split())


@nox.session(python=nox.project.python_versions(PYPROJECT, max_version="3.14"))
@nox.parametrize("versions", ["lowest", "newest"])
def suite(session: nox.Session, versions: str) -> None:
    """Run the suite; what stands behind ``--`` goes to pytest."""
    dependencies: list[str] = PYPROJECT["project"]["dependencies"]
    constraints = Path(session.virtualenv.location) / "constraints.txt"
    lowest = [dependency.replace(">=", "==", 1) for dependency in dependencies] if versions == "lowest" else []
    constraints.write_text("\n".join(lowest))
    session.install(
        "--upgrade", "--upgrade-strategy=eager", "--constraint", str(constraints), "--editable", ".[dev]"
    )  # fmt: skip
    session.run("python", "-m", "pip", "freeze", "--exclude-editable")
    session.run("python", "-m", "pytest", "-n", "auto", "--dist", "worksteal", *session.posargs)
