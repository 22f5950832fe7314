"""Inline SVG charts as plain shapes: geometry here, colours in the style sheet, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from latentese.report.numbers import edges_text, percent, two_digits


class Shape(NamedTuple):
    """One SVG element: its tag, its geometry and the class that colours it."""

    tag: str
    attributes: dict[str, str]
    look: str
    text: str = ""
    hint: str = ""
    """Shown when the shape is pointed at."""


@dataclass(frozen=True)
class Chart:
    """A drawing of `width` by `height` units that scales to its place."""

    width: int
    height: int
    title: str
    """What a screen reader says."""
    shapes: tuple[Shape, ...]


@dataclass(frozen=True)
class Scale:
    """Linear map of [low, high] to [start, stop]; values beyond are drawn at the end."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """Place a value on the drawing."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.stop - self.start)


class Row(NamedTuple):
    """One line of a forest plot: a mean with its interval."""

    label: str
    mean: float
    low: float | None
    high: float | None
    look: str


def line(x1: float, y1: float, x2: float, y2: float, look: str) -> Shape:
    """Draw a straight line."""
    return Shape("line", _numbers(x1=x1, y1=y1, x2=x2, y2=y2), look)


def dot(x: float, y: float, radius: float, look: str, hint: str = "") -> Shape:
    """Draw a filled circle."""
    return Shape("circle", _numbers(cx=x, cy=y, r=radius), look, hint=hint)


def bar(x: float, y: float, size: tuple[float, float], look: str, hint: str = "") -> Shape:
    """Draw a rectangle of `size` (width, height)."""
    return Shape("rect", _numbers(x=x, y=y, width=max(size[0], 0), height=max(size[1], 0)), look, hint=hint)


def label(x: float, y: float, text: str, look: str = "tick", anchor: str = "start") -> Shape:
    """Write text on its baseline."""
    return Shape("text", {**_numbers(x=x, y=y), "text-anchor": anchor}, look, text)


def _numbers(**values: float) -> dict[str, str]:
    return {name: f"{value:.2f}".rstrip("0").rstrip(".") for name, value in values.items()}


def ticks(low: float, high: float, n_ticks: int = 5) -> list[float]:
    """Choose about `n_ticks` round values inside [low, high]."""
    raw = (high - low) / max(n_ticks - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) + 0.0 for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _x_axis(scale: Scale, y: float, top: float, caption: str, n_ticks: int = 5) -> list[Shape]:
    shapes = []
    for tick in ticks(scale.low, scale.high, n_ticks):
        x = scale(tick)
        shapes += [line(x, top, x, y, "axis" if tick == 0 else "grid"), label(x, y + 17, f"{tick:g}", "tick", "middle")]
    return [*shapes, label((scale.start + scale.stop) / 2, y + 36, caption, "caption", "middle")]


def forest(rows: Sequence[Row], caption: str, intervals: str) -> Chart:
    """Draw means with their intervals, one line each, on one axis that includes 0.

    intervals: what they are, for the title (`95 % intervals`).
    """
    width, step, top = 560, 38, 14
    bottom = top + step * len(rows)
    ends = [end for row in rows for end in (row.mean, row.low, row.high) if end is not None]
    low, high = min([0.0, *ends]) - 0.03, max([0.2, *ends]) + 0.03
    scale = Scale(low, high, 190, width - 14)
    shapes = _x_axis(scale, bottom, top, caption, 8)
    for i, row in enumerate(rows):
        y = top + step * (i + 0.5)
        shapes.append(label(0, y + 5, row.label, "name"))
        if row.low is not None and row.high is not None:
            shapes.append(line(scale(row.low), y, scale(row.high), y, f"{row.look} stroke"))
            shapes += [line(scale(end), y - 5, scale(end), y + 5, f"{row.look} stroke") for end in (row.low, row.high)]
        hint = f"{row.label}: {two_digits(row.mean)} {edges_text(row.low, row.high)}"
        shapes.append(dot(scale(row.mean), y, 6, f"{row.look} fill", hint))
    return Chart(width, bottom + 44, f"{caption}: means with {intervals}", tuple(shapes))


def mirrored_histogram(up: Sequence[float], down: Sequence[float], caption: str) -> Chart:
    """Show how many units score how much: right explanations above the line, wrong ones below."""
    width, middle, half = 560, 104, 88
    low = -1.0 if min([0.0, *up, *down]) < -0.4 else -0.4
    edges = np.round(np.arange(low, 1.0001, 0.1), 10) + 0.0  # no negative zero in the hints
    counts = [np.histogram(np.clip(values, low, 1.0), edges)[0] for values in (up, down)]
    most = max(1, *(int(count.max()) for count in counts))
    scale = Scale(low, 1.0, 8, width - 8)
    shapes = _x_axis(scale, middle + half + 6, middle - half, caption, 8)
    bar_width = scale(edges[1]) - scale(edges[0]) - 3
    for i, (n_up, n_down) in enumerate(zip(*counts, strict=True)):
        x = scale(edges[i]) + 1.5
        span = f"{edges[i]:.1f} to {edges[i + 1]:.1f}"
        if n_up:
            height = half * n_up / most
            shapes.append(bar(x, middle - height, (bar_width, height), "right fill", f"{n_up} right, {span}"))
        if n_down:
            shapes.append(
                bar(x, middle + 1, (bar_width, half * n_down / most), "wrong fill", f"{n_down} wrong, {span}")
            )
    shapes.append(line(8, middle, width - 8, middle, "axis"))
    shapes.append(label(10, middle - half + 12, "its own explanation", "name right-text"))
    shapes.append(label(10, middle + half - 2, "another unit\u2019s", "name wrong-text"))
    return Chart(width, middle + half + 50, f"{caption}: right explanations above, wrong ones below", tuple(shapes))


