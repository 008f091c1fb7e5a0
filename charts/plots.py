"""Plots: the few kinds of chart that pages use, as SVG.

Field names are fixed here and values are only ever data, so that no text of a corpus becomes part of an expression.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

WIDTH, HEIGHT = 440, 190
COLOURS = [f"var(--c{i})" for i in range(8)]
DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [1, 3], [10, 4], [4, 1], [3, 6]]  # lines differ without colour too
_AXIS = {
    "labelColor": "var(--soft)", "titleColor": "var(--soft)", "gridColor": "var(--line)", "domainColor": "var(--soft)",
    "tickColor": "var(--soft)", "titleFontWeight": "normal", "labelFontSize": 11, "titleFontSize": 11, "labelOverlap": True,
    "titlePadding": 10,
}  # fmt: skip
_LEGEND = {"labelColor": "var(--ink)", "titleColor": "var(--soft)", "orient": "top", "title": None, "labelLimit": 180}
_CONFIG = {"axis": _AXIS, "legend": _LEGEND, "view": {"stroke": None}, "font": "system-ui, sans-serif"}


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Lowest and highest value that are kept; None = no bound."""

    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Band:
    """A quantity's spread: five quantiles in ascending order, its mean in between."""

    name: str
    quantiles: tuple[float, float, float, float, float]


def histogram(
    edges: Sequence[float],
    counts: Mapping[str, Sequence[int]],
    *,
    x: str,
    y: str = "samples",
    colours: Mapping[str, str] | None = None,
    bounds: Bounds = Bounds(),
    log: bool = False,
) -> Markup:
    """Bars between consecutive edges, one colour per kind of sample, stacked in the mapping's order; bounds as dashed lines.

    Args:
        edges: N + 1 ascending values. counts: per kind N numbers. x, y: what the axes count, with the unit.
        colours: CSS colours per kind. log: a logarithmic x axis (edges above 0).
    """
    floor = np.zeros(len(edges) - 1)
    values: list[dict[str, Any]] = []
    for kind, numbers in counts.items():
        top = floor + np.asarray(numbers, dtype=float)
        values += [
            {"x": float(edges[i]), "x2": float(edges[i + 1]), "y": float(floor[i]), "y2": float(top[i]), "kind": kind}
            for i in range(len(floor))
            if top[i] > floor[i]
        ]
        floor = top
    scale: dict[str, Any] = {"type": "log" if log else "linear", "domain": [float(edges[0]), float(edges[-1])]}
    scale |= {"nice": False, "zero": False}
    axis = {"tickCount": 6, "format": _format([float(edges[0]), float(edges[-1])])}
    colour = colours or dict(zip(counts, COLOURS, strict=False))
    bar = {
        "mark": {"type": "bar", "binSpacing": 0.5},
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "scale": scale, "title": x, "axis": axis},
            "x2": {"field": "x2"},
            "y": {"field": "y", "type": "quantitative", "title": y, "axis": {"tickCount": 4, "format": "~s"}},
            "y2": {"field": "y2"},
            "color": _colour("kind", list(counts), [colour[kind] for kind in counts]),
        },
    }
    inside = [b for b in (bounds.low, bounds.high) if b is not None and edges[0] <= b <= edges[-1]]
    rule = {
        "data": {"values": [{"x": b} for b in inside]},
        "mark": {"type": "rule", "strokeDash": [4, 3], "strokeWidth": 1.5, "color": "var(--mark)"},
        "encoding": {"x": {"field": "x", "type": "quantitative", "scale": scale}},
    }
    return _svg({"data": {"values": values}, "layer": [bar, rule] if inside else [bar]}, height=HEIGHT)


def bars(values: Mapping[str, Mapping[str, float]], *, x: str, percent: bool = False) -> Markup:
    """Horizontal bars: for each name one bar per series, side by side. values: series -> name -> number."""
    names = list(dict.fromkeys(name for series in values.values() for name in series))
    data = [
        {"name": name, "n": float(number), "kind": kind}
        for kind, series in values.items()
        for name, number in series.items()
    ]
    axis = {"tickCount": 5, "format": ".0%" if percent else "~s"}
    encoding: dict[str, Any] = {
        "y": {"field": "name", "type": "nominal", "sort": names, "title": None, "axis": {"labelLimit": 120}},
        "x": {"field": "n", "type": "quantitative", "title": x, "axis": axis},
        "color": _colour("kind", list(values), COLOURS),
    }
    if len(values) > 1:
        encoding["yOffset"] = {"field": "kind", "type": "nominal", "sort": list(values)}
    else:
        encoding["color"] = {"value": "var(--c0)"}
    return _svg({"data": {"values": data}, "mark": "bar", "encoding": encoding}, height=26 * len(names) + 60)


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]], *, x: str, y: str, log: bool = False, zero: bool = False
) -> Markup:
    """One line per series through its points (x, y), told apart by colour and by dashes."""
    data = [{"x": float(a), "y": float(b), "kind": kind} for kind, points in series.items() for a, b in points]
    scale = {"type": "log" if log else "linear", "zero": zero, "nice": True}
    encoding: dict[str, Any] = {
        "x": {"field": "x", "type": "quantitative", "title": x, "axis": {"tickCount": 5, "grid": False}},
        "y": {
            "field": "y",
            "type": "quantitative",
            "title": y,
            "scale": scale,
            "axis": {"tickCount": 5, "format": _format(point["y"] for point in data)},
        },
        "color": {"value": "var(--c0)"},
    }
    if len(series) > 1:
        encoding["color"] = _colour("kind", list(series), COLOURS)
        encoding["strokeDash"] = {
            "field": "kind",
            "type": "nominal",
            "sort": list(series),
            "scale": {"domain": list(series), "range": [DASHES[i % len(DASHES)] for i in range(len(series))]},
        }
    mark = {"type": "line", "strokeWidth": 1.6, "clip": True}
    return _svg({"data": {"values": data}, "mark": mark, "encoding": encoding}, height=220)


