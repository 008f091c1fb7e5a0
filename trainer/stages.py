"""Stages: the four training stages as values.

Source: VideoLLaMA3, arXiv:2501.13106, section 3.3, and its released training scripts (learning rates, cosine to 0
with a warm-up of 0.03, AdamW without weight decay, 128 samples per step, 16,384 tokens, one epoch). Pixel rules:
`model.stages`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from model.geometry import VisualRules
from model.stages import STAGE_RULES
from trainer.errors import UsageError

COMPONENTS = ("vision", "projector", "language")
LONG = ("frames", "resolution")  # see trainer.fit
PRESETS = ("tiny", "2b", "7b")
STRETCH = 1 << 20  # samples: some 100 MB of columns, a second or two of planning, hours of training
SMALL_WIDTH = 512  # a language model narrower than this is trained from scratch, with the rates for that


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What trains, how fast, on what.

    rates: peak learning rate per component; a component without one is frozen. pack_tokens, pack_patches: what one
    pack holds at most, language tokens and vision patches; a sample that does not fit either is dropped with a
    counted reason. step_packs: packs per step, over all ranks and accumulation. alike: packs of like cost that are
    dealt together, at least the number of ranks for a balanced micro-step. window: samples among which packs are
    built. stretch: samples that are planned at a time, in whole shards; smaller datasets are one stretch. warmup:
    share of the steps. clip: gradient norm, 0 for none; clip_each: of every component by itself.

    repeats: how often an epoch shows a branch, 1 where it is not named; or mixture: what share of the epoch each branch
    is, by tokens or samples, from which the repeats follow.

    Options: step_tokens or step_samples give the size of a step instead of step_packs, in language tokens or samples.
    spike: skip steps so many deviations above the last ones, 0 for none. average: decay of a moving average of the
    weights, which then is what the stage hands over, 0 for none. half_moments: AdamW's moments in bf16. long: how a
    sample whose media exceed a pack is seen, the first of LONG that fits; without one it is left out. lora: rank of
    low-rank additions that train in place of the language model, 0 for none.

    Source: the paper's 128 samples per step are some ten packs of 16,384 tokens at its sample lengths; 16 is ours,
    so that 1 to 16 ranks divide it. The reference clips nothing as far as its scripts show; 1.0 is the field's habit.
    """

    name: str
    rules: VisualRules
    rates: Mapping[str, float]
    pack_tokens: int = 16384
    pack_patches: int = 98304
    step_packs: int = 16
    alike: int = 8
    window: int = 1024
    stretch: int = STRETCH
    warmup: float = 0.03
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 1.0
    epochs: int = 1
    repeats: Mapping[str, float] = field(default_factory=dict)
    mixture: Mapping[str, float] = field(default_factory=dict)
    mixture_by: Literal["tokens", "samples"] = "tokens"
    step_tokens: int = 0
    step_samples: int = 0
    clip_each: bool = False
    spike: float = 0.0
    average: float = 0.0
    half_moments: bool = False
    long: tuple[str, ...] = ()
    lora: int = 0

    def __post_init__(self) -> None:
        if unknown := set(self.rates) - set(COMPONENTS):
            raise UsageError(f"{self.name}: rates name {sorted(unknown)}; components are {', '.join(COMPONENTS)}")
        for name in ("pack_tokens", "pack_patches", "step_packs", "alike", "window", "stretch", "epochs"):
            if getattr(self, name) < 1:
                raise UsageError(f"{self.name}: {name} is {getattr(self, name)}; it must be at least 1")
        for name in ("step_tokens", "step_samples", "clip", "spike", "lora"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(
                    f"{self.name}: {name} is {getattr(self, name)}; it must be at least 0, which is without"
                )
        if self.step_tokens and self.step_samples:
            raise UsageError(f"{self.name}: step_tokens and step_samples are both given; give one of them")
        if self.repeats and self.mixture:
            raise UsageError(f"{self.name}: repeats and mixture are both given; give one of them")
        if unknown := set(self.long) - set(LONG):
            raise UsageError(f"{self.name}: long names {sorted(unknown)}; there are {', '.join(LONG)}")
        if not 0 <= self.average < 1:
            raise UsageError(f"{self.name}: average is {self.average}; a decay is at least 0 and below 1")

    def trains(self, component: str) -> bool:
        """Whether the component's weights change in this stage."""
        return component in self.rates


_PAPER = {"language": 1e-5, "projector": 1e-5, "vision": 2e-6}
STAGES = {
    "stage1": Stage(name="stage1", rules=STAGE_RULES["stage1"], rates={"projector": 1e-3, "vision": 1e-5}),
    "stage2": Stage(name="stage2", rules=STAGE_RULES["stage2"], rates=_PAPER),
    "stage3": Stage(name="stage3", rules=STAGE_RULES["stage3"], rates=_PAPER),
    "stage4": Stage(name="stage4", rules=STAGE_RULES["stage4"], rates=_PAPER),
}
"""The published sizes, starting from pretrained weights."""

# A small model starts from random weights, for which the paper's rates are far too slow. Chosen on real and on synthetic
# shards (docs/benchmarks.md, "The four stages of the tiny model"): after stage 1, higher ones unlearn what is there, and
# what the cosine's end wins back is less than what lower ones gain.
# A picture is never enlarged beyond 4 visual tokens: it is generated for with `Processor.tiny`, whose floor that is.
_RANDOM_LANGUAGE = 6e-3  # of random weights in the first stage
_SMALL_PACKS = {"pack_tokens": 2048, "pack_patches": 4096, "step_packs": 1, "alike": 1}
_SMALL_RATES = {
    "stage1": {"projector": 3e-3, "vision": 1e-3},
    "stage2": {"language": 2e-3, "projector": 2e-3, "vision": 7e-4},
    "stage3": {"language": 1e-3, "projector": 1e-3, "vision": 3e-4},
    "stage4": {"language": 1e-3, "projector": 1e-3, "vision": 3e-4},
}
SMALL_STAGES = {
    name: replace(stage, rules=replace(stage.rules, min_tokens=4), rates=_SMALL_RATES[name], **_SMALL_PACKS)
    for name, stage in STAGES.items()
}
"""The `tiny` preset, trained from scratch on one CPU."""


def stage_for(name: str, *, width: int, source: str = "") -> Stage:
    """The stage of that name, for a language model of that width: below SMALL_WIDTH the values for a small model.

    Args:
        source: what the weights come from. A preset means random ones; then the first stage trains the language model
            too, where the published one keeps a pretrained one frozen: through random weights nothing can be aligned.

    Raises:
        UsageError: there is no such stage.
    """
    stages = SMALL_STAGES if width < SMALL_WIDTH else STAGES
    if name not in stages:
        raise UsageError(f"stage {name!r} is not one of {', '.join(stages)}: name one of them")
    stage = stages[name]
    if source in PRESETS and not stage.trains("language"):
        rate = _RANDOM_LANGUAGE if stages is SMALL_STAGES else stages["stage2"].rates["language"]
        stage = replace(stage, rates={**stage.rates, "language": rate})
    return stage


def with_changes(stage: Stage, changes: Mapping[str, Any]) -> Stage:
    """The stage with other values. `rate` changes the rates of single components, 0 freezing one; `rates` replaces all."""
    rest = {name: value for name, value in changes.items() if name != "rate"}
    stage = replace(stage, **rest)
    rates = {**stage.rates, **changes.get("rate", {})}
    return replace(stage, rates={name: rate for name, rate in rates.items() if rate})
