"""Writes the README's tree, one line per file, from the first line of each module's docstring; `--check` only compares."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "curation": "what is done to samples; no Ray, no run directory, no torch at import",
    "pipelines": "where and when; Ray is known in one file",
    "model": "VideoLLaMA3 on one device, packed: no batch dimension, no padding",
    "trainer": "four stages, from shards",
    "charts": "pages and plots that pipelines and trainer share",
}
BEGIN, END = "<!-- tree: python docs/tree.py -->\n```\n", "```\n<!-- end of tree -->\n"
WIDTH = 28


def main() -> int:
    """Rewrite README.md, or say that it is not current."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    wanted = before + BEGIN + tree() + END + after
    if "--check" in sys.argv:
        return int(text != wanted)
    path.write_text(wanted, encoding="utf-8")
    return 0


def tree() -> str:
    """All modules by package and folder."""
    lines = []
    for package, summary in PACKAGES.items():
        lines.append(f"{package + '/':{WIDTH + 2}}{summary}")
        for file in sorted((ROOT / package).rglob("*.py"), key=lambda file: (file.parent.parts, file.name)):
            if not file.name.startswith("__"):
                lines.append(f"  {file.relative_to(ROOT / package)!s:{WIDTH}}{said(file)}")
    return "\n".join(lines) + "\n"


def said(file: Path) -> str:
    """What a module says of itself, without its name."""
    first = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    name, colon, summary = first.partition(": ")
    return (summary if colon and len(name.split()) < 5 else first).rstrip(".")


if __name__ == "__main__":
    sys.exit(main())
