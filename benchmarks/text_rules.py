"""The published text rules: ours beside datatrove's, same texts, one run: verdicts compared one by one, documents per second per core.

    python benchmarks/text_rules.py --texts 'DIR/text-*.parquet' --peer-python PEER/bin/python [--rounds 3] [--limit N]

Without --texts, seeded synthetic documents are used. PEER is a virtual environment with `pip install
"datatrove[processing,io]==0.10.1" spacy pyarrow`; without it only ours is run. Rules: Gopher quality, Gopher repetition, C4, FineWeb, each
with its authors' bounds, each on the text as it is. Both sides run every rule on every document, one process, one thread; datatrove may
reuse its words between rules, as it does in a pipeline. Time is CPU time without start-up and compilation; rounds take turns. Ours
includes taking the texts out of samples and all of a batch's bookkeeping.
"""

import argparse
import glob
import json
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

RULES = ("gopher_quality", "gopher_repetition", "fineweb", "c4")


def read_texts(patterns: list[str], limit: int) -> list[str]:
    files = [file for pattern in patterns for file in sorted(glob.glob(pattern))]
    texts = [text for file in files for text in pq.read_table(file, columns=["text"])["text"].to_pylist()]
    return texts[:: max(1, len(texts) // limit)] if limit else texts


def synthetic_texts(folder: str) -> str:
    from curation.sources.synthetic import write_synthetic

    write_synthetic(folder, samples=5000, seed=0, defects=0.0)
    lines = Path(folder, "text.jsonl").read_text(encoding="utf-8").splitlines()
    pq.write_table(pa.table({"text": [json.loads(line)["text"] for line in lines]}), f"{folder}/texts.parquet")
    return f"{folder}/texts.parquet"


def peer(texts: list[str]) -> dict:
    """datatrove's verdicts and CPU seconds, in its own interpreter."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    filters = dict(
        zip(
            RULES,
            (GopherQualityFilter(), GopherRepetitionFilter(), FineWebQualityFilter(), C4QualityFilter()),
            strict=True,
        )
    )
    for rule in filters.values():
        rule.filter(Document(text="Warm up. " * 60, id=""))
    verdicts = {name: [] for name in RULES}
    start = time.process_time()
    for number, text in enumerate(texts):
        for name, rule in filters.items():
            verdict = rule.filter(Document(text=text, id=str(number)))
            verdicts[name].append("" if verdict is True else verdict[1])
    return {"seconds": time.process_time() - start, "verdicts": verdicts}


def ours(texts: list[str]) -> dict:
    """Our verdicts: the first rule of each set that drops the text; and CPU seconds."""
    from curation.batch import Batch, batches
    from curation.filters import C4, FINEWEB, GOPHER_QUALITY, GOPHER_REPETITION
    from curation.sample import Origin, document_turns, make_sample
    from curation.text.statistics import warm_up

    warm_up()
    origin = Origin(source="texts", locator="", name="")
    samples = [make_sample(origin, document_turns(text)) for text in texts]
    sets = dict(zip(RULES, (GOPHER_QUALITY, GOPHER_REPETITION, FINEWEB, C4), strict=True))
    verdicts = {name: [] for name in RULES}
    start = time.process_time()
    for group in batches(samples):
        batch = Batch(group)
        for name, rules in sets.items():
            found = [""] * len(batch)
            for rule in rules:
                for index, value in enumerate(rule.measure(batch).to_list()):
                    inside = value == value and (rule.low or value) <= value <= (
                        value if rule.high is None else rule.high
                    )
                    if not inside and not found[index]:
                        found[index] = rule.name
            verdicts[name] += found
    return {"seconds": time.process_time() - start, "verdicts": verdicts}


def run_peer(python: str, options: argparse.Namespace) -> dict:
    command = [python, __file__, "--as-peer", "--limit", str(options.limit), "--texts", *options.texts]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def compare(texts: list[str], mine: dict, theirs: dict) -> None:
    same_everywhere = [True] * len(texts)
    for name in RULES:
        pairs = list(zip(mine["verdicts"][name], theirs["verdicts"][name], strict=True))
        same = [bool(a) == bool(b) for a, b in pairs]
        same_everywhere = [a and b for a, b in zip(same_everywhere, same, strict=True)]
        kept = sum(not b for _, b in pairs)
        print(
            f"{name:18} same verdict {sum(same):,} of {len(same):,} ({100 * sum(same) / len(same):.3f} %), kept {kept:,}"
        )
        for (a, b), count in Counter(p for p, s in zip(pairs, same, strict=True) if not s).most_common():
            print(f"    {count:5}  ours: {a or 'kept'}  datatrove: {b or 'kept'}")
    print(f"all four rule sets: {100 * sum(same_everywhere) / len(texts):.3f} % the same")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--texts", nargs="+", default=[], help="Parquet files with a column `text`; patterns are expanded"
    )
    parser.add_argument("--peer-python", help="an interpreter that has datatrove and spaCy")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=0, help="about so many texts, spread over the corpus (0: all)")
    parser.add_argument("--as-peer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="text-rules-") as folder:
        options.texts = options.texts or [synthetic_texts(folder)]
        compete(options)


def compete(options: argparse.Namespace) -> None:
    texts = read_texts(options.texts, options.limit)
    if options.as_peer:
        print(json.dumps(peer(texts)))
        return
    print(f"{len(texts):,} texts, {sum(map(len, texts)) / 1e6:.1f} M characters")
    if not options.peer_python or not Path(options.peer_python).exists():
        print("datatrove is not run: give --peer-python an interpreter that has it (see --help)")
    ratios = []
    for _ in range(options.rounds):
        mine = ours(texts)
        line = f"ours {len(texts) / mine['seconds']:8.0f} docs/s/core"
        if options.peer_python:
            theirs = run_peer(options.peer_python, options)
            ratios.append(theirs["seconds"] / mine["seconds"])
            line += f"   datatrove {len(texts) / theirs['seconds']:6.0f} docs/s/core   x {ratios[-1]:.1f}"
        print(line, flush=True)
    if ratios:
        compare(texts, mine, theirs)
        print(f"ours / datatrove: median x {statistics.median(ratios):.1f}")


if __name__ == "__main__":
    main()
