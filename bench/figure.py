"""A figure of the benchmark, what it should be, and the table that people read."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Figure:
    """One figure: what was measured, alone or as a ratio to a baseline of the same run."""

    key: str
    """Its name in results.json, the same from version to version."""
    what: str
    measured: float
    unit: str
    """Of ``measured`` and ``baseline``."""
    baseline: float | None = None
    is_ratio: bool = True
    """Whether ``value`` is the ratio to the baseline; else the baseline just stands beside it."""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def value(self) -> float:
        """What is compared with the target."""
        return self.measured / self.baseline if self.is_ratio and self.baseline is not None else self.measured

    @property
    def reached(self) -> bool | None:
        """Whether the figure is what it should be; None where nothing is asked of it."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least

    def as_json(self) -> dict[str, object]:
        """Return it as it stands in results.json."""
        return {**asdict(self), "value": self.value, "reached": self.reached}


class Outcome(NamedTuple):
    """What came of one subject."""

    figures: list[Figure]
    details: object
    """All that was measured, for results.json."""


def table(figures: Iterable[Figure]) -> str:
    """Write figures as a table in plain text."""
    rows = [("", "figure", "value", "target", "measured")]
    for figure in figures:
        sign = {True: "✓", False: "✗", None: "·"}[figure.reached]
        unit = "×" if figure.is_ratio and figure.baseline is not None else figure.unit
        value = f"{_short(figure.value)} {unit}"
        rows.append((sign, figure.what, value, _target(figure), _origin(figure)))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _target(figure: Figure) -> str:
    if figure.at_most is not None:
        return f"≤ {_short(figure.at_most)}"
    return "" if figure.at_least is None else f"≥ {_short(figure.at_least)}"


def _origin(figure: Figure) -> str:
    if figure.baseline is None:
        return ""
    word = "against" if figure.is_ratio else "beside"
    return f"{_short(figure.measured)} {figure.unit} {word} {_short(figure.baseline)}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
