"""Train step: training beside transformers' port with its Trainer, from the same samples, weights and sizes.

    python benchmarks/train_step.py [--shards OUT] [--samples 48] [--batches 1 4 8] [--json FILE]

Both train everything of the tiny model with AdamW and clipping, read and decode their samples while they train, in one
process on one thread, and are timed in seconds of CPU from their second step on. Ours: the trainer's plan, loader and
step. Port: VideoLlama3ForConditionalGeneration under transformers.Trainer with a padding collator, at every batch size
asked for (8 is its default; 1 pads nothing, and takes an optimizer step per sample). Tokens are real ones, never padding.
Without `--shards` synthetic ones are curated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from model import Encoded  # noqa: E402
from model.torchvision_repair import repair_torchvision  # noqa: E402
from trainer.dataset import Dataset, open_shards  # noqa: E402
from trainer.encode import StageEncoder  # noqa: E402
from trainer.flops import flop_model  # noqa: E402
from trainer.loader import PackReader, load_packs, step_numbers  # noqa: E402
from trainer.optimizer import make_optimizer, set_trainable  # noqa: E402
from trainer.plan import make_plan  # noqa: E402
from trainer.shard_file import open_shard  # noqa: E402
from trainer.stages import SMALL_STAGES, Stage  # noqa: E402
from trainer.start import fresh_model  # noqa: E402
from trainer.step import train_step  # noqa: E402
from trainer.world import World  # noqa: E402

ALONE = World(rank=0, size=1, device=torch.device("cpu"), mesh=None)


def synthetic(directory: Path) -> Path:
    """Curated synthetic shards of all kinds of samples."""
    command = [sys.executable, "-m", "pipelines"]
    subprocess.run([*command, "synth", str(directory / "data"), "--samples", "300"], check=True, cwd=ROOT)
    run = [*command, "run", "demo", "--data", str(directory / "data"), "--out", str(directory / "out")]
    subprocess.run([*run, "--executor", "local", "--workers", "1"], check=True, cwd=ROOT)
    return directory / "out"


def some(dataset: Dataset, stage: Stage, number: int) -> Dataset:
    """So many samples that fit a pack, drawn by chance; both sides see these and no others."""
    fits = np.flatnonzero(
        (dataset.length <= stage.pack_tokens) & (dataset.patches <= stage.pack_patches) & (dataset.loss_tokens > 0)
    )
    chosen = np.sort(np.random.default_rng(0).permutation(fits)[:number])
    columns = ("shard", "row", "branch", "length", "loss_tokens", "patches", "visual_tokens", "frame_squares", "exact")
    return replace(dataset, **{name: getattr(dataset, name)[chosen] for name in columns})


def ours(dataset: Dataset, stage: Stage) -> dict[str, float]:
    """Tokens per second of CPU over an epoch, without its first step."""
    model, processor = fresh_model("tiny", seed=0)
    set_trainable(model.train(), stage)
    optimizer = make_optimizer(model, stage)
    plan = make_plan(dataset, stage, flop_model(model.config, stage), seed=0, epoch=0)
    reader = PackReader(plan, StageEncoder(processor, stage.rules))
    steps = list(step_numbers(plan, rank=0, world=1, first=0))
    packs = load_packs(reader, [number for _, mine in steps for number in mine], workers=0)
    tokens, started, losses = 0, 0.0, []
    for step, mine in steps:
        loaded = [next(packs) for _ in mine]
        outcome = train_step(
            model, optimizer, loaded, planned=plan.loss_tokens(step), branches=len(dataset.branches),
            clip=stage.clip, world=ALONE,
        ).read()  # fmt: skip
        losses.append(outcome.loss)
        if step:
            tokens += outcome.tokens
        else:
            started = time.process_time()
    return {"tokens_per_second": tokens / (time.process_time() - started), "steps": len(steps), "loss": losses[0]}


class Samples(torch.utils.data.Dataset):
    """What the port's Trainer reads: encoded samples with float pixels, as its processor gives them."""

    def __init__(self, dataset: Dataset, encoder: StageEncoder) -> None:
        self.dataset = dataset
        self.encoder = encoder

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, number: int) -> Encoded:
        shard = self.dataset.shards[self.dataset.shard[number]]
        return self.encoder(open_shard(shard).read(int(self.dataset.row[number])))


