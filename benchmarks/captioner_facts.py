"""Captioner facts: how much of what the small captioner says of pictures it has never seen is so, by kind of fact.

    python benchmarks/captioner_facts.py [--captioner shipped:captioner] [--scenes 600] [--seeds 0 1 2] [--json FILE]

Pictures are drawn from seeds that no training draws from, encoded as JPEG and captioned by the very call that Recaption makes.
Beside it: chance (the right captions of other pictures) and the same model with random weights.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from curation.neural import Caption, OwnModel, Request
from curation.neural.prompts import PICTURE
from curation.sources.synthetic import scenes
from curation.sources.synthetic.facts import KINDS, shares
from model import Processor, VideoLLaMA3


def unseen(count: int, seed: int) -> list[scenes.Scene]:
    """Small scenes of this seed."""
    rng = random.Random(f"unseen scenes {seed}")
    return [scenes.make_scene(rng, scenes.SMALL) for _ in range(count)]


def captions_of(drawn: Sequence[scenes.Scene], spec: OwnModel) -> list[str]:
    """What the captioner says of each."""
    pictures = [scenes.encode_jpeg(scenes.draw_scene(scene)) for scene in drawn]
    requests = [
        Request(text=PICTURE.text, media=(("image", "jpeg", one),), max_tokens=PICTURE.max_tokens) for one in pictures
    ]
    texts = [""] * len(drawn)
    for number, answer in spec.load().answers(requests, beat=lambda _: None, counts=Counter()):
        texts[number] = answer.text if isinstance(answer, Caption) else ""
    return texts


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
    found: dict[str, list[dict[str, float]]] = {"captioner": [], "chance": [], "untrained": []}
    with tempfile.TemporaryDirectory() as directory:
        random_weights = untrained(spec, directory)
        for seed in options.seeds:
            drawn = unseen(options.scenes, seed)
            began = time.process_time()
            found["captioner"].append(shares(drawn, captions_of(drawn, spec)))
            print(f"seed {seed}: {len(drawn) / (time.process_time() - began):.0f} captions per CPU-second", flush=True)
            right = [scenes.captions(scene)[0] for scene in drawn]
            found["chance"].append(shares(drawn, [*right[1:], right[0]]))
            few = drawn[:100]
            found["untrained"].append(shares(few, captions_of(few, random_weights)))
    print(f"{'':<12}" + "".join(f"{kind:>12}" for kind in KINDS))
    for name, seeds in found.items():
        print(f"{name:<12}" + "".join(f"{sum(one[kind] for one in seeds) / len(seeds):>12.1%}" for kind in KINDS))
        if name == "captioner":
            print(f"{'  least':<12}" + "".join(f"{min(one[kind] for one in seeds):>12.1%}" for kind in KINDS))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
