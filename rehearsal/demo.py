"""``make demo``: an hour of a call centre, delivered by the installed command before your eyes, in under a minute."""

import json
import random
import sys
import tempfile
import time
from pathlib import Path

from rehearsal.dialer import Dialer, random_life
from rehearsal.did_optimizer import DidOptimizer
from rehearsal.lives import agent_call, never_ends, new_call
from rehearsal.mariadb import MariaDB, MariaDBMissing
from rehearsal.site import Site

CALLS = 300


def main() -> int:
    """Play the demo; 0 where everything arrived once, with its final disposition."""
    with tempfile.TemporaryDirectory(prefix="vicisync-demo-") as name:
        folder = Path(name)
        print("Starting a private MariaDB with VICIdial's table, and a stand-in for DID Optimizer ...")
        with MariaDB(folder / "mariadb") as mariadb, DidOptimizer() as api:
            mariadb.create_table("asterisk")
            site = Site.of(folder / "server", mariadb, "asterisk", api)
            return _play(site, api)


def _play(site: Site, api: DidOptimizer) -> int:
    rng = random.Random(2024)  # noqa: S311 -- the same hour each time
    dialer = Dialer(lambda: site.mariadb.connect(site.database))
    now = int(time.time())
    for _ in range(CALLS):
        dialer.begin(random_life(rng, now - rng.uniform(30, 3300)))
    in_wrap_up = [agent_call(new_call(now - 100 - number), talk=60, wrap_up=60 + number) for number in range(5)]
    for life in in_wrap_up:
        dialer.begin(life)
    dialer.begin(never_ends(new_call(now - 20)))
    dialer.play(now)
    print(f"VICIdial has {CALLS} calls of the last hour, {len(in_wrap_up)} more in wrap-up and one that never ends.\n")

    ok = _show(site, "run", "--dry-run", "--limit", "3")
    ok = _show(site, "run") and ok
    first = len(api.posts)
    print("Meanwhile the agents in wrap-up pick their dispositions ...\n")
    dialer.play(now + 90)
    ok = _show(site, "run", "-v") and ok
    ok = _show(site, "status", "--max-lag", "300") and ok
    dialer.close()

    print("Three of the records as they arrived:")
    for post in [*api.posts[:1], *api.posts[-2:]]:
        print(json.dumps(post.payload, ensure_ascii=False, indent=None))
    arrived = {payload["uniqueid"]: payload["disposition"] for payload in api.records.values()}
    missing = [life for life in in_wrap_up if life.final and arrived.get(life.final.uniqueid) != life.final.status]
    waiting = site.checkpoint_file.read_text().count("\nwatching\t")
    calls = CALLS + len(in_wrap_up) + 1
    print(
        f"\nThe API has {len(arrived)} calls, {first} from the first run and {len(api.posts) - first} from the second;"
        f" {api.repeats} were sent twice.\n{waiting} of VICIdial's {calls} wait for their end or their disposition,"
        f" {calls - len(arrived) - waiting} are missing."
    )
    all_there = len(arrived) + waiting == calls and not missing
    if ok and all_there and not api.repeats:
        print("\n✅ That is all it does. Next: README.md, 'Install', on a server that reaches VICIdial's database.")
        return 0
    return 1


def _show(site: Site, *arguments: str) -> bool:
    """Run the command and show what it prints, the long middle left out."""
    print(f"$ vicisync {' '.join(arguments)}")
    done = site.vicisync(*arguments)
    lines = (done.stdout + done.stderr).splitlines()
    if len(lines) > 24:
        lines = [*lines[:12], f"      ... {len(lines) - 18} lines like these ...", *lines[-6:]]
    print("\n".join(lines), f"\n(exit code {done.returncode})\n")
    return done.returncode == 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MariaDBMissing as missing:
        sys.exit(f"❌ {missing}")
