"""Closed loop: a small model curates a noisy corpus as captioner and encoder, and learns from what it curated.

    python -m examples.closed_loop DIR [--samples 600] [--steps 60] [--seeds 0 1 2]
    vl3-curate run examples/closed_loop.py:curated --data DATA --out OUT      (or :filtered, :uncurated)

Most pictures of the corpus come with a wrong caption, noise, or nothing to see. Curated: every picture that decodes is described
anew by the captioner, and stays if the encoder finds that its new caption fits. Uncurated: everything that can be trained on, as it
is. Both then train the same model further for as many steps, and describe pictures that nobody has seen.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from curation.filters import AspectRatio, CaptionGain, Decodable, ImageTextSimilarity, ShortSide, Words
from curation.neural import Caption, EncoderSpec, OwnModel, Request
from curation.neural.prompts import PICTURE
from curation.select import ExactDedup
from curation.sources import ParquetSource
from curation.sources.synthetic import scenes, write_synthetic
from curation.sources.synthetic.facts import shares
from curation.transforms import NormalizeTurns, Recaption
from pipelines.recipe import Branch, Recipe, branch

CAPTIONER = OwnModel(path="shipped:captioner", batch=50)
ENCODER = EncoderSpec.shipped()
RATES = {"language": 3e-4, "projector": 3e-4, "vision": 1e-4}  # a tenth of those from nothing: what is known is to stay
NOISE = 0.8  # share of the samples that something is wrong with
# Least cosine of a picture and its caption: of right ones 1 % lie below 0.75, of swapped ones 1 % above 0.56.
FIT = 0.65

_PICTURES = (NormalizeTurns(), AspectRatio(high=3.0), ShortSide(low=56), Decodable())


def _source(data: str) -> ParquetSource:
    return ParquetSource(f"{data}/image_text-*.parquet", texts="texts", id="id", licence="license", url="source_url")


def uncurated(data: str) -> Recipe:
    """All that decodes and has any caption."""
    return _recipe(branch("image_text", _source(data), NormalizeTurns(), Decodable()))


def filtered(data: str) -> Recipe:
    """Pictures whose own caption fits."""
    fits = ImageTextSimilarity(encoder=ENCODER, low=FIT)
    return _recipe(branch("image_text", _source(data), Words(low=3), *_PICTURES, fits))


def curated(data: str) -> Recipe:
    """Pictures described anew, where the description fits; what that gained is measured."""
    described = Recaption(captioner=CAPTIONER, prompt=PICTURE)
    fits, gain = ImageTextSimilarity(encoder=ENCODER, low=FIT), CaptionGain(encoder=ENCODER)
    return _recipe(branch("image_text", _source(data), *_PICTURES, ExactDedup(by="bytes"), described, fits, gain))


def _recipe(images: Branch) -> Recipe:
    return Recipe(stage="stage2", branches=(images,), max_failures=1.0)  # broken files are part of the noise


def describe(drawn: Sequence[scenes.Scene], spec: OwnModel) -> list[str]:
    """What a captioner says of each scene, asked as Recaption asks."""
    pictures = [scenes.encode_jpeg(scenes.draw_scene(scene)) for scene in drawn]
    requests = [
        Request(text=PICTURE.text, media=(("image", "jpeg", data),), max_tokens=PICTURE.max_tokens) for data in pictures
    ]
    texts = [""] * len(drawn)
    for number, answer in spec.load().answers(requests, beat=lambda _: None, counts=Counter()):
        texts[number] = answer.text if isinstance(answer, Caption) else ""
    return texts


def unseen(count: int, seed: int) -> list[scenes.Scene]:
    """Small scenes that no corpus holds but by chance."""
    rng = random.Random(f"unseen scenes {seed}")
    return [scenes.make_scene(rng, scenes.SMALL) for _ in range(count)]


def close(work: Path, *, samples: int, steps: int, seed: int, held_out: int) -> dict[str, dict[str, float]]:
    """Go round once; what is stated rightly of unseen scenes: at the start, and after each of the two trainings."""
    from pipelines.plan import make_plan
    from pipelines.run import run
    from trainer.train import Settings, train

    data = work / "data"
    write_synthetic(str(data), samples=samples, seed=seed, defects=NOISE, small=True, shares={"image_text": 1.0})
    drawn = unseen(held_out, seed)
    found = {"start": shares(drawn, describe(drawn, CAPTIONER))}
    for recipe in (uncurated, curated):
        name = recipe.__name__
        run(make_plan(recipe(str(data)), work / name, data=str(data)), workers=0, quiet=True)
        trained = Settings(
            stage="stage4",
            shards=(work / name,),
            out=work / f"run-{name}",
            init=str(CAPTIONER.directory),
            steps=steps,
            seed=seed,
            changes={"rates": RATES},
        )
        train(trained)
        found[name] = shares(drawn, describe(drawn, OwnModel(path=str(trained.out / "model"), batch=CAPTIONER.batch)))
    return found


def main() -> None:
    """Go round with some seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--samples", type=int, default=600)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--held-out", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    margins = []
    for seed in options.seeds:
        found = close(
            options.directory / f"seed{seed}",
            samples=options.samples,
            steps=options.steps,
            seed=seed,
            held_out=options.held_out,
        )
        margins.append(found["curated"]["whole"] - found["uncurated"]["whole"])
        for name, kinds in found.items():
            print(
                f"seed {seed}  {name:<10}" + "".join(f"  {kind} {share:.1%}" for kind, share in kinds.items()),
                flush=True,
            )
    print(f"margin of whole captions: mean {statistics.mean(margins):+.1%}, least {min(margins):+.1%}")


if __name__ == "__main__":
    main()