def padded(samples: list[Encoded]) -> dict[str, torch.Tensor]:
    """A batch for the port, padded on the right. Pruned visual tokens are named by its compression masks."""
    rows = [torch.from_numpy(sample.tokens) for sample in samples]
    labels = [torch.from_numpy(sample.labels) for sample in samples]
    pad = torch.nn.utils.rnn.pad_sequence
    batch = {
        "input_ids": pad(rows, batch_first=True),
        "attention_mask": pad([torch.ones_like(row) for row in rows], batch_first=True),
        "labels": pad(labels, batch_first=True, padding_value=-100),
    }
    for kind, pixels in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        media = [(sample, i) for sample in samples for i, found in enumerate(sample.kinds) if found == kind]
        if not media:
            continue
        bounds = {id(sample): np.cumsum([0, *sample.grids.prod(axis=1)]) for sample in samples}
        patches = [sample.patches[bounds[id(sample)][i] : bounds[id(sample)][i + 1]] for sample, i in media]
        batch[pixels] = torch.from_numpy(np.concatenate(patches)).float().div(255).sub(0.5).div(0.5)
        batch[f"{kind}_grid_thw"] = torch.tensor(np.stack([sample.grids[i] for sample, i in media]))
        batch[f"{kind}_merge_sizes"] = torch.tensor(np.stack([sample.merges[i] for sample, i in media]))
        if kind == "video":
            masks = []
            for sample, i in media:
                sizes = (sample.grids.prod(axis=1) // sample.merges**2).tolist()
                first = sum(sizes[:i])
                masks.append(sample.keep[first : first + sizes[i]])
            batch["video_compression_mask"] = torch.from_numpy(np.concatenate(masks))
    return batch


def port(dataset: Dataset, stage: Stage, batch: int) -> dict[str, float]:
    """The same of the port under its Trainer at one batch size."""
    repair_torchvision()
    from transformers import Trainer, TrainerCallback, TrainingArguments, VideoLlama3ForConditionalGeneration

    model, processor = fresh_model("tiny", seed=0)
    marks: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append(time.process_time())

    with tempfile.TemporaryDirectory() as place:
        model.save_pretrained(place, processor)
        ported = VideoLlama3ForConditionalGeneration.from_pretrained(place, attn_implementation="sdpa")
        arguments = TrainingArguments(
            output_dir=place, per_device_train_batch_size=batch, num_train_epochs=1, learning_rate=1e-3,
            max_grad_norm=1.0, use_cpu=True, report_to=[], save_strategy="no", logging_strategy="no",
            remove_unused_columns=False, disable_tqdm=True, seed=0,
        )  # fmt: skip
        seen: list[int] = []

        def collate(samples: list[Encoded]) -> dict[str, torch.Tensor]:
            seen.append(sum(len(sample.tokens) for sample in samples))
            return padded(samples)

        samples = Samples(dataset, StageEncoder(processor, stage.rules))
        trainer = Trainer(
            model=ported, args=arguments, train_dataset=samples, data_collator=collate, callbacks=[Clock()]
        )
        trainer.train()
    return {"tokens_per_second": sum(seen[1 : len(marks)]) / (marks[-1] - marks[0]), "steps": len(marks)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, nargs="*", default=[])
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--stage", default="stage3", choices=list(SMALL_STAGES))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if find_spec("accelerate") is None:
        print(
            "train_step: transformers.Trainer needs accelerate, which vl3 does not: pip install accelerate, or put it on PYTHONPATH"
        )
        return
    with tempfile.TemporaryDirectory() as temporary:
        stage = replace(SMALL_STAGES[options.stage], step_packs=1)
        shards = options.shards or [synthetic(Path(temporary))]
        dataset = some(open_shards(shards, stage.rules), stage, options.samples)
        figures: dict[str, Any] = {"ours": ours(dataset, stage)}
        print(f"ours            {figures['ours']['tokens_per_second']:8,.0f} tokens/s of CPU", flush=True)
        for batch in options.batches:
            figures[f"port, {batch}"] = row = port(dataset, stage, batch)
            print(f"port, batch {batch:<3} {row['tokens_per_second']:8,.0f} tokens/s of CPU", flush=True)
    ratios = {name: figures["ours"]["tokens_per_second"] / row["tokens_per_second"] for name, row in figures.items()}
    figures["ratios"] = {name: ratio for name, ratio in ratios.items() if name != "ours"}
    told = ", ".join(f"{ratio:.2f} x {name}" for name, ratio in figures["ratios"].items())
    print(f"{len(dataset)} samples, {int(dataset.length.sum()):,} tokens: ours is {told}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
