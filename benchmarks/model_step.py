"""Model step: one training step of ours and of transformers' port with padding, same weights, same samples.

    python benchmarks/model_step.py                 memory, then speed, for samples of mixed and of equal length
    python benchmarks/model_step.py --json OUT.json

Speed: rounds of both in turn in one process, one thread, the median round; tokens are real ones, never padding. Memory:
each side takes one step in a process of its own; the growth over the loaded model is what is compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SIDES = ("ours", "port")
LENGTHS = ("mixed", "equal")
SPEED_TOKENS, SPEED_PATCHES = 8192, 2048
MEMORY_TOKENS, MEMORY_PATCHES = 16384, 4096
SHORTEST, LONGEST = 256, 2048  # tokens of a sample of mixed length, uniform between
SUPERVISED = 0.5  # share of text tokens


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image and text; `rows x columns` patches are as many visual tokens (merge 1)."""

    tokens: Any
    labels: Any
    patches: Any
    grid: tuple[int, int, int]


def sample_lengths(kind: str, total: int) -> list[int]:
    """Lengths that add up to `total` tokens."""
    import random

    if kind == "equal":
        return [1024] * (total // 1024)
    rng = random.Random(0)
    lengths: list[int] = []
    while total - sum(lengths) > LONGEST:
        lengths.append(rng.randint(SHORTEST, LONGEST))
    return [*lengths, total - sum(lengths)]


def make_samples(kind: str, total: int, patches: int, config: Any) -> list[Sample]:
    """Samples with an image each, patches in proportion to the tokens."""
    import torch

    generator = torch.Generator().manual_seed(0)
    samples = []
    for length in sample_lengths(kind, total):
        columns = 8
        rows = max(1, round(length * patches / total / columns))
        visual = rows * columns
        tokens = torch.randint(300, 4000, (length,), generator=generator)
        tokens[4 : 4 + visual] = config.image_token_id
        chosen = (torch.rand(length, generator=generator) < SUPERVISED) & (tokens != config.image_token_id)
        samples.append(
            Sample(
                tokens=tokens,
                labels=torch.where(chosen, tokens, -100),
                patches=torch.rand(visual, 588, generator=generator) * 2 - 1,
                grid=(1, rows, columns),
            )
        )
    return samples


def our_step(model: Any, samples: list[Sample]) -> Callable[[], float]:
    """Forward and backward over one pack."""
    import torch

    from model.batch import PackedBatch

    batch = PackedBatch.of(
        tokens=torch.cat([sample.tokens for sample in samples]),
        labels=torch.cat([sample.labels for sample in samples]),
        sequence_lengths=[len(sample.tokens) for sample in samples],
        patches=torch.cat([sample.patches for sample in samples]),
        grids=torch.tensor([sample.grid for sample in samples]),
        merges=torch.ones(len(samples), dtype=torch.int64),
        keep=torch.ones(sum(len(sample.patches) for sample in samples), dtype=torch.bool),
    )

    def step() -> float:
        total, count = model.loss(batch)
        (total / count).backward()
        model.zero_grad()
        return float(total.detach() / count)

    return step


def port_step(model: Any, samples: list[Sample]) -> Callable[[], float]:
    """Forward and backward over one batch, padded on the right to the longest sample."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    tokens = pad_sequence([sample.tokens for sample in samples], batch_first=True)
    inputs = {
        "input_ids": tokens,
        "attention_mask": pad_sequence([torch.ones_like(sample.tokens) for sample in samples], batch_first=True),
        "labels": pad_sequence([sample.labels for sample in samples], batch_first=True, padding_value=-100),
        "pixel_values": torch.cat([sample.patches for sample in samples]),
        "image_grid_thw": torch.tensor([sample.grid for sample in samples]),
        "image_merge_sizes": torch.ones(len(samples), dtype=torch.int64),
    }

    def step() -> float:
        loss = model(**inputs, use_cache=False).loss
        loss.backward()
        model.zero_grad()
        return float(loss.detach())

    return step


def build(side: str) -> tuple[Any, Callable[[Any, list[Sample]], Callable[[], float]], Any]:
    """Model, step maker and config of one side; both sides have the same weights."""
    import torch

    from model.config import ModelConfig
    from model.videollama3 import VideoLLaMA3

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = ModelConfig.preset("tiny")
    ours = VideoLLaMA3(config)
    if side == "ours":
        return ours, our_step, config
    from model.torchvision_repair import repair_torchvision

    repair_torchvision()
    from transformers import VideoLlama3Config, VideoLlama3ForConditionalGeneration

    settings = VideoLlama3Config(**config.to_port(dtype="float32"))
    port = VideoLlama3ForConditionalGeneration._from_config(settings, attn_implementation="sdpa")
    port.load_state_dict(ours.state_dict(), strict=False)
    port.tie_weights()
    return port.train(), port_step, config


def measure_speed(kind: str, rounds: int) -> dict[str, float]:
    """Median seconds of a step for both sides, in turn, and how far their losses are apart."""
    steps, losses = {}, {}
    for side in SIDES:
        model, make, config = build(side)
        samples = make_samples(kind, SPEED_TOKENS, SPEED_PATCHES, config)
        steps[side] = make(model, samples)
        losses[side] = steps[side]()
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side in SIDES:
            start = time.perf_counter()
            steps[side]()
            seconds[side].append(time.perf_counter() - start)
    lengths = sample_lengths(kind, SPEED_TOKENS)
    rates = {side: SPEED_TOKENS / statistics.median(seconds[side]) for side in SIDES}
    return {
        "fill": sum(lengths) / (len(lengths) * max(lengths)),
        **{f"{side}_loss": losses[side] for side in SIDES},
        "ours_tokens_per_second": rates["ours"],
        "port_tokens_per_second": rates["port"],
        "ratio": rates["ours"] / rates["port"],
    }


def measure_memory(kind: str) -> dict[str, float]:
    """Peak growth of resident memory in one step, in MiB, each side in its own process."""
    grown = {}
    for side in SIDES:
        command = [sys.executable, __file__, "--child", side, "--lengths", kind]
        grown[side] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {f"{side}_{name}": value for side, values in grown.items() for name, value in values.items()} | {
        "ratio": grown["ours"]["grown_mib"] / grown["port"]["grown_mib"]
    }


def child(side: str, kind: str) -> dict[str, float]:
    """One step; resident memory before it and its high-water mark, from the kernel (Linux)."""
    model, make, config = build(side)
    step = make(model, make_samples(kind, MEMORY_TOKENS, MEMORY_PATCHES, config))
    before = _resident("VmRSS")
    step()
    peak = _resident("VmHWM")
    return {"peak_mib": peak, "grown_mib": peak - before}


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--child", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--lengths", choices=LENGTHS, default="mixed", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child, options.lengths)))
        return
    figures = {kind: {"memory": measure_memory(kind)} for kind in LENGTHS}  # before torch fills this process
    for kind in LENGTHS:
        figures[kind]["speed"] = measure_speed(kind, options.rounds)
    for kind, parts in figures.items():
        speed, memory = parts["speed"], parts["memory"]
        print(
            f"{kind:6} fill {speed['fill']:4.0%}   tokens/s ours {speed['ours_tokens_per_second']:7,.0f}  "
            f"port {speed['port_tokens_per_second']:7,.0f}  ratio {speed['ratio']:.2f}   "
            f"memory of a step, MiB: ours {memory['ours_grown_mib']:7,.0f}  port {memory['port_grown_mib']:7,.0f}  "
            f"ratio {memory['ratio']:.2f}   loss ours {speed['ours_loss']:.6f}  port {speed['port_loss']:.6f}"
        )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
