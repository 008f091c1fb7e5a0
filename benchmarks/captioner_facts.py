"""Captioner facts: how much of what the small captioner says of pictures it has never seen is so, by kind of fact.

    python benchmarks/captioner_facts.py [--captioner shipped:captioner] [--scenes 600] [--seeds 0 1 2] [--json FILE]

Pictures are drawn from seeds that no training draws from, encoded as JPEG and captioned by the very call that Recaption makes.
Beside it: chance (the right captions of other pictures), a captioner that knows everything but directions, for which it always says
the commonest, and the same model with random weights.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for examples

from curation.neural import OwnModel  # noqa: E402
from curation.sources.synthetic import scenes  # noqa: E402
from curation.sources.synthetic.facts import KINDS, shares  # noqa: E402
from examples.closed_loop import describe, unseen  # noqa: E402
from model import Processor, VideoLLaMA3  # noqa: E402


def untrained(spec: OwnModel, directory: str) -> OwnModel:
    """The same sizes with random weights."""
    torch.manual_seed(0)
    trained = VideoLLaMA3.from_pretrained(spec.directory)
    VideoLLaMA3(trained.config).save_pretrained(directory, Processor.from_pretrained(spec.directory))
    return OwnModel(path=directory, batch=spec.batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captioner", default="shipped:captioner")
    parser.add_argument("--scenes", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    spec = OwnModel(path=options.captioner, batch=50)
    found: dict[str, list[dict[str, float]]] = {"captioner": [], "chance": [], "one way": [], "untrained": []}
    with tempfile.TemporaryDirectory() as directory:
        random_weights = untrained(spec, directory)
        for seed in options.seeds:
            drawn = unseen(options.scenes, seed)
            began = time.process_time()
            found["captioner"].append(shares(drawn, describe(drawn, spec)))
            print(f"seed {seed}: {len(drawn) / (time.process_time() - began):.0f} captions per CPU-second", flush=True)
            right = [scenes.captions(scene)[0] for scene in drawn]
            found["chance"].append(shares(drawn, [*right[1:], right[0]]))
            found["one way"].append(
                shares(drawn, [text.replace(" is above the ", " is left of the ") for text in right])
            )
            few = drawn[:100]
            found["untrained"].append(shares(few, describe(few, random_weights)))
    print(f"{'':<12}" + "".join(f"{kind:>12}" for kind in KINDS))
    for name, seeds in found.items():
        print(f"{name:<12}" + "".join(f"{sum(one[kind] for one in seeds) / len(seeds):>12.1%}" for kind in KINDS))
        if name == "captioner":
            print(f"{'  least':<12}" + "".join(f"{min(one[kind] for one in seeds):>12.1%}" for kind in KINDS))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
