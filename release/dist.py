"""``make dist``: the sdist, the wheel made from it, and ``vicisync.pyz``; two builds of one tree are the same bytes."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZipFile, ZipInfo

from vicisync import __version__

ROOT = Path(__file__).parent.parent
KEPT_WHEELS = Path(sys.prefix) / "release-wheels"
"""What was once downloaded, in the virtual environment, so that the next build needs no network."""

SOURCE_DATE_EPOCH = os.environ.get("SOURCE_DATE_EPOCH", "1580601600")
"""The time of every file in the pyz; in sdist and wheel hatchling has the same, by variable and by default."""


def main() -> None:
    """Build all three into a folder and name them; a step that fails ends it with what that step said."""
    parser = argparse.ArgumentParser(prog="python -m release.dist", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="FOLDER", help="default: dist")
    print(*build(parser.parse_args().out.absolute()), sep="\n")


def build(out: Path) -> list[Path]:
    """Build the sdist, the wheel and the pyz into a folder; return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vicisync-dist-") as name:
        folder = Path(name)
        backend = folder / "backend"
        _pip("install", "--no-index", "--no-deps", "--target", backend, *_wheels("build", folder))
        sdist = _hatchling(backend, ROOT, "sdist", out, f"vicisync-{__version__}.tar.gz")
        shutil.unpack_archive(sdist, folder)
        unpacked = folder / f"vicisync-{__version__}"
        wheel = _hatchling(backend, unpacked, "wheel", out, f"vicisync-{__version__}-py3-none-any.whl")
        pyz = out / "vicisync.pyz"
        _write_pyz(pyz, [wheel, *_wheels("pyz", folder)])
    return [sdist, wheel, pyz]


def _wheels(name: str, folder: Path) -> list[Path]:
    """Get the wheels of ``name``-requirements.txt, each with the hash that stands there, from what was kept or PyPI."""
    into = folder / name
    arguments = (
        # Wheels of nothing but Python, for the oldest one that a pyz runs on.
        "--only-binary=:all:", "--implementation=py", "--abi=none", "--platform=any", "--python-version=3.10",
        "--no-deps", "--require-hashes", "--dest", into, "--requirement", ROOT / "release" / f"{name}-requirements.txt",
    )  # fmt: skip
    try:
        _pip("download", "--no-index", "--find-links", KEPT_WHEELS, *arguments, stderr=subprocess.DEVNULL)
    except subprocess.CalledProcessError:
        _pip("download", *arguments)
        shutil.copytree(into, KEPT_WHEELS, dirs_exist_ok=True)
    return sorted(into.iterdir())


def _pip(*arguments: str | Path, stderr: int | None = None) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, stderr=stderr)


def _hatchling(backend: Path, source: Path, target: str, out: Path, name: str) -> Path:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", out],
        cwd=source, env={**os.environ, "PYTHONPATH": str(backend)},
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return out / name


def _write_pyz(pyz: Path, wheels: Iterable[Path]) -> None:
    """Put wheels into one file that Python runs; it is not compressed, since zlib's bytes differ between Pythons."""
    entries = {"__main__.py": (ROOT / "release" / "pyz_main.py").read_bytes()}
    for wheel in wheels:
        with ZipFile(wheel) as archive:
            entries.update({name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")})
    with pyz.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with ZipFile(file, "w") as archive:
            for name, content in sorted(entries.items()):
                entry = ZipInfo(name, time.gmtime(int(SOURCE_DATE_EPOCH))[:6])
                entry.external_attr = 0o100644 << 16
                archive.writestr(entry, content)
    pyz.chmod(0o755)


if __name__ == "__main__":
    main()
