"""The picture that the README shows: what a poll costs the database against the size of the table, on log axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, floor, log10

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 80, 690, 60, 340

# Colours that can be told apart by everyone, on white and on black.
STYLE = """
  text { font: 14px system-ui, sans-serif; fill: #24292f; }
  .title { font-size: 16px; font-weight: 600; }
  .grid { stroke: #d0d7de; }
  .line { fill: none; stroke-width: 3; }
  .seed { stroke: #d1570a; } .ours { stroke: #0969da; }
  text.seed, circle.seed { fill: #d1570a; stroke: none; } text.ours, circle.ours { fill: #0969da; stroke: none; }
  text.seed, text.ours { font-weight: 600; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .grid { stroke: #3d444d; }
    .seed { stroke: #f0883e; } .ours { stroke: #58a6ff; }
    text.seed, circle.seed { fill: #f0883e; } text.ours, circle.ours { fill: #58a6ff; }
  }
"""


def draw(seed: Mapping[int, float], ours: Mapping[int, float]) -> str:
    """Return the picture as SVG; both lines map calls in the table to milliseconds of a poll."""
    return "\n".join(_lines(seed, ours)) + "\n"


def _lines(seed: Mapping[int, float], ours: Mapping[int, float]) -> Iterator[str]:
    across = _Axis([*seed], LEFT + 30, RIGHT - 30)
    up = _Axis([*seed.values(), *ours.values()], BOTTOM, TOP, whole_decades=True)
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="title">'
    yield f"<style>{STYLE}</style>"
    yield f'<text class="title" id="title" x="{LEFT}" y="28">Database time of one idle poll</text>'
    for value in up.decades():
        y = up.at(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 10}" y="{y + 5:.1f}" text-anchor="end">{_time(value)}</text>'
    for calls in seed:
        yield f'<text x="{across.at(calls):.1f}" y="{BOTTOM + 24}" text-anchor="middle">{calls:,}</text>'
    yield f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 48}" text-anchor="middle">calls in vicidial_log</text>'
    for name, label, line in (("seed", "WHERE end_epoch &gt; ?", seed), ("ours", "vicisync", ours)):
        points = [(across.at(calls), up.at(ms)) for calls, ms in line.items()]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline class="line {name}" points="{drawn}"/>'
        for (x, y), ms in zip(points, line.values()):
            yield f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{_time(ms)}</title></circle>'
        x, y = points[-1]
        said = f"{label}: {_time(line[max(line)])}"
        yield f'<text class="{name}" x="{x:.1f}" y="{y - 12:.1f}" text-anchor="end">{said}</text>'
    yield "</svg>"


class _Axis:
    """Maps values to places on a log scale."""

    def __init__(self, values: Sequence[float], begin: float, end: float, *, whole_decades: bool = False) -> None:
        lowest, highest = log10(min(values)), log10(max(values))
        self._lowest = floor(lowest) if whole_decades else lowest
        self._highest = max(ceil(highest) if whole_decades else highest, self._lowest + 1e-9)
        self._begin, self._end = begin, end

    def at(self, value: float) -> float:
        share = (log10(value) - self._lowest) / (self._highest - self._lowest)
        return self._begin + share * (self._end - self._begin)

    def decades(self) -> list[float]:
        return [10.0**power for power in range(ceil(self._lowest), floor(self._highest) + 1)]


def _time(ms: float) -> str:
    return f"{ms / 1000:.3g} s" if ms >= 1000 else f"{ms:.3g} ms"
