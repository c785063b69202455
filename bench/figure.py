"""A figure of the benchmark, what it should be, and the table that people read."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from rehearsal.mariadb import MariaDB
from vicisync import __version__


@dataclass(frozen=True)
class Figure:
    """One measured figure."""

    key: str
    """Its name in results.json; it stays the same from version to version."""
    what: str
    value: float
    unit: str
    baseline: float | None = None
    """What it is compared with, measured in the same run, in the unit of ``measured``."""
    measured: float | None = None
    """What was measured; ``value`` is its ratio to ``baseline`` where there is one."""
    measured_unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the figure is what it should be; None where nothing is asked of it."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least

    def as_json(self) -> dict[str, object]:
        """Give it as it stands in results.json."""
        return {**asdict(self), "reached": self.reached}


def ratio(
    key: str,
    what: str,
    measured: float,
    baseline: float,
    unit: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Figure:
    """Make a figure of what was measured and its baseline, both in ``unit``."""
    value = measured / baseline
    return Figure(key, what, value, "×", baseline, measured, unit, at_most=at_most, at_least=at_least)


def table(figures: Iterable[Figure]) -> str:
    """Write figures as a table in plain text."""
    rows = [("", "figure", "measured", "target", "from")]
    for figure in figures:
        sign = {True: "✓", False: "✗", None: "·"}[figure.reached]
        rows.append((sign, figure.what, f"{_short(figure.value)} {figure.unit}", _target(figure), _origin(figure)))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows)


def _target(figure: Figure) -> str:
    if figure.at_most is not None:
        return f"≤ {_short(figure.at_most)}"
    return "" if figure.at_least is None else f"≥ {_short(figure.at_least)}"


def _origin(figure: Figure) -> str:
    if figure.baseline is None or figure.measured is None:
        return ""
    return f"{_short(figure.measured)} {figure.measured_unit} against {_short(figure.baseline)}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine(mariadb: MariaDB) -> dict[str, object]:
    """Say what the figures were measured on."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "mariadb": mariadb.execute("SELECT VERSION()")[0][0],
        "vicisync": __version__,
        **{package: version(package) for package in ("PyMySQL", "requests", "click", "urllib3")},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
