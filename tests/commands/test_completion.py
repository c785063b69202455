"""The documented line makes a shell complete what is typed: click's own completion, by the installed command."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from rehearsal.site import COMMAND

PAGE = (Path(__file__).parents[2] / "docs" / "upgrade-and-removal.md").read_text()
LINE = re.findall(r'`(eval "\$\(_VICISYNC_COMPLETE=\w+ vicisync\)")`', PAGE)[0]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("vicisync ru", ["run"]),
        ("vicisync re", ["reconcile", "reset-checkpoint", "retry-rejected"]),
        ("vicisync install --un", ["--uninstall"]),
    ],
)
def test_bash_completes_after_the_documented_line(typed: str, offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "vicisync").symlink_to(COMMAND)
    words = typed.split()
    lines = [LINE, f"COMP_WORDS=({typed})", f"COMP_CWORD={len(words) - 1}", "_vicisync_completion vicisync"]
    done = subprocess.run(
        ["bash", "--norc", "-c", "\n".join([*lines, 'printf "%s\\n" "${COMPREPLY[@]}"'])],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, cwd=tmp_path,
        capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    assert ("", offered) == (done.stderr, sorted(done.stdout.split()))


@pytest.mark.parametrize(
    ("source", "sign"), [("zsh_source", "#compdef vicisync"), ("fish_source", "complete --no-files")]
)
def test_the_other_documented_shells_have_a_script_too(source: str, sign: str) -> None:
    assert f"`{source}`" in PAGE
    done = subprocess.run([COMMAND], env={**os.environ, "_VICISYNC_COMPLETE": source}, capture_output=True, check=True)
    assert sign.encode() in done.stdout
