"""Bench: speed of the training step on the present device, by kind of pack, without shards and without loading."""

from __future__ import annotations

import resource
import time
from typing import Any

import torch

from model import ModelConfig, VideoLLaMA3
from model.batch import IGNORED, PATCH_VALUES, PackedBatch
from trainer.errors import UsageError
from trainer.flops import FlopModel, PackCounts
from trainer.loader import LoadedPack
from trainer.metrics import peak_flops
from trainer.optimizer import make_optimizer
from trainer.parallelize import Parallel, parallelize
from trainer.stages import COMPONENTS, PRESETS, Stage, stage_for
from trainer.step import train_step
from trainer.world import join_world

# (frames, rows, columns, merge, share of visual tokens kept, visual tokens of a sequence over all its tokens)
KINDS = {"text": None, "image": (1, 32, 32, 1, 1.0, 0.75), "video": (24, 32, 32, 2, 0.6, 0.9)}


def bench(preset: str, *, steps: int, pack_tokens: int | None, parallel: Parallel) -> list[dict[str, Any]]:
    """Median over `steps` training steps of one pack per rank, after one to warm up; everything trains."""
    if preset not in PRESETS:
        raise UsageError(
            f"bench: model {preset!r} is not one of {', '.join(PRESETS)}: weights do not change speed, so presets do"
        )
    with join_world() as world:
        config = ModelConfig.preset(preset)  # pyright: ignore[reportArgumentType]  # checked above
        stage = stage_for("stage3", width=config.language.hidden)
        model = VideoLLaMA3(config).to(world.device)
        parallelize(model, world, parallel)
        optimizer = make_optimizer(model, stage)
        rows = []
        for kind in KINDS:
            batch = make_pack(config, kind, tokens=pack_tokens or stage.pack_tokens)
            loaded = LoadedPack(
                number=0,
                batch=batch,
                branches=torch.zeros(len(batch.sequence_lengths), dtype=torch.int64),
                keys=("0" * 32,),
                failures=(),
                seconds=0.0,
            )
            seconds = _median_seconds(model, optimizer, loaded, stage, steps, world)
            flops = float(FlopModel(config=config, trains=COMPONENTS).training(count_pack(batch)))
            rows.append(
                {
                    "model": preset,
                    "kind": kind,
                    "device": str(world.device),
                    "ranks": world.size,
                    "tokens": len(batch.tokens),
                    "patches": len(batch.patches),
                    "seconds": seconds,
                    "tokens_per_second": len(batch.tokens) / seconds,
                    "flops": flops,
                    "mfu": flops / seconds / peak_flops(world.device),
                    "memory_bytes": _peak_memory(world.device),
                }
            )
    return rows


def make_pack(config: ModelConfig, kind: str, *, tokens: int) -> PackedBatch:
    """A full pack of sequences of one kind, random tokens and pixels, a quarter of the text (half of it without
    media) supervised.
    """
    random = torch.Generator().manual_seed(0)
    shape = KINDS[kind]
    if shape is None:
        text, visual, patches, frames, merge, rows, columns = min(2048, tokens), 0, 0, 0, 1, 0, 0
    else:
        frames, rows, columns, merge, kept, part = shape
        side = rows if tokens >= 4096 else rows // 4  # small packs hold small media
        rows = columns = side
        frames = frames if tokens >= 4096 else min(frames, 4)
        patches = frames * rows * columns
        visual = int(patches // merge**2 * kept)
        text = max(8, int(visual * (1 - part) / part))
    number = max(1, tokens // (text + visual))
    ids = torch.randint(64, 320, (number, text + visual), generator=random)
    ids[:, 4 : 4 + visual] = config.image_token_id if kind == "image" else config.video_token_id
    labels = torch.full_like(ids, IGNORED)
    supervised = text // 2 if shape is None else text // 4
    labels[:, -supervised:] = ids[:, -supervised:]
    keep = torch.zeros(number, patches // merge**2, dtype=torch.bool)
    keep[:, :visual] = True
    media = number if shape is not None else 0
    return PackedBatch.of(
        tokens=ids.flatten(),
        labels=labels.flatten(),
        sequence_lengths=[text + visual] * number,
        patches=torch.randint(0, 256, (media * patches, PATCH_VALUES), dtype=torch.uint8, generator=random),
        grids=torch.tensor([[frames, rows, columns]] * media, dtype=torch.int64).reshape(media, 3),
        merges=torch.full((media,), merge),
        keep=keep.flatten()[: media * (patches // merge**2)],
    )


def count_pack(batch: PackedBatch) -> PackCounts:
    """What a pack costs."""
    return PackCounts(
        tokens=len(batch.tokens),
        squares=sum(length**2 for length in batch.sequence_lengths),
        loss_tokens=batch.num_supervised,
        patches=len(batch.patches),
        frame_squares=sum(length**2 for length in batch.frame_lengths),
        visual_tokens=len(batch.keep),
    )


def describe_rows(rows: list[dict[str, Any]]) -> str:
    """The table for a terminal."""
    head = f"{'model':<8}{'kind':<8}{'tokens':>10}{'patches':>10}{'s/step':>10}{'tokens/s':>12}{'MFU':>8}{'GiB':>8}"
    return "\n".join(
        [
            head,
            *(
                f"{row['model']:<8}{row['kind']:<8}{row['tokens']:>10,}{row['patches']:>10,}{row['seconds']:>10.3f}"
                f"{row['tokens_per_second']:>12,.0f}{row['mfu']:>8.1%}{row['memory_bytes'] / 2**30:>8.2f}"
                for row in rows
            ),
        ]
    )


def _median_seconds(
    model: VideoLLaMA3, optimizer: Any, loaded: LoadedPack, stage: Stage, steps: int, world: Any
) -> float:
    times = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        train_step(
            model,
            optimizer,
            [loaded],
            planned=loaded.batch.num_supervised * world.size,
            branches=1,
            clip=stage.clip,
            world=world,
        ).read()
        if world.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return sorted(times[1:])[len(times[1:]) // 2]


def _peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU's allocator, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
