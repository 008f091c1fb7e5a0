"""Charts: numbers as pictures in self-contained HTML pages. Draws for curation and training, and imports neither.

Charts are Vega-Lite specifications turned into SVG on this side (vl-convert carries the renderer, so nothing is fetched and nothing
runs in the reader's browser): they print, scale to a phone, follow light and dark through CSS variables, and carry a text for each mark.
"""

from charts.blocks import Block, Chart, Facts, Section, Share, Table
from charts.page import render
from charts.plots import Band, Bounds, bars, heatmap, histogram, lines, ranges

__all__ = [
    "Band",
    "Block",
    "Bounds",
    "Chart",
    "Facts",
    "Section",
    "Share",
    "Table",
    "bars",
    "heatmap",
    "histogram",
    "lines",
    "ranges",
    "render",
]
