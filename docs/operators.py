"""Writes docs/operators.md from the operators' docstrings.

    python docs/operators.py [--check]

With --check nothing is written; the exit code is 1 where the page is not current.
"""

import dataclasses
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from curation import select, sources, transforms
from curation.filters.catalogue import filter_classes
from curation.operator import Filter, Operator, Select, Source, Transform

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# Operators

Written by `python docs/operators.py` from the docstrings; a test holds it current.

A filter gives one number per sample; it keeps what lies between `low` and `high`, both inclusive. NaN is dropped, null (does not apply)
is kept. `vl3-curate measure FILE…` prints the numbers of files of yours. Import filters from `curation.filters`, and the published sets
`GOPHER`, `C4` and `FINEWEB` from there; transforms from `curation.transforms`; selects from `curation.select`; sources from
`curation.sources`.

What an operator costs, from cheap to dear: **columns** (facts that are there already), **text** (passes over the text), **pixels** (one
decode of each image, shared by all that need it), **frames** (one decode of each video, shared likewise), **model** (weights, loaded once
per worker).
"""
# By module: what the operators in it look at. A docstring that names a cost of its own says more.
COSTS = {
    "aesthetic": "model", "alignment": "model", "safety": "model", "held_out": "columns", "appearance": "pixels", "image": "columns",
    "video": "frames", "text": "text", "rules": "text", "caption": "text", "quality": "text", "language": "text",
    "conversation": "columns", "answers": "text",
}  # fmt: skip
EXCEPTIONS = {
    "Decodable": "pixels, frames", "BytesPerPixel": "columns", "Duration": "columns", "Bitrate": "columns", "FrameRate": "columns",
    "WordsPerMegapixel": "columns",
}  # fmt: skip
TITLES = {
    "image": "Images: shape and integrity", "appearance": "Images: what they look like", "video": "Videos",
    "rules": "Text: the published rules", "text": "Text: words and characters", "quality": "Text: gibberish, boilerplate, surprise",
    "language": "Text: language", "caption": "Captions", "answers": "Answers of models", "conversation": "Conversations",
    "alignment": "Images and text together", "aesthetic": "Aesthetics", "safety": "Safety", "held_out": "Held-out samples",
}  # fmt: skip


def page() -> str:
    """The whole page."""
    filters = filter_classes()
    by_module = {
        module: [f for f in filters if _module(f) == module]
        for module in [*TITLES, *sorted({_module(f) for f in filters})]
    }
    parts = [HEAD, "## Filters\n", _table(filters)]
    for module, kinds in by_module.items():
        if kinds:
            parts.append(f"### {TITLES.get(module, module.replace('_', ' ').capitalize())}\n")
            parts += [_entry(kind) for kind in kinds]
    for title, package, base in (
        ("Transforms", transforms, Transform),
        ("Selects", select, Select),
        ("Sources", sources, Source),
    ):
        parts.append(f"## {title}\n")
        parts += [_entry(kind) for kind in _exported(package, base)]
    return "\n".join(parts)


def cost(kind: type[Filter]) -> str:
    """Its cost class."""
    return EXCEPTIONS.get(kind.__name__) or COSTS[_module(kind)]


def _module(kind: type[Operator]) -> str:
    return kind.__module__.rpartition(".")[2]


def _exported(package: Any, base: type[Operator]) -> list[type[Operator]]:
    values = (getattr(package, name) for name in sorted(package.__all__))
    return [value for value in values if isinstance(value, type) and issubclass(value, base)]


def _table(filters: Iterable[type[Filter]]) -> str:
    rows = ["| filter | measures | default bounds | cost |", "|---|---|---|---|"]
    for kind in sorted(filters, key=lambda kind: kind.__name__):
        first = (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
        rows.append(f"| [{kind.__name__}](#{kind.__name__.lower()}) | {first} | {_bounds(kind)} | {cost(kind)} |")
    return "\n".join(rows) + "\n"


def _bounds(kind: type[Filter]) -> str:
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    low, high = (None if defaults[end] is dataclasses.MISSING else defaults[end] for end in ("low", "high"))
    if low is None and high is None:
        return "none"
    return f"{'' if low is None else f'{low:g}'} … {'' if high is None else f'{high:g}'}".strip()


def _entry(kind: type[Operator]) -> str:
    settings = ", ".join(_setting(field) for field in dataclasses.fields(kind) if field.init)
    return f"#### {kind.__name__}\n\n`{kind.__name__}({settings})`\n\n{_reflowed(inspect.getdoc(kind) or '')}\n"


def _setting(field: "dataclasses.Field[Any]") -> str:
    if field.default is not dataclasses.MISSING:
        return f"{field.name}={field.default!r}"
    return f"{field.name}=…" if field.default_factory is not dataclasses.MISSING else field.name


def _reflowed(docstring: str) -> str:
    """A docstring as Markdown: section heads in bold, tag look-alikes as text."""
    lines = [f"**{line}**" if line in ("Raises:", "Args:", "Returns:") else line for line in docstring.split("\n")]
    return "\n".join(line.replace("<", "&lt;") if "`" not in line else line for line in lines)


def main() -> int:
    """Write the page, or say whether it is current."""
    text = page()
    if "--check" in sys.argv[1:]:
        if PAGE.read_text(encoding="utf-8") == text:
            return 0
        print(f"{PAGE}: not current: run python docs/operators.py", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
