"""Writes what docs say of corpora from the rows themselves: docs/corpora.md, and the tables and examples of docs/recipes.md.

python docs/corpora.py                      the tables
python docs/corpora.py --examples OUT ...   and examples from finished stages, with their pictures in docs/examples/
"""

import argparse
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import av
from PIL import Image

from curation.media.decode import decode_image
from curation.shards import ShardReader, StoredSample, open_dataset
from pipelines.recipes.branches import CHAINS
from pipelines.recipes.corpora import CORPORA, corpora_of
from pipelines.recipes.corpus import Corpus, Use
from pipelines.recipes.stages import TOTALS, stage_shares

DOCS = Path(__file__).parent
TABLES, EXAMPLES, END = "<!-- tables: docs/corpora.py -->", "<!-- examples: docs/corpora.py -->", "<!-- end -->"


def stage_table(stage: str) -> str:
    """The corpora of a stage, with form, rules and share."""
    total = sum(TOTALS[stage].values())
    shares = stage_shares(stage)
    lines = [
        f"### {stage}: {total:.2f} M samples",
        "",
        "| category (millions) | corpus | task form | what becomes of a record | rules of its own | share |",
        "|---|---|---|---|---|---|",
    ]
    for corpus, use in corpora_of(stage):
        own = ", ".join(f"{f.name}(low={f.low:g})" for f in use.filters if f.low is not None)  # pyright: ignore
        told = f" ({use.samples / 1e6:g} M told)" if use.samples else ""
        category = f"{use.category} ({TOTALS[stage][use.category]:g})"
        share = f"{100 * shares[corpus.branch(use)]:.3g} %{told}"
        lines.append(f"| {category} | {corpus.title} | {type(use.form).__name__} | {use.task} | {own} | {share} |")
    return "\n".join(lines)


def rules_table() -> str:
    """What every corpus of a category goes through."""
    lines = ["### Rules of the categories", "", "| category | in order |", "|---|---|"]
    for category, chain in CHAINS.items():
        steps = ["HeldOut(low=0.005)"]
        for operator in (operator for group in chain for operator in group):
            bounds = [f"{b}={v:g}" for b in ("low", "high") if (v := getattr(operator, b, None)) is not None]
            steps.append(f"{operator.name}({', '.join(bounds)})" if bounds else operator.name)
        lines.append(f"| {category} | {' → '.join(steps)} |")
    return "\n".join(lines)


def layouts() -> str:
    """docs/corpora.md."""
    lines = [
        "# Corpora",
        "",
        "Written by `python docs/corpora.py` from `pipelines/recipes/rows/`. A corpus lies in `DATA/<name>/` as described here;",
        "`vl3-curate doctor --data DATA` says which are there, readable, how large, and what is wrong. No hub could be reached when",
        "the rows were written: formats follow the publications, and those marked (?) could not be held against a download.",
        "Names of corpora that nobody published stand for one's own data in their place. Sizes are of the publications, about.",
        "",
        "| `DATA/` | corpus | stages | samples | licence as published | from | lies there as |",
        "|---|---|---|---|---|---|---|",
    ]
    for corpus in CORPORA:
        stages = sorted({stage.removeprefix("stage") for use in corpus.uses for stage in use.stages})
        home = corpus.home if corpus.home.startswith("http") or not corpus.published else f"hub: {corpus.home}"
        layout = corpus.layout.replace("|", "\\|") + ("" if corpus.certain else " (?)")
        facts = (
            f"`{corpus.name}/`",
            corpus.title,
            ", ".join(stages),
            f"{corpus.size:,}",
            corpus.licence or "none stated",
            home,
        )
        lines.append("| " + " | ".join([*facts, layout]) + " |")
    return "\n".join(lines) + "\n"


