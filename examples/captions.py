"""Captions: what samples of a dataset say, and what they said before a model wrote them anew.    usage: captions.py DIR [NUMBER]"""

import sys
from itertools import chain, islice
from pathlib import Path

from curation.shards import open_dataset
from curation.shards.reader import ShardReader


def main(directory: str, number: str = "6") -> None:
    """Print the first captions that a model wrote, each with the one before."""
    _, shards = open_dataset(Path(directory))
    turns = chain.from_iterable(sample.fields["turns"] for shard in shards for sample in ShardReader(shard))
    written = (turn for turn in turns if turn.get("was") is not None)
    for turn in islice(written, int(number)):
        print(f"was: {turn['was'][:100] or '(nothing)'}\nnow: {turn['text'][:200]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
