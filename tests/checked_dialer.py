"""A healthy VICIdial server with vicisync installed, on which tests of the check break one thing at a time."""

import re
import time
from pathlib import Path

from rehearsal.dialer import fill
from rehearsal.did_optimizer import DidOptimizer
from rehearsal.mariadb import READ, MariaDB
from rehearsal.site import COMMAND, PASSWORD, Site
from vicisync.commands.check import check

SIGNS = ("✓ ", "⚠ ", "❌ ")

JOB = "* * * * * root {} run >> /var/log/did-optimizer-sync.log 2>&1\n"


def lead_everyone_to(folder: Path) -> None:
    """Open what pytest keeps closed around its folders."""
    for path in (folder, *list(folder.parents)[:-2]):
        path.chmod(0o755)


def joined(told: object) -> str:
    """Return what was told with each cure behind what it mends, not below it."""
    return str(told).replace("\n   → ", " → ")


class CheckedDialer:
    """Its files, database and API; ``check`` looks at them all."""

    def __init__(self, folder: Path, mariadb: MariaDB, database: str, api: DidOptimizer) -> None:
        self.site = Site.of(folder / "server", mariadb, database, api)
        mariadb.create_reader("cron", PASSWORD, database, READ)
        self.site.checkpoint_file.parent.mkdir(mode=0o700)
        self.api = api
        self.database = database
        self.root = folder / "root"
        self.etc = self.root / "etc"
        self.crontab = folder / "crontab"
        self.crontab.write_text("### VICIdial's own\n* * * * * /usr/share/astguiclient/AST_VDhopper.pl -q\n")
        self.cron = self.etc / "cron.d" / "vicisync"
        self.logrotate = self.etc / "logrotate.d" / "vicisync"
        for path in (self.cron, self.logrotate):
            path.parent.mkdir(parents=True)
        (self.etc / "debian_version").touch()
        self.daemon = self.root / "proc" / "1" / "comm"
        self.daemon.parent.mkdir(parents=True)
        self.daemon.write_text("cron\n")
        self.programs = folder / "bin"
        self.programs.mkdir()
        (self.programs / "crontab").write_text(f"#!/bin/sh\n[ \"$*\" = -l ] && cat '{self.crontab}'\n")
        (self.programs / "crontab").chmod(0o755)
        self.cron.write_text(JOB.format(COMMAND))
        self.cron.chmod(0o644)
        self.logrotate.write_text("/var/log/did-optimizer-sync.log {\n    daily\n}\n")
        self.fill(50)

    @property
    def places(self) -> dict[str, str]:
        """What may stand in a line, by what a test calls it, for a regular expression."""
        site = self.site
        found = {
            "table": f"{self.database}.vicidial_log", "conf": site.astguiclient_conf, "dids": site.dids_conf,
            "state": site.checkpoint_file.parent, "rejected": site.rejected_file, "root": self.root, "etc": self.etc,
            "cron": self.cron, "folder": self.site.folder,
        }  # fmt: skip
        return {name: re.escape(str(place)) for name, place in found.items()}

    def fill(self, calls: int, first_lead: int = 10_000_000) -> None:
        """Have calls end just now."""
        with self.site.mariadb.connect(self.database) as connection:
            fill(connection, calls, int(time.time()) - 2, first_lead=first_lead)

    def sql(self, statement: str) -> None:
        """Run a statement on the database, as its root."""
        with self.site.mariadb.connect(self.database) as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def revoke(self) -> None:
        """Take the one grant away that a run needs."""
        self.sql(f"REVOKE SELECT ON `{self.database}`.vicidial_log FROM cron@'%'")

    def rewrite(self, path: Path, old: str, new: str) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def check(self, **environment: str) -> tuple[int, list[str]]:
        """Return the exit code and the lines, each with its cure; whatever happens, none of them holds a secret."""
        told: list[str] = []
        code = check(self.site.astguiclient_conf, self.site.dids_conf, environment, told.append, self.root)
        lines = joined("\n".join(told)).split("\n")
        assert [] == [line for line in lines if self.site.api_key in line or PASSWORD in line]
        return code, lines

    def worse(self, **environment: str) -> tuple[int, list[str]]:
        """Return the exit code and the lines of what is not well."""
        code, lines = self.check(**environment)
        return code, [line for line in lines[:-1] if line.startswith(SIGNS[1:])]
