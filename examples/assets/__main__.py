"""Make the small weights that come along.

python -m examples.assets clip          some 40 minutes on one core
python -m examples.assets aesthetic     a minute; needs the encoder
python -m examples.assets captioner     some 40 minutes on one core; its corpora, shards and runs stay in --work
"""

import argparse
from pathlib import Path

from curation.neural.encoder import ASSETS


def main() -> None:
    """Train one asset, or all in order."""
    parser = argparse.ArgumentParser(prog="python -m examples.assets", description="Train the small weights.")
    parser.add_argument("asset", choices=["clip", "aesthetic", "captioner", "all"])
    parser.add_argument("--out", type=Path, default=ASSETS)
    parser.add_argument("--steps", type=int, default=700, help="of the encoder")
    parser.add_argument("--work", type=Path, default=Path("captioner-training"), help="of the captioner")
    options = parser.parse_args()

    import torch

    from curation.neural import EncoderSpec
    from examples.assets import aesthetic, captioner, clip

    torch.set_num_threads(1)  # the same sums on every machine, as far as torch goes
    options.out.mkdir(parents=True, exist_ok=True)
    if options.asset in ("clip", "all"):
        clip.train(options.out / "clip", clip.Training(steps=options.steps))
    if options.asset in ("aesthetic", "all"):
        aesthetic.fit(EncoderSpec(model=str(options.out / "clip")), options.out / "aesthetic.safetensors")
    if options.asset in ("captioner", "all"):
        captioner.train(options.out / "captioner", options.work.resolve(), captioner.Training())


if __name__ == "__main__":
    main()
