"""A call centre's server: the database, both configuration files, vicisync's state, and the installed command."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal.did_optimizer import DidOptimizer
from rehearsal.mariadb import MariaDB

COMMAND = Path(os.environ.get("VICISYNC_COMMAND") or Path(sys.executable).with_name("vicisync"))
"""The command as it was installed beside this Python, or the wheel's or the pyz's that the environment names."""

PASSWORD = "s3cr3t-of-the-database"  # noqa: S105 -- of a private server that lives for minutes


def as_installed(environment: Mapping[str, str]) -> dict[str, str]:
    """Take away what a shell may tell Python: cron has programs compiled once, and buffers their output."""
    return {
        name: value
        for name, value in environment.items()
        if name not in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
    }


@dataclass
class Site:
    """One server; ``folder`` holds its files, and ``vicisync`` runs the command on it."""

    folder: Path
    mariadb: MariaDB
    database: str
    api_url: str
    api_key: str
    settings: dict[str, str] = field(default_factory=dict)
    """What stands in ``[vicisync]`` beside the paths; written by ``configure``."""

    @classmethod
    def of(cls, folder: Path, mariadb: MariaDB, database: str, api: DidOptimizer, **settings: str) -> "Site":
        """Set a server up: the database's account, and both configuration files."""
        folder.mkdir(parents=True, exist_ok=True)
        mariadb.create_reader("cron", PASSWORD, database)
        site = cls(folder, mariadb, database, api.url, api.api_key, settings)
        site.configure()
        return site

    @property
    def astguiclient_conf(self) -> Path:
        return self.folder / "astguiclient.conf"

    @property
    def dids_conf(self) -> Path:
        return self.folder / "dids.conf"

    @property
    def checkpoint_file(self) -> Path:
        return self.folder / "state" / "checkpoint"

    @property
    def rejected_file(self) -> Path:
        return self.folder / "state" / "rejected.jsonl"

    @property
    def journal_file(self) -> Path:
        return self.folder / "state" / "journal.db"

    def configure(self, **settings: str) -> None:
        """Write both files anew, with ``settings`` added to those of before."""
        self.settings.update(settings)
        self.astguiclient_conf.write_text(
            "# astguiclient.conf - configuration elements for the astguiclient package\n"
            "VARserver_ip => 127.0.0.1\n"
            "VARDB_server => 127.0.0.1\n"
            f"VARDB_database => {self.database}\n"
            "VARDB_user => cron\n"
            f"VARDB_pass => {PASSWORD}\n"
            "VARDB_custom_user => custom\n"
            "VARDB_custom_pass => custom1234\n"
            f"VARDB_port => {self.mariadb.port}\n"
        )
        ours = {
            "checkpoint_file": str(self.checkpoint_file),
            "rejected_file": str(self.rejected_file),
            "journal_file": str(self.journal_file),
            "old_checkpoint_file": str(self.folder / "did-optimizer-last-check.txt"),
            **self.settings,
        }
        general = {key: ours.pop(key) for key in ("api_timeout", "max_retries", "verify_ssl") if key in ours}
        lines = ["[general]", f"api_base_url={self.api_url}", f"api_key={self.api_key}"]
        lines += [f"{key}={value}" for key, value in general.items()]
        lines += ["fallback_did=8005550100", "", "[vicisync]", *(f"{key}={value}" for key, value in ours.items()), ""]
        self.dids_conf.write_text("\n".join(lines))
        self.dids_conf.chmod(0o600)

    def environment(self, **more: str) -> Mapping[str, str]:
        """Return the environment in which the command finds this server's files."""
        return {
            **as_installed(os.environ),
            "VICISYNC_ASTGUICLIENT_CONF": str(self.astguiclient_conf),
            "VICISYNC_DIDS_CONF": str(self.dids_conf),
            **more,
        }

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start the installed command; what it prints comes through pipes."""
        return subprocess.Popen(
            [COMMAND, *arguments],
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def vicisync(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the installed command to its end."""
        with self.start(*arguments, **environment) as process:
            stdout, stderr = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
