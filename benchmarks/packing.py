"""Packing: how full packs are, how evenly ranks are loaded, and how fast both are decided.

    python benchmarks/packing.py [--shards OUT] [--samples 1000000] [--ranks 8 64] [--json FILE]

Samples are those of a finished dataset, repeated with other seeds up to `--samples`; without `--shards` lengths like
those of a mixed corpus are drawn (log-normal texts, pictures, documents, clips). The peers' ways of packing run on the same
lengths: next-fit (one open pack) and first-fit with 8 open packs, the default of torchtitan's loader.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from model.config import ModelConfig  # noqa: E402
from model.geometry import VisualRules  # noqa: E402
from trainer.dataset import Dataset, open_shards  # noqa: E402
from trainer.flops import FlopModel  # noqa: E402
from trainer.packing import pack_windows  # noqa: E402
from trainer.plan import make_plan  # noqa: E402
from trainer.stages import COMPONENTS, STAGES, Stage  # noqa: E402
from trainer.summary import imbalance, summarise  # noqa: E402

FLOPS = FlopModel(config=ModelConfig.preset("2b"), trains=COMPONENTS)


def drawn(number: int) -> Dataset:
    """Lengths of a made-up corpus: 40 % text, 35 % pictures, 20 % documents, 5 % clips."""
    random = np.random.default_rng(0)
    kind = random.choice(4, number, p=[0.4, 0.35, 0.2, 0.05]).astype(np.int16)
    text = np.clip(random.lognormal(5.5, 1.0, number), 8, 16000).astype(np.int64)
    visual = np.select(
        [kind == 0, kind == 1, kind == 2],
        [np.zeros(number), random.integers(200, 1400, number), random.integers(1500, 6000, number)],
        default=random.integers(1000, 9000, number),
    ).astype(np.int64)
    length = np.minimum(np.where(kind == 0, text, visual + np.minimum(text, 400)), 16384)
    patches = np.where(kind == 3, visual * 6, visual)
    return Dataset(
        directories=(),
        shards=tuple(Path(f"{i:06d}.tar") for i in range(number // 5000 + 1)),
        branches=("text", "image", "document", "video"),
        rules=VisualRules(),
        digest="drawn",
        shard=(np.arange(number) // 5000).astype(np.int32),
        row=(np.arange(number) % 5000).astype(np.int32),
        branch=kind,
        length=length,
        loss_tokens=np.maximum(length // 4, 1),
        patches=patches,
        visual_tokens=patches // np.where(kind == 3, 4, 1),
        frame_squares=patches * 1000,
        exact=np.ones(number, bool),
    )


def repeated(dataset: Dataset, number: int) -> Dataset:
    """The dataset over and over, up to so many samples, as if it had so many shards."""
    times = max(1, -(-number // len(dataset)))
    columns = ("row", "branch", "length", "loss_tokens", "patches", "visual_tokens", "frame_squares", "exact")
    shift = np.repeat(np.arange(times) * len(dataset.shards), len(dataset)).astype(np.int32)
    return replace(
        dataset,
        shards=dataset.shards * times,
        shard=np.tile(dataset.shard, times) + shift,
        **{name: np.tile(getattr(dataset, name), times) for name in columns},
    )


def first_fit(tokens: np.ndarray, patches: np.ndarray, stage: Stage, bins: int) -> np.ndarray:
    """Pack numbers by first fit into `bins` open packs; the fullest is closed when none fits. One bin is next-fit."""
    open_packs: list[list[Any]] = []  # [number, tokens, patches]
    packs, made = np.empty(len(tokens), np.int64), 0
    for index, (size, cost) in enumerate(zip(tokens.tolist(), patches.tolist(), strict=True)):
        for one in open_packs:
            if one[1] + size <= stage.pack_tokens and one[2] + cost <= stage.pack_patches:
                break
        else:
            if len(open_packs) == bins:
                open_packs.remove(max(open_packs, key=lambda pack: pack[1]))
            one = [made, 0, 0]
            open_packs.append(one)
            made += 1
        one[1] += size
        one[2] += cost
        packs[index] = one[0]
    return packs


def fill(packs: np.ndarray, tokens: np.ndarray, patches: np.ndarray, stage: Stage) -> float:
    """Mean over packs of the fuller of both limits."""
    return float(
        np.maximum(
            np.bincount(packs, tokens) / stage.pack_tokens, np.bincount(packs, patches) / stage.pack_patches
        ).mean()
    )


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """CPU time, since a shared machine's wall time says little."""
    started = time.process_time()
    return call(), time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, nargs="*", default=[])
    parser.add_argument("--samples", type=int, default=300_000)
    parser.add_argument("--ranks", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--stage", choices=list(STAGES), default="stage2")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    stage, figures = STAGES[options.stage], {}
    found = open_shards(options.shards, stage.rules) if options.shards else drawn(options.samples)
    for name, dataset in {"as it is": found, "repeated": repeated(found, options.samples)}.items():
        for ranks in options.ranks:
            one = replace(stage, step_packs=2 * ranks, alike=ranks)
            plan, seconds = timed(lambda one=one, dataset=dataset: make_plan(dataset, one, FLOPS, seed=0, epoch=0))
            summary = summarise([plan], ranks)
            chance = replace(plan, flops=np.random.default_rng(0).permutation(plan.flops))
            figures[f"{name}, {ranks} ranks"] = row = {
                "samples": len(plan.samples), "packs": plan.num_packs, "fill": summary["fill"],
                "imbalance": summary["flop_imbalance"], "imbalance of chance": imbalance(chance, ranks),
                "plan, samples/s": len(plan.samples) / seconds,
            }  # fmt: skip
            print(
                f"{name:<9} {ranks:3} ranks: {row['samples']:9,} samples in {row['packs']:7,} packs  fill "
                f"{row['fill']:.1%}  busiest/mean {row['imbalance']:.3f} (by chance "
                f"{row['imbalance of chance']:.3f})  whole plan {row['plan, samples/s']:10,.0f} samples/s of CPU"
            )
    fits = (found.length <= stage.pack_tokens) & (found.patches <= stage.pack_patches)
    large = repeated(found, options.samples)
    order = np.random.default_rng(1).permutation(np.flatnonzero(np.tile(fits, len(large) // len(found))))
    tokens, patches = large.length[order], large.patches[order]
    limits = {"max_tokens": stage.pack_tokens, "max_patches": stage.pack_patches, "window": stage.window}
    ways: dict[str, Callable[[], np.ndarray]] = {
        "ours": lambda: pack_windows(tokens, patches, **limits),
        "next-fit": lambda: first_fit(tokens, patches, stage, 1),
        "first-fit, 8 open": lambda: first_fit(tokens, patches, stage, 8),
    }
    for name, way in ways.items():
        packs, seconds = timed(way)
        rate = len(tokens) / seconds
        figures[f"packing, {name}"] = {"fill": fill(packs, tokens, patches, stage), "samples/s": rate}
        print(f"packing   {name:<18} fill {fill(packs, tokens, patches, stage):.1%}  {rate:10,.0f} samples/s of CPU")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