def ranges(bands: Sequence[Band], *, x: str, log: bool = False) -> Markup:
    """For each band a thin line from its first to its last quantile, a thick one over the middle, and a tick at the median."""
    fields = ("a", "b", "c", "d", "e")
    data = [{"name": band.name, **dict(zip(fields, map(float, band.quantiles), strict=True))} for band in bands]
    scale = {"type": "log" if log and all(band.quantiles[0] > 0 for band in bands) else "linear", "nice": True}
    side = {
        "field": "name",
        "type": "nominal",
        "sort": [b.name for b in bands],
        "title": None,
        "axis": {"labelLimit": 120},
    }

    def layer(start: str, end: str, mark: dict[str, Any]) -> dict[str, Any]:
        begin = {
            "field": start,
            "type": "quantitative",
            "scale": scale,
            "title": x,
            "axis": {"tickCount": 6, "format": "~s"},
        }
        return {"mark": mark, "encoding": {"y": side, "x": begin, "x2": {"field": end}}}

    thin = layer("a", "e", {"type": "rule", "color": "var(--c0)", "strokeWidth": 1.5})
    thick = layer("b", "d", {"type": "bar", "color": "var(--c0)", "height": 10, "opacity": 0.75})
    middle = layer("c", "c", {"type": "tick", "color": "var(--mark)", "thickness": 2.5, "height": 18})
    del middle["encoding"]["x2"]
    return _svg({"data": {"values": data}, "layer": [thin, thick, middle]}, height=28 * len(bands) + 60)


def heatmap(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]], *, title: str
) -> Markup:
    """A square per pair, shaded by the number's size in [-1, 1] and coloured by its sign, with the number in it."""
    data = [
        {
            "row": row,
            "column": column,
            "n": number,
            "size": abs(number),
            "sign": "negative" if number < 0 else "positive",
        }
        for row, line in zip(rows, values, strict=True)
        for column, number in zip(columns, line, strict=True)
        if number is not None
    ]
    where = {
        "x": {
            "field": "column",
            "type": "nominal",
            "sort": list(columns),
            "title": None,
            "axis": {"labelAngle": -40, "labelLimit": 130, "labelOverlap": False},
        },
        "y": {
            "field": "row",
            "type": "nominal",
            "sort": list(rows),
            "title": None,
            "axis": {"labelLimit": 150, "labelOverlap": False},
        },
    }
    shade = {
        "field": "size",
        "type": "quantitative",
        "scale": {"domain": [0, 1], "range": [0.06, 0.85]},
        "legend": None,
    }
    colour = _colour("sign", ["positive", "negative"], ["var(--c0)", "var(--c1)"])
    square = {"mark": "rect", "encoding": {"color": colour, "opacity": shade}}
    text = {
        "mark": {"type": "text", "color": "var(--ink)", "fontSize": 10},
        "encoding": {"text": {"field": "n", "type": "quantitative", "format": ".2f"}},
    }
    spec = {"title": {"text": title, "color": "var(--soft)", "fontSize": 11, "fontWeight": "normal"}}
    spec |= {"data": {"values": data}, "encoding": where, "layer": [square, text]}
    return _svg(spec, height=26 * len(rows) + 150)


def _format(values: Iterable[float]) -> str:
    """How an axis writes its numbers: 12k for large ones, plain decimals for small ones (and never 300m for 0.3)."""
    return "~s" if max((abs(value) for value in values), default=0.0) >= 1_000 else ".4~g"


def _colour(field: str, kinds: list[str], colours: list[str]) -> dict[str, Any]:
    scale = {"domain": kinds, "range": [colours[i % len(colours)] for i in range(len(kinds))]}
    legend: dict[str, Any] | None = {"columns": 3} if len(kinds) > 1 else None
    return {"field": field, "type": "nominal", "sort": kinds, "scale": scale, "legend": legend}


def _svg(spec: dict[str, Any], *, height: int) -> Markup:
    import vl_convert  # carries a JavaScript engine: loaded by the first chart only

    frame = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "width": WIDTH,
        "height": height,
        "padding": {
            "left": 14,
            "right": 6,
            "top": 4,
            "bottom": 4,
        },  # browsers may set wider letters than were measured here
        "autosize": {"type": "fit", "contains": "padding"},
        "background": None,
        "config": _CONFIG,
    }
    svg = vl_convert.vegalite_to_svg(json.loads(json.dumps(frame | spec, allow_nan=False)))
    # Its own size would overflow a phone; the viewBox keeps the proportions.
    head, rest = svg.split(">", 1)
    head = head.replace(f' width="{WIDTH}"', "").replace(f' height="{height}"', "")
    return Markup(f'{head} role="img">{rest}')
