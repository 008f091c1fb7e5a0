"""Loader: samples and images per second of the trainer's loader beside the webdataset library, from the same shards.

    python benchmarks/loader.py --shards OUT [--rounds 3] [--copies 4] [--json FILE]

bytes      every sample's encoded members, one process. Ours: in a plan's shuffled order, by the index. webdataset: in the
           order of the tar, which is the fastest it has.
decoded    pictures as RGB pixels, two loader processes each. webdataset: `.decode("rgb8")`. Ours: the same pictures by
           the trainer's reader and decoder.
trained on the same with what training needs of them: ours is the trainer's own loader, whole packs of tokens and uint8
           patches; webdataset decodes to RGB and encodes with our processor, one sample at a time.

Rates are per second of CPU over all processes, since other work on a machine disturbs the wall clock; rounds are taken in
turn; the ratio is of medians. `--copies` repeats the shards, so that several processes have work.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from model import Processor  # noqa: E402
from model.config import ModelConfig  # noqa: E402
from model.frames import decode_image  # noqa: E402
from trainer.dataset import Dataset, open_shards  # noqa: E402
from trainer.encode import StageEncoder  # noqa: E402
from trainer.flops import FlopModel  # noqa: E402
from trainer.loader import PackReader, load_packs  # noqa: E402
from trainer.plan import make_plan  # noqa: E402
from trainer.shard_file import open_shard  # noqa: E402
from trainer.stages import STAGES  # noqa: E402

WORKERS = 2
PICTURES = 16  # samples sent together
STAGE = replace(STAGES["stage2"], pack_tokens=4096, pack_patches=16384)


class Pictures(torch.utils.data.IterableDataset):
    """Our side of `decoded`: every picture of a share of the samples, in shuffled order, as RGB pixels; sent as our loader
    sends packs, many in one tensor.
    """

    def __init__(self, dataset: Dataset, order: np.ndarray) -> None:
        self.dataset = dataset
        self.order = order

    def __iter__(self) -> Iterator[tuple[list[tuple[int, ...]], torch.Tensor]]:
        info = torch.utils.data.get_worker_info()
        mine = self.order if info is None else self.order[info.id :: info.num_workers]
        for samples in np.array_split(mine, max(1, len(mine) // PICTURES)):
            stored = [
                open_shard(self.dataset.shards[self.dataset.shard[i]]).read(int(self.dataset.row[i])) for i in samples
            ]
            pixels = [
                decode_image(data)
                for one in stored
                for medium, data in zip(one.fields["media"], one.media, strict=True)
                if medium["kind"] == "image"
            ]
            if pixels:
                yield [one.shape for one in pixels], torch.from_numpy(np.concatenate([one.ravel() for one in pixels]))


def picture_names(sample: dict[str, Any]) -> list[str]:
    """Names of a webdataset sample's pictures in order: members are {number}.{ending}."""
    return [name for name in sample if name.rpartition(".")[2] in ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tiff")]


def decoded_only(sample: dict[str, Any]) -> list[torch.Tensor]:
    return [torch.from_numpy(sample[name]) for name in picture_names(sample)]


class Encode:
    """webdataset's side of `trained on`: one sample with decoded pictures to tokens and patches."""

    def __init__(self) -> None:
        self.processor = replace(Processor.tiny(), rules=STAGE.rules)

    def __call__(self, sample: dict[str, Any]) -> tuple[int, list[torch.Tensor]]:
        fields = sample["json"]
        pictures = [sample[name] for name in picture_names(sample)]
        encoded = self.processor(
            fields["turns"], images=pictures, kinds=[m["kind"] for m in fields["media"]], seed=fields["id"]
        )
        parts = [torch.from_numpy(part) for part in (encoded.tokens, encoded.labels, encoded.patches, encoded.keep)]
        return len(pictures), parts


def no_video(sample: dict[str, Any]) -> bool:
    return not any(name.rpartition(".")[2] in ("mp4", "webm", "mkv", "avi", "mov", "gif") for name in sample)


def webdataset_of(shards: list[str], *stages: Callable[[Any], Any]) -> Any:
    import webdataset

    return webdataset.DataPipeline(webdataset.SimpleShardList(shards), webdataset.split_by_worker, *stages)


def peers(shards: list[str]) -> dict[str, Callable[[], int]]:
    """How webdataset does each of them; every one gives what it counted."""
    import webdataset as wds

    def plain() -> int:
        return sum(1 for _ in wds.WebDataset(shards, shardshuffle=False))

    def loaded(finish: Any) -> Any:
        stages = (wds.tarfile_to_samples(), wds.select(no_video), wds.decode("rgb8"), wds.map(finish))
        return wds.WebLoader(webdataset_of(shards, *stages), num_workers=WORKERS, batch_size=None)

    return {
        "bytes": plain,
        "decoded": lambda: sum(len(pictures) for pictures in loaded(decoded_only)),
        "trained on": lambda: sum(number for number, _ in loaded(Encode())),
    }


def ours(dataset: Dataset) -> dict[str, Callable[[], int]]:
    plan = make_plan(dataset, STAGE, FlopModel(config=ModelConfig.preset("tiny"), trains=()), seed=0, epoch=0)
    order = np.random.default_rng(0).permutation(len(dataset))
    still = order[[not is_video for is_video in _videos(dataset)[order]]]
    shards = [open_shard(path) for path in dataset.shards]

    def plain() -> int:
        for sample in order:
            shards[dataset.shard[sample]].members(int(dataset.row[sample]))
        return len(order)

    def decoded() -> int:
        loader = torch.utils.data.DataLoader(Pictures(dataset, still), num_workers=WORKERS, batch_size=None)
        return sum(len(shapes) for shapes, _ in loader)

    def packs() -> int:
        reader = PackReader(plan, StageEncoder(Processor.tiny(), STAGE.rules))
        loaded = load_packs(reader, range(plan.num_packs), workers=WORKERS)
        return sum(sum(grid.frames == 1 for grid, _ in one.batch.media) for one in loaded)

    return {"bytes": plain, "decoded": decoded, "trained on": packs}


def _videos(dataset: Dataset) -> np.ndarray:
    """Which samples hold a clip, which only the packs of `trained on` are spared nothing of."""
    from curation.shards import index_path, read_index

    flags = [
        any(medium["kind"] == "video" for medium in media or ())
        for shard in dataset.shards
        for media in read_index(index_path(shard))["media"].to_pylist()
    ]
    return np.array(flags)


def cpu_seconds() -> float:
    """Of this process and of the loader processes that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, help="a finished dataset with pictures")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nothing writes to it
    if options.shards is None:
        print("loader: needs --shards OUT, a dataset that vl3-curate wrote; nothing measured")
        return
    dataset = open_shards([options.shards] * options.copies, STAGE.rules)
    sides = {"ours": ours(dataset), "webdataset": peers([str(path) for path in dataset.shards])}
    figures: dict[str, dict[str, float]] = {}
    for what in ("bytes", "decoded", "trained on"):
        rates: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(options.rounds):
            for side, ways in sides.items():
                started = cpu_seconds()
                count = ways[what]()
                rates[side].append(count / (cpu_seconds() - started))
        medians = {side: statistics.median(values) for side, values in rates.items()}
        figures[what] = {**medians, "ratio": medians["ours"] / medians["webdataset"]}
        unit = "samples/s" if what == "bytes" else "images/s"
        print(
            f"{what:<11} ours {medians['ours']:10,.0f}  webdataset {medians['webdataset']:10,.0f} {unit} of CPU  "
            f"ratio {figures[what]['ratio']:.2f}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