def slopes(pairs: Sequence[tuple[str, float, float]], caption: str) -> Chart:
    """Draw one line per refined unit, from its score before to its score after."""
    width, top, bottom = 560, 14, 214
    low = min([0.0, *(min(before, after) for _, before, after in pairs)]) - 0.05
    scale = Scale(low, 1.0, bottom, top)
    left, right = 150, width - 150
    shapes = []
    for tick in ticks(low, 1.0, 5):
        shapes.append(line(left, scale(tick), right, scale(tick), "axis" if tick == 0 else "grid"))
        shapes.append(label(left - 12, scale(tick) + 5, f"{tick:g}", "tick", "end"))
    for name, before, after in pairs:
        look = "revised" if after > before else "wrong"
        hint = f"{name}: {two_digits(before)} to {two_digits(after)}"
        shapes.append(line(left, scale(before), right, scale(after), f"{look} stroke"))
        shapes += [dot(x, scale(y), 4.5, f"{look} fill", hint) for x, y in ((left, before), (right, after))]
    shapes += [
        label(left, bottom + 20, "before", "name", "middle"),
        label(right, bottom + 20, "after", "name", "middle"),
    ]
    return Chart(width, bottom + 30, caption, tuple(shapes))


def density_histogram(densities: Sequence[float], explained: Sequence[float]) -> Chart:
    """Draw firing rates of live units on a log scale, the explained ones marked below."""
    width, top, bottom = 560, 12, 172
    logs = np.log10([density for density in densities if density > 0] or [1e-3])
    scale = Scale(
        float(math.floor(logs.min())), float(max(math.ceil(logs.max()), math.floor(logs.min()) + 1)), 8, width - 8
    )
    edges = np.linspace(scale.low, scale.high, 37)
    counts = np.histogram(logs, edges)[0]
    shapes = []
    for tick in range(int(scale.low), int(scale.high) + 1):
        share = f"{100 * 10.0**tick:g} %"
        anchor = "start" if tick == scale.low else "end" if tick == scale.high else "middle"
        shapes += [
            line(scale(tick), top, scale(tick), bottom, "grid"),
            label(scale(tick), bottom + 30, share, "tick", anchor),
        ]
    for i, count in enumerate(counts):
        height = (bottom - top) * count / max(1, counts.max())
        x = scale(edges[i]) + 0.75
        hint = f"{count} units at {percent(10 ** edges[i])} to {percent(10 ** edges[i + 1])}"
        shapes.append(bar(x, bottom - height, (scale(edges[i + 1]) - x - 0.75, height), "neutral fill", hint))
    for density in explained:
        if density > 0:
            x = scale(math.log10(density))
            shapes.append(line(x, bottom + 3, x, bottom + 12, "right stroke"))
    shapes.append(label(width / 2, bottom + 50, "share of tokens on which a unit fires", "caption", "middle"))
    return Chart(width, bottom + 56, "Densities of live units; explained units marked", tuple(shapes))


def curve(x: Sequence[float], y: Sequence[float], caption: str) -> Chart:
    """Draw a training curve: `y` from 0 up, over `x` in tokens."""
    width, top, bottom = 560, 14, 172
    x_scale = Scale(0, max(x), 56, width - 14)
    y_scale = Scale(0, max(y) * 1.05, bottom, top)
    shapes = []
    for tick in ticks(0, y_scale.high, 4):
        shapes.append(line(56, y_scale(tick), width - 14, y_scale(tick), "axis" if tick == 0 else "grid"))
        shapes.append(label(48, y_scale(tick) + 5, f"{tick:g}", "tick", "end"))
    x_ticks = ticks(0, x_scale.high, 5)
    shapes += [label(x_scale(tick), bottom + 18, _count(tick), "tick", "middle") for tick in x_ticks]
    points = " ".join(f"{x_scale(a):.1f},{y_scale(b):.1f}" for a, b in zip(x, y, strict=True))
    shapes.append(Shape("polyline", {"points": points, "fill": "none"}, "right stroke"))
    shapes.append(label(width / 2, bottom + 38, caption, "caption", "middle"))
    return Chart(width, bottom + 46, caption, tuple(shapes))


def _count(value: float) -> str:
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}"


def act_histogram(edges: Sequence[float], counts: Sequence[int]) -> Chart:
    """Draw a unit's activations, from its smallest to its largest; heights on a log scale: large ones are rare.

    Bins are drawn equally wide whatever their edges, which are named below.
    """
    width, top, bottom = 420, 22, 132
    filled = [i for i, count in enumerate(counts) if count]
    first, last = min(filled), max(filled)
    n_bins = last - first + 1
    scale = Scale(first, last + 1, 16, width - 16)
    every = math.ceil(n_bins / 6)
    shapes = [line(16, bottom, width - 16, bottom, "axis")]
    named = range(first, last + 2, every)
    shapes += [label(scale(i), bottom + 17, f"{edges[i]:.2g}", "tick", "middle") for i in named]
    for i in filled:
        height = (bottom - top) * math.log1p(counts[i]) / math.log1p(max(counts))
        size = (scale(i + 1) - scale(i) - 2, height)
        hint = f"{counts[i]} tokens, {edges[i]:.3g} to {edges[i + 1]:.3g}"
        shapes.append(bar(scale(i) + 1, bottom - height, size, "right fill", hint))
        if n_bins <= 12:
            shapes.append(label(scale(i + 0.5), bottom - height - 5, str(counts[i]), "tick", "middle"))
    shapes.append(label(width / 2, bottom + 36, "activation", "caption", "middle"))
    return Chart(width, bottom + 44, "Histogram of activations, log heights", tuple(shapes))
