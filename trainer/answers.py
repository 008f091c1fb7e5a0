"""Answers: what a checkpoint answers to the questions of held-out shards, scored by kind of question.

choice      the question lists options (A. ... B. ...) and the answer begins with a letter: share of right letters
grounding   the answer names two times of a clip: mean of intersection over union of the two intervals, 0 where none is
            answered
short       an answer of at most SHORT_WORDS words: share that equals it but for case, articles and punctuation
Longer answers are scored by their loss only. Each score stands beside chance: what always giving the commonest answer of
that form of question would score (of grounding: the commonest interval). A form is the first FORM_WORDS words, asked about the
same kind of media.

Source: the scores that VideoLLaMA3's benchmarks use, arXiv:2501.13106, section 4 (accuracy of options, exact match,
mIoU of Charades-STA).
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from curation.shards import StoredSample
from model import Encoded, Processor, VideoLLaMA3
from model.generate import GenerationConfig, generate_tokens
from trainer.dataset import open_shards
from trainer.mirror import local_dataset
from trainer.shard_file import open_shard
from trainer.stages import Stage

SHORT_WORDS = 12
FORM_WORDS = 3
BATCH_TOKENS = 8192  # of prompts that are answered together

Kind = Literal["choice", "grounding", "short"]
About = Literal["video", "image", "text"]
_OPTION = re.compile(r"(?:^|\s)\(?([A-H])[.):]\s", re.MULTILINE)
_LETTER = re.compile(r"^\s*\(?([A-H])(?:[.):,\s]|$)")
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(?:s\b|sec|seconds?)?")
_PLACE = re.compile(r"<(?:image|video)>\s*")


@dataclass(frozen=True, kw_only=True)
class Question:
    """A prompt with the answer that the shard holds."""

    branch: str
    media: About
    kind: Kind
    form: str
    answer: str
    prompt: Encoded


@dataclass(frozen=True, kw_only=True)
class AnswerScore:
    """Of one form of question: its number, the score in [0, 1] and what chance would score."""

    branch: str
    media: About
    kind: Kind
    form: str
    questions: int
    score: float
    chance: float


def score_answers(
    model: VideoLLaMA3,
    processor: Processor,
    shards: Sequence[Path | str],
    stage: Stage,
    *,
    device: torch.device,
    samples: int | None = None,
    alone: bool = False,
    max_new_tokens: int = 24,
) -> list[AnswerScore]:
    """Ask everything that the shards (or the first `samples` samples of each branch) hold an answer to; see `questions`."""
    model.to(device).eval()
    answered: list[tuple[Question, str]] = []
    for group in _groups(questions(processor, shards, stage, samples=samples, alone=alone)):
        tokens = generate_tokens(
            model, [question.prompt for question in group], GenerationConfig(max_new_tokens=max_new_tokens)
        )
        texts = [processor.tokenizer.decode(one, skip_special_tokens=True) for one in tokens]
        answered += zip(group, texts, strict=True)
    return tally(answered)


def tally(answered: Sequence[tuple[Question, str]]) -> list[AnswerScore]:
    """Scores by branch, kind and form, the most asked first."""
    by_form: dict[tuple[str, About, Kind, str], list[tuple[str, str]]] = defaultdict(list)
    for question, text in answered:
        by_form[question.branch, question.media, question.kind, question.form].append((question.answer, text))
    found = [
        AnswerScore(
            branch=branch,
            media=media,
            kind=kind,
            form=form,
            questions=len(pairs),
            score=sum(score(kind, answer, text) for answer, text in pairs) / len(pairs),
            chance=_chance(kind, [answer for answer, _ in pairs]),
        )
        for (branch, media, kind, form), pairs in by_form.items()
    ]
    return sorted(found, key=lambda one: (one.branch, one.media, -one.questions, one.form))


def score(kind: Kind, answer: str, text: str) -> float:
    """How right a text is, in [0, 1]."""
    if kind == "choice":
        wanted, given = _LETTER.match(answer), _LETTER.match(text)
        return float(wanted is not None and given is not None and wanted[1] == given[1])
    if kind == "grounding":
        wanted_span, given_span = interval(answer), interval(text)
        return 0.0 if wanted_span is None or given_span is None else overlap(wanted_span, given_span)
    return float(plain(answer) == plain(text))


def interval(text: str) -> tuple[float, float] | None:
    """The first two times of a text, in seconds; None where there are not two in order."""
    times = [float(found) for found in _TIME.findall(text)]
    return (times[0], times[1]) if len(times) >= 2 and times[0] <= times[1] else None


def overlap(one: tuple[float, float], two: tuple[float, float]) -> float:
    """Intersection over union of two intervals; equal points overlap fully."""
    if one == two:
        return 1.0
    shared = max(0.0, min(one[1], two[1]) - max(one[0], two[0]))
    union = max(one[1], two[1]) - min(one[0], two[0])
    return shared / union if union else 0.0


def plain(text: str) -> str:
    """Lower case, without articles and punctuation; numbers keep their points."""
    words = re.findall(r"\d+(?:\.\d+)?|\w+", text.lower())
    return " ".join(word for word in words if word not in ("a", "an", "the"))


def kind_of(question: str, answer: str, *, video: bool) -> Kind | None:
    """How an answer is scored; None if only by its loss."""
    if len(set(_OPTION.findall(question))) >= 2 and _LETTER.match(answer):
        return "choice"
    if video and interval(answer) and re.search(r"\d\s*(s\b|sec)", answer):
        return "grounding"
    return "short" if 0 < len(answer.split()) <= SHORT_WORDS else None


def questions(
    processor: Processor,
    shards: Sequence[Path | str],
    stage: Stage,
    *,
    samples: int | None = None,
    alone: bool = False,
) -> Iterator[Question]:
    """Every turn of the shards that can be asked; what stands before it is told as it is, or if `alone` only its media are shown."""
    places = [local_dataset(place, rules=stage.rules, processor=processor) for place in shards]
    dataset, taken = open_shards(places, stage.rules, tokenizer=processor.tokenizer.digest()), Counter[int]()
    for shard, row, branch in zip(dataset.shard, dataset.row, dataset.branch, strict=True):
        if samples is not None and taken[branch] >= samples:
            continue
        stored = open_shard(dataset.shards[shard]).read(int(row))
        found = list(_of_sample(processor, stored, dataset.branches[branch], stage, alone=alone))
        taken[branch] += bool(found)
        yield from found


def _of_sample(
    processor: Processor, stored: StoredSample, branch: str, stage: Stage, *, alone: bool
) -> Iterator[Question]:
    turns: Sequence[Any] = stored.fields["turns"]
    if any(turn.get("time") is not None for turn in turns):
        return  # a streaming sample is asked while it runs
    kinds = [medium["kind"] for medium in stored.fields["media"]]
    media: About = "video" if "video" in kinds else "image" if kinds else "text"
    for number, (asked, given) in enumerate(itertools.pairwise(turns), 1):
        if (asked["role"], given["role"]) != ("user", "assistant"):
            continue
        bare = _PLACE.sub("", asked["text"]).strip()
        kind = kind_of(bare, given["text"], video=media == "video")
        later = any(_PLACE.search(turn["text"]) for turn in turns[number:])
        if kind is None or not bare or later:
            continue
        prompt = replace(processor, rules=stage.rules)(
            _alone(turns, bare, kinds) if alone else turns[:number],
            images=[d for d, k in zip(stored.media, kinds, strict=True) if k == "image"],
            videos=[d for d, k in zip(stored.media, kinds, strict=True) if k == "video"],
            generation=True,
        )
        form = " ".join(bare.split()[:FORM_WORDS])
        yield Question(branch=branch, media=media, kind=kind, form=form, answer=given["text"], prompt=prompt)


def _alone(turns: Sequence[Any], question: str, kinds: Sequence[str]) -> list[Any]:
    """The question as if it were the first: after the system's turn, and right behind all media."""
    system = [turn for turn in turns[:1] if turn["role"] == "system"]
    return [*system, {"role": "user", "text": "".join(f"<{kind}>\n" for kind in kinds) + question}]


def _groups(asked: Iterator[Question]) -> Iterator[list[Question]]:
    """Questions that are answered together."""
    group: list[Question] = []
    for question in asked:
        if group and sum(len(one.prompt.tokens) for one in [*group, question]) > BATCH_TOKENS:
            yield group
            group = []
        group.append(question)
    if group:
        yield group


def _chance(kind: Kind, answers: Sequence[str]) -> float:
    """What the best constant answer scores."""
    if kind == "short":
        return max(Counter(plain(answer) for answer in answers).values()) / len(answers)
    constants = sorted(set(answers))[:200]
    return max(sum(score(kind, answer, constant) for answer in answers) / len(answers) for constant in constants)


def describe_answers(scores: Sequence[AnswerScore]) -> str:
    """The table for a terminal."""
    rows = [f"{'branch':<16}{'media':<7}{'kind':<11}{'form':<28}{'questions':>10}{'score':>8}{'chance':>8}"]
    rows += [
        f"{one.branch:<16}{one.media:<7}{one.kind:<11}{one.form:<28}{one.questions:>10,}{one.score:>8.1%}{one.chance:>8.1%}"
        for one in scores
    ]
    return "\n".join(rows)
