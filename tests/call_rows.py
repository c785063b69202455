"""Rows of ``vicidial_log``, written one by one, and the settings with which they are read."""

from pathlib import Path

from rehearsal.mariadb import MariaDB
from rehearsal.site import PASSWORD
from tests.conftest import make_settings
from vicisync.settings.settings import Settings

NOON = 1_793_966_400  # a day in November without a change of clocks


def row(uniqueid: str, start: int = NOON, **columns: object) -> dict[str, object]:
    """A call that nobody answered; ``columns`` differ."""
    return {
        "uniqueid": uniqueid, "lead_id": 1, "campaign_id": "C", "phone_number": "2125550100", "length_in_sec": 0,
        "call_date": ("FROM_UNIXTIME(%s)", start), "start_epoch": start, "end_epoch": start, "status": "NA", **columns,
    }  # fmt: skip


def insert(mariadb: MariaDB, database: str, *rows: dict[str, object]) -> None:
    """Write rows; a tuple is an expression with its parameters."""
    with mariadb.connect(database) as connection, connection.cursor() as cursor:
        for columns in rows:
            expressions = [value if isinstance(value, tuple) else ("%s", value) for value in columns.values()]
            places = [expression[0] for expression in expressions]
            values = [parameter for expression in expressions for parameter in expression[1:]]
            cursor.execute(f"INSERT INTO vicidial_log ({', '.join(columns)}) VALUES ({', '.join(places)})", values)


def settings_of(folder: Path, mariadb: MariaDB, database: str, **texts: str) -> Settings:
    """Settings with which VICIdial's account reads a database."""
    place = {"db_host": mariadb.host, "db_port": str(mariadb.port), "db_name": database}
    return make_settings(folder, **{**place, "db_user": "cron", "db_password": PASSWORD, **texts})


def knows_none(_: str) -> bool:
    return False