def examples(outs: list[Path]) -> str:
    """A sample of every task form."""
    found: dict[str, StoredSample] = {}
    for out in outs:
        manifest, shards = open_dataset(out)
        uses = {corpus.branch(use): (corpus, use) for corpus, use in corpora_of(manifest.stage)}
        for shard in shards:
            with ShardReader(shard) as reader:
                for sample in reader:
                    corpus, use = uses[sample.fields["branch"]]
                    for title in titles(corpus, use, sample):
                        found.setdefault(title, sample)
    return "\n".join(example(title, found[title]) for title in sorted(found))


def titles(corpus: Corpus, use: Use, sample: StoredSample) -> Iterator[str]:
    """What a sample is an example of."""
    form = type(use.form).__name__
    if form == "OcrTasks":
        first = sample.fields["turns"][0]["text"].rpartition("\n")[2]
        tasks = {
            "Does": "existence",
            "Where": "localisation",
            "What": "reading",
            "Which": "two images",
            "Find": "all text",
        }
        yield f"OcrTasks, {tasks[first.split(' ')[0]]} ({corpus.title})"
    elif form == "Dialogue":
        kind = sample.fields["media"][0]["kind"] if sample.fields["media"] else "text"
        several = "several images" if len(sample.fields["media"]) > 1 else kind
        yield f"Dialogue, {several}"
    elif form == "Questions":
        yield f"Questions, {'multiple choice' if getattr(use.form, 'choices', '') else 'free'}"
    else:
        yield form


def example(title: str, sample: StoredSample) -> str:
    """A sample as people read it: its pictures, then its turns."""
    lines = [f"#### {title}", ""]
    for number, medium in enumerate(sample.fields["media"]):
        plain = title.split(" (")[0].replace(",", "").replace(" ", "_").lower()
        name = f"{plain}_{number}.jpg"
        shown(sample.media[number], medium["kind"]).save(DOCS / "examples" / name, "JPEG", quality=80)
        lines += [f"![{medium['kind']} {number + 1}](examples/{name})", ""]
    lines.append("```")
    for turn in sample.fields["turns"]:
        time = f" at {turn['time']:g} s" if "time" in turn else ""
        text = turn["text"] if len(turn["text"]) < 500 else turn["text"][:500] + " ..."
        lines.append(f"{turn['role']}{time}: {text}")
    return "\n".join(
        [*lines, "```", f"from `{sample.fields['branch']}`, {sample.fields['origin']['name'].replace('|', '/')}", ""]
    )


def shown(data: bytes, kind: str) -> Image.Image:
    """A picture, or the frames of a clip side by side."""
    if kind == "image":
        return Image.fromarray(decode_image(data))
    with av.open(io.BytesIO(data)) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    strip = frames[:: max(1, len(frames) // 6)][:6]
    whole = Image.new("RGB", (sum(frame.width for frame in strip), strip[0].height))
    for number, frame in enumerate(strip):
        whole.paste(frame, (number * strip[0].width, 0))
    return whole


def replaced(text: str, mark: str, section: str) -> str:
    """The text with what stands behind a mark written anew."""
    head, found, rest = text.partition(mark)
    if not found:
        raise SystemExit(f"docs/recipes.md has no line {mark}")
    return f"{head}{mark}\n{section}\n{END}{rest.partition(END)[2]}"


def tables() -> str:
    """The section of tables in docs/recipes.md."""
    return "\n\n".join([*(stage_table(stage) for stage in TOTALS), rules_table()]) + "\n"


def main(arguments: list[str]) -> None:
    """Write them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", nargs="+", type=Path, default=[])
    options = parser.parse_args(arguments)
    (DOCS / "corpora.md").write_text(layouts())
    recipes = DOCS / "recipes.md"
    text = replaced(recipes.read_text(), TABLES, tables())
    if options.examples:
        text = replaced(text, EXAMPLES, examples(options.examples))
    recipes.write_text(text)


if __name__ == "__main__":
    sys.path.insert(0, str(DOCS.parent))
    main(sys.argv[1:])
