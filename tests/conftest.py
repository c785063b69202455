"""Fixtures that several test files share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from rehearsal.mariadb import MariaDB

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A private MariaDB for the whole session; each test has a database of its own on it."""
    with MariaDB(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture
def database(mariadb: MariaDB) -> str:
    """The name of a fresh database with VICIdial's table as most sites have it: MyISAM, latin1."""
    name = f"vicidial_{next(_numbers)}"
    mariadb.create_table(name)
    return name
