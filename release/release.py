"""``make release``: what is uploaded, from the commit that is tagged, proven to be the same bytes in a second build."""

import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from release.dist import ROOT, build
from vicisync import __version__

OUT = ROOT / "dist"


def main() -> int:
    """Build into dist/, with SHA256SUMS, and tell what to do with it; return 1, with the reasons, where it may not."""
    if problems := list(_problems()):
        print(*(f"❌ {problem}" for problem in problems), sep="\n", file=sys.stderr)
        return 1
    built = build(OUT)
    sums = [_sum(path) for path in built]
    with tempfile.TemporaryDirectory(prefix="vicisync-release-") as folder:
        again = [_sum(path) for path in build(Path(folder))]
    if differ := [path.name for path, one, other in zip(built, sums, again, strict=True) if one != other]:
        print(f"❌ A second build gave other bytes: {', '.join(differ)}", file=sys.stderr)
        return 1
    listed = "".join(f"{digest}  {path.name}\n" for digest, path in zip(sums, built, strict=True))
    (OUT / "SHA256SUMS").write_text(listed)
    tag, sdist, wheel = f"v{__version__}", *built[:2]
    print(f"""{listed}
✅ Built twice into the same bytes. What to do with them:
   git tag -s {tag} && git push origin {tag}           the commit that they were built from
   gpg --armor --detach-sign dist/SHA256SUMS
   python3 -m twine upload dist/{sdist.name} dist/{wheel.name}
   all of dist/ to the page of the release, with the part of CHANGELOG.md about {__version__}""")
    return 0


def _problems() -> Iterator[str]:
    """Yield what keeps this tree from being a release."""
    if changed := _git("status", "--porcelain"):
        yield f"Not all is committed: git status\n   {changed.splitlines()[0]}"
    newest = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    if not (newest and re.fullmatch(rf"{re.escape(__version__)} – \d{{4}}-\d\d-\d\d", newest[1])):
        yield f"CHANGELOG.md begins with {newest and newest[1]!r}: write '## {__version__} – ' and the day"
    if (tagged := _git("tag", "--list", f"v{__version__}")) and tagged not in _git("tag", "--points-at", "HEAD"):
        yield f"{tagged} is tagged already, on another commit: raise __version__ in src/vicisync/__init__.py"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
