"""Embedding photos with ViT-B-32 (random weights): ours beside a bare open_clip loop, same pictures and batch, in one run.

    python benchmarks/embedding.py --images 'DIR/image_text-*.parquet' --count 1000

Three loops over the same encoded pictures, in turns of `--chunk` pictures, so that other load meets all alike:
`bare` decodes, preprocesses and infers one batch after the other, as
open_clip's README does; `inference` infers on tensors that are ready, so it shows what hiding the decode could reach at best;
`ours` is what a filter does with a batch of samples (decode, embed, keep).
"""

from __future__ import annotations

import argparse
import glob
import io
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def photos(pattern: str, count: int) -> list[bytes]:
    """Encoded pictures: the first of the corpus, or synthetic scenes."""
    if not pattern:
        from curation.sources.synthetic import scenes

        rng = random.Random(0)
        return [scenes.encode_jpeg(scenes.draw_scene(scenes.make_scene(rng))) for _ in range(count)]
    import pyarrow.parquet as pq

    found: list[bytes] = []
    for path in sorted(glob.glob(pattern)):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=64, columns=["image"]):
            for cell in batch.column(0):
                value = cell.as_py()
                found.append(value["bytes"] if isinstance(value, dict) else value)
                if len(found) == count:
                    return found
    return found


def bare_loop(model: Any, preprocess: Any, data: list[bytes], batch: int) -> np.ndarray:
    """Decode, preprocess, infer."""
    import torch
    from PIL import Image

    rows = []
    with torch.inference_mode():
        for start in range(0, len(data), batch):
            images = [preprocess(Image.open(io.BytesIO(item)).convert("RGB")) for item in data[start : start + batch]]
            rows.append(model.encode_image(torch.stack(images), normalize=True))
    return torch.cat(rows).numpy()


def ready_tensors(preprocess: Any, data: list[bytes]) -> Any:
    """Everything preprocessed, in half precision to fit."""
    import torch
    from PIL import Image

    return torch.stack([preprocess(Image.open(io.BytesIO(item)).convert("RGB")).half() for item in data])


def inference_loop(model: Any, tensors: Any, batch: int) -> np.ndarray:
    """Infer only."""
    import torch

    with torch.inference_mode():
        return torch.cat([model.encode_image(t.float(), normalize=True) for t in tensors.split(batch)]).numpy()


def our_loop(spec: Any, data: list[bytes]) -> np.ndarray:
    """What a filter does, on batches as large as a pass gives."""
    from curation.batch import Batch, batches
    from curation.media.probe import probe_media
    from curation.neural import media_embeddings
    from curation.sample import Media, Origin, caption_turns, make_sample

    def samples() -> Any:
        for number, item in enumerate(data):
            origin = Origin(source="bench", locator=str(number), name=str(number))
            media = probe_media(Media(kind="image", data=item))
            yield make_sample(origin, caption_turns("a photo"), [media])

    return np.concatenate(
        [media_embeddings(Batch(group), spec) for group in batches(samples(), size=256, group=spec.batch)]
    )


def timed(work: Callable[[], np.ndarray]) -> tuple[float, float, np.ndarray]:
    """Wall and CPU seconds, and the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="", help="Parquet files with an `image` column (default: synthetic scenes)")
    parser.add_argument("--count", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--chunk", type=int, default=250, help="pictures that each loop takes in its turn")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--arch", default="ViT-B-32")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    import torch

    from curation.neural import EncoderSpec
    from model.torchvision_repair import repair_torchvision

    repair_torchvision()
    import open_clip

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    data = photos(options.images, options.count)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "random.pt"
        model, _, preprocess = open_clip.create_model_and_transforms(options.arch)
        torch.save(model.state_dict(), checkpoint)
        spec = EncoderSpec(model=options.arch, pretrained=str(checkpoint), batch=options.batch)
        spec.load()
        model.eval()
        tensors = ready_tensors(preprocess, data)
        loops: dict[str, Callable[[int], np.ndarray]] = {
            "bare": lambda at: bare_loop(model, preprocess, data[at : at + options.chunk], options.batch),
            "inference": lambda at: inference_loop(model, tensors[at : at + options.chunk], options.batch),
            "ours": lambda at: our_loop(spec, data[at : at + options.chunk]),
        }
        chunks: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
        cosines: list[float] = []
        for _ in range(options.rounds):
            for at in range(0, len(data), options.chunk):
                found = {}
                for name, loop in loops.items():
                    wall, cpu, found[name] = timed(lambda loop=loop, at=at: loop(at))
                    chunks[name].append((wall, cpu))
                cosines.append(float((found["bare"] * found["ours"].astype(np.float32)).sum(axis=1).min()))
    report(chunks, cosines, len(data) * options.rounds)
    if options.json:
        options.json.write_text(json.dumps({"chunks": chunks, "cosine": min(cosines)}, indent=1))


def report(chunks: dict[str, list[tuple[float, float]]], cosines: list[float], pictures: int) -> None:
    """Totals, and the median over chunks of each loop's time over the bare loop's time on the same chunk."""
    for name, times in chunks.items():
        wall, cpu = (sum(column) for column in zip(*times, strict=True))
        ratios = [
            statistics.median(mine[i] / bare[i] for mine, bare in zip(times, chunks["bare"], strict=True))
            for i in (0, 1)
        ]
        print(
            f"{name:<10} {wall:8.1f} s  {pictures / wall:6.1f} pictures/s  {cpu:8.1f} s CPU  "
            f"x {ratios[0]:.3f} of bare (wall), x {ratios[1]:.3f} (CPU)"
        )
    print(f"smallest cosine of ours and bare over {pictures:,} pictures: {min(cosines):.5f}")


if __name__ == "__main__":
    main()
