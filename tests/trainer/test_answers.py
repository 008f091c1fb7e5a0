from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_shards import Made, colour_image, write_dataset

from model import Processor
from trainer.answers import AnswerScore, interval, kind_of, overlap, plain, questions, score, score_answers
from trainer.stages import SMALL_STAGES
from trainer.start import read_model
from trainer.train import Settings, train

STAGE = SMALL_STAGES["stage3"]
OPTIONS = "What is shown?\nA. a cat\nB. a dog\nC. a horse"


@pytest.mark.parametrize(
    ("question", "answer", "video", "kind"),
    [
        (OPTIONS, "B", False, "choice"),
        (OPTIONS, "(C) a horse", False, "choice"),
        ("What is shown?", "A dog.", False, "short"),
        ("When does it move?", "From 1.5 s to 4 seconds.", True, "grounding"),
        ("How many?", "2 of 3.", True, "short"),
        ("Describe it.", " ".join(["word"] * 40), False, None),
        ("What is it?", "", False, None),
    ],
)
def test_kinds_of_questions_are_told_apart(question: str, answer: str, video: bool, kind: str | None) -> None:
    assert kind_of(question, answer, video=video) == kind


@pytest.mark.parametrize(
    ("kind", "answer", "text", "wanted"),
    [
        ("choice", "B", "B. a dog", 1.0),
        ("choice", "B", "A dog", 0.0),  # an article is no option
        ("choice", "B", "Because", 0.0),
        ("short", "It is the Red box.", "it is red box", 1.0),
        ("short", "At 1.5 seconds.", "At 15 seconds.", 0.0),
        ("grounding", "1.0 s to 3.0 s", "from 2 s until 4 s", 1 / 3),
        ("grounding", "1.0 s to 3.0 s", "never", 0.0),
        ("grounding", "1.0 s to 3.0 s", "4 s to 2 s", 0.0),
    ],
)
def test_scores(kind: Any, answer: str, text: str, wanted: float) -> None:
    assert score(kind, answer, text) == pytest.approx(wanted)


def test_overlap_equals_a_count_of_tenths() -> None:
    random = torch.Generator().manual_seed(0)
    for _ in range(200):
        a, b, c, d = torch.randint(0, 40, (4,), generator=random).tolist()
        one, two = (min(a, b) / 10, max(a, b) / 10), (min(c, d) / 10, max(c, d) / 10)
        first, second = set(range(min(a, b), max(a, b))), set(range(min(c, d), max(c, d)))
        if first or second:
            hull = max(a, b, c, d) - min(a, b, c, d)  # of intervals that do not meet, the gap counts too
            assert overlap(one, two) == pytest.approx(len(first & second) / hull)
    assert interval("no time") is None
    assert plain("The  END.") == "end"


def sample(number: int) -> Made:
    name = ("red", "green")[number % 2]
    turns = [
        {"role": "user", "text": "<image>\nWhat colour is it?"},
        {"role": "assistant", "text": f"It is {name}."},
        {"role": "user", "text": "Which colour is it?\nA. red\nB. green"},
        {"role": "assistant", "text": "AB"[number % 2] + "."},
    ]
    return Made(branch="image_text", turns=turns, images=[colour_image(name, 56 + 14 * (number % 3), 56)])


def test_question_alone_is_asked_of_the_picture_without_what_was_said_before(tmp_path: Path) -> None:
    processor = Processor.tiny()
    shards = write_dataset(tmp_path, [sample(1)])
    after, alone = (list(questions(processor, [shards], STAGE, alone=alone))[1].prompt for alone in (False, True))
    said = [processor.tokenizer.decode(prompt.tokens.tolist()) for prompt in (after, alone)]
    assert ["It is green." in text for text in said] == [True, False]
    assert all("B. green" in text for text in said)
    assert after.keep.sum() == alone.keep.sum() > 0


@pytest.mark.slow
def test_a_model_that_has_learnt_answers_right_and_chance_is_named(tmp_path: Path) -> None:
    shards = write_dataset(tmp_path / "shards", [sample(number) for number in range(32)])
    held_out = write_dataset(tmp_path / "held_out", [sample(number) for number in range(100, 112)])
    asked = list(questions(Processor.tiny(), [held_out], STAGE, samples=3))
    assert [question.kind for question in asked] == ["short", "choice"] * 3
    changes = {"pack_tokens": 512, "pack_patches": 1024, "step_packs": 1}
    train(Settings(stage="stage3", shards=(shards,), out=tmp_path / "out", steps=50, changes=changes))
    model, processor = read_model(tmp_path / "out")
    scores = score_answers(model, processor, [held_out], STAGE, device=torch.device("cpu"))
    assert {(one.kind, one.form): one.questions for one in scores} == {
        ("short", "What colour is"): 12,
        ("choice", "Which colour is"): 12,
    }
    assert all(isinstance(one, AnswerScore) and one.chance == 0.5 and one.score > 0.9 for one in scores), scores
