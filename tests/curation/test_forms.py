"""Task forms: what they write, against values worked out by hand, and what they refuse."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.forms import (
    DenseCaption,
    DocumentText,
    EventOrder,
    Grounding,
    OcrTasks,
    Points,
    Questions,
    Referring,
    RegionDialogue,
    SceneText,
    Streaming,
)
from curation.forms.fields import pick
from curation.forms.moments import Events
from curation.forms.places import SCALE, BoxLayout, Corners, Words, reading_order, write_box
from curation.sample import SampleError
from curation.sources.records import Form, Stretch

XYXY = Words(items="w", layout=BoxLayout(shape="xyxy"))


def written(form: Form, record: dict[str, Any]) -> list[list[tuple[str, str]]]:
    return [[(turn.role, turn.text) for turn in draft.turns] for draft in form.drafts(record)]


def pairs(form: Form, record: dict[str, Any]) -> list[tuple[str, str]]:
    (turns,) = written(form, record)
    texts = [text for _, text in turns]
    return list(zip(texts[::2], texts[1::2], strict=True))


def test_paths_lead_through_lists_and_json_text() -> None:
    record = {"a": [{"b": json.dumps({"c": [1, "x"]})}], "n": None}
    assert pick(record, "a.0.b.c.1") == "x"
    assert pick(record, "a.-1.b.c.0") == 1
    assert pick(record, "n|a.7|a.0.b.c") == [1, "x"]
    assert pick(record, "a.b") is None
    with pytest.raises(SampleError, match="no JSON"):
        pick({"a": "{"}, "a.b")


@pytest.mark.parametrize(
    ("layout", "value"),
    [
        (BoxLayout(), [10, 20, 30, 40]),
        (BoxLayout(shape="xyxy"), [10, 20, 40, 60]),
        (BoxLayout(shape="points"), [10, 20, 40, 20, 40, 60, 10, 60]),
        (BoxLayout(shape="points"), [[40, 60], [10, 20], [12, 50]]),
        (BoxLayout(shape="points"), [{"x": 10, "y": 60}, {"x": 40, "y": 20}]),
        (BoxLayout(shape="corners"), {"x1": 10, "y1": 20, "x2": 40, "y2": 60}),
        (BoxLayout(shape="corners"), {"xmin": "10", "ymin": "20", "xmax": "40", "ymax": "60"}),
        (BoxLayout(shape="xy_lists"), {"x": [10, 40, 30], "y": [60, 20, 30]}),
    ],
)
def test_every_way_to_write_a_box_means_the_same(layout: BoxLayout, value: Any) -> None:
    assert layout.corners(value) == (10, 20, 40, 60)
    assert write_box(layout.corners(value), (100, 200)) == "<box>[100, 100, 400, 300]</box>"


@given(st.tuples(*[st.floats(-50, 250) for _ in range(4)]), st.integers(1, 200), st.integers(1, 200))
def test_a_written_box_lies_in_the_picture_and_where_it_was(corners: Corners, width: int, height: int) -> None:
    try:
        text = write_box(corners, (width, height))
    except SampleError:
        return
    x1, y1, x2, y2 = json.loads(text.removeprefix("<box>").removesuffix("</box>"))
    assert 0 <= x1 < x2 <= SCALE
    assert 0 <= y1 < y2 <= SCALE
    for thousandths, pixel, side in ((x1, corners[0], width), (y2, corners[3], height)):
        assert thousandths == pytest.approx(1000 * min(max(pixel, 0), side) / side, abs=0.5)


@pytest.mark.parametrize(
    "bad", [[1, 2, 3], "1,2,3,4", None, [1, 2, "x", 4], [1, 2, math.nan, 4], [5, 5, 0, 0], [300, 1, 9, 9]]
)
def test_what_is_no_box_is_refused(bad: Any) -> None:
    with pytest.raises(SampleError):
        write_box(BoxLayout().corners(bad), (100, 100))


def test_words_are_read_by_lines_from_the_left() -> None:
    words = [("late", (30, 4, 50, 12)), ("key", (30, 21, 44, 28)), ("OPEN", (5, 5, 26, 13)), ("BAR", (6, 20, 24, 29))]
    assert reading_order(words) == "OPEN late\nBAR key"
    # A slanted line keeps together as long as each word's centre lies beside the one before.
    assert reading_order([("b", (20, 3, 30, 13)), ("a", (0, 0, 10, 10)), ("c", (0, 30, 10, 40))]) == "a b\nc"


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), unique=True, min_size=1, max_size=30), st.randoms())
def test_a_grid_of_words_is_read_row_by_row(cells: list[tuple[int, int]], rng: Any) -> None:
    words = [(f"{r}{c}", (10.0 * c, 20.0 * r, 10.0 * c + 8, 20.0 * r + 15)) for r, c in cells]
    rng.shuffle(words)
    rows = sorted({r for r, _ in cells})
    assert reading_order(words) == "\n".join(
        " ".join(f"{r}{c}" for c in sorted(c for q, c in cells if q == r)) for r in rows
    )


def test_scene_text_lists_texts_with_their_boxes() -> None:
    record = {
        "i": "a.jpg",
        "c": "A shop.",
        "width": 100,
        "height": 50,
        "w": [{"text": "BAR", "bbox": [10, 5, 30, 15]}, {"text": "###", "bbox": [1, 1, 2, 2]}],
    }
    form = SceneText(image="i", caption="c", boxes=True, words=XYXY)
    assert pairs(form, record) == [
        ("<image>", "A shop.\nThe image contains the texts: BAR <box>[100, 100, 300, 300]</box>.")
    ]
    with pytest.raises(SampleError, match="no readable text"):
        written(SceneText(image="i", words=XYXY), {**record, "w": []})


def test_all_five_ocr_tasks_are_asked_and_right() -> None:
    asked: set[str] = set()
    for number in range(200):
        words = [
            {"text": f"left{number}", "bbox": [0, 0, 10, 10]},
            {"text": f"right{number}", "bbox": [50, 0, 100, 10]},
        ]
        record = {"i": f"{number}.jpg", "width": 100, "height": 10, "w": words}
        other = {"i": "next.jpg", "width": 100, "height": 10, "w": [{"text": "strange", "bbox": [0, 0, 50, 10]}]}
        ((question, answer),) = pairs(OcrTasks(image="i", id="i", words=XYXY), {**record, "next": other})
        body = question.rpartition("\n")[2]
        boxes = {f"left{number}": "<box>[0, 0, 100, 1000]</box>", f"right{number}": "<box>[500, 0, 1000, 1000]</box>"}
        asked.add(body.split(" ")[0])
        if body.startswith("Does"):
            assert answer == ("No." if "strange" in body else "Yes.")
        elif body.startswith("Where"):
            assert answer == boxes[body.split('"')[1]]
        elif body.startswith("What"):
            assert boxes[answer] in body
        elif body.startswith("Which"):
            assert question.count("<image>") == 2
            assert answer in ("The first.", "The second.")
        else:
            assert answer == "\n".join(f"{text} {box}" for text, box in boxes.items())
    assert asked == {"Does", "Where", "What", "Which", "Find"}


def test_documents_keep_their_lines() -> None:
    record = {"image": "a.png", "text": "Human: <image> read it AI:  Title \n\n  two   spaces\t\n"}
    assert pairs(DocumentText(after="AI:"), record) == [("<image>", "Title\ntwo spaces")]
    with pytest.raises(SampleError, match="does not stand"):
        written(DocumentText(after="Assistant:"), record)


def test_the_most_frequent_of_several_answers_is_taken() -> None:
    form = Questions(image="image", answer="answers")
    assert pairs(form, {"image": "a", "question": "Q?", "answers": ["12", "12 $", "12 $"]}) == [("<image>\nQ?", "12 $")]
    with pytest.raises(SampleError, match="no answer"):
        written(form, {"image": "a", "question": "Q?", "answers": []})
    with pytest.raises(SampleError, match="names no medium"):
        written(form, {"question": "Q?", "answers": ["1"]})


@pytest.mark.parametrize("answer", [1, "1", "B", "(b)", "two"])
def test_the_right_option_is_found_however_it_is_told(answer: Any) -> None:
    form = Questions(choices="o", id="")
    ((question, said),) = pairs(form, {"question": "Which?", "o": ["one", "two"], "answer": answer})
    assert said == "B"
    assert question.startswith("Which?\nA. one\nB. two\n")


@pytest.mark.parametrize("answer", [2, -1, "C", "three", None, True])
def test_an_answer_that_is_no_option_is_refused(answer: Any) -> None:
    with pytest.raises(SampleError):
        written(Questions(choices="o"), {"question": "Which?", "o": ["one", "two"], "answer": answer})


def test_regions_are_placed_at_their_first_mention() -> None:
    said = [{"value": "<image>\nIs <region2> left of <region1>?"}, {"value": "<region2> is right of <region1>."}]
    record = {
        "file_name": "a",
        "width": 10,
        "height": 10,
        "annotation": [{"bbox": [0, 0, 5, 5]}, {"bbox": [5, 5, 5, 5]}],
        "conversations": said,
    }
    ((question, answer),) = pairs(RegionDialogue(), record)
    assert (
        question
        == "<image>\nIs region 2 <box>[500, 500, 1000, 1000]</box> left of region 1 <box>[0, 0, 500, 500]</box>?"
    )
    assert answer == "region 2 is right of region 1."
    with pytest.raises(SampleError, match="region 3 of 2"):
        written(RegionDialogue(), {**record, "conversations": [{"value": "<region3>"}, {"value": "x"}]})


def test_referring_goes_both_ways() -> None:
    ways: set[bool] = set()
    for number in range(20):
        record = {
            "image": "a",
            "id": number,
            "sentences": ["left man", "man"],
            "bbox": [0, 0, 5, 5],
            "width": 10,
            "height": 10,
        }
        (question, answer), *_ = pairs(Referring(image="image"), record)
        ways.add("Where" in question)
        assert answer == ("<box>[0, 0, 500, 500]</box>" if "Where" in question else "left man")
    assert ways == {True, False}


def test_points_are_counted() -> None:
    record = {"image_url": "u", "label": "cup", "points": [{"x": 50.0, "y": 12.34}, {"x": 0, "y": 100}]}
    ((_, answer),) = pairs(Points(), record)
    assert answer == "2: <point>[500, 123]</point>, <point>[0, 1000]</point>"
    with pytest.raises(SampleError, match="percent"):
        written(Points(), {**record, "points": [{"x": 101, "y": 0}]})


EVENTS = Events(items="e", span="s", text="t", duration="d")


def test_moments_are_told_in_seconds_and_cut_to_the_clip() -> None:
    record = {
        "v": "a.mp4",
        "d": 9.5,
        "e": [{"s": [5, 12], "t": "He  falls."}, {"s": [0.04, 3], "t": "He runs."}, {"s": [11, 12], "t": "late"}],
    }
    assert pairs(Grounding(video="v", events=EVENTS), record) == [
        ('<video>\nWhen does this happen in the video: "He runs."?', "0.0-3.0 s"),
        ('When does this happen in the video: "He falls."?', "5.0-9.5 s"),
    ]
    assert pairs(DenseCaption(video="v", events=EVENTS), record)[0][1] == "0.0-3.0 s: He runs.\n5.0-9.5 s: He falls."
    with pytest.raises(SampleError, match="none of 1 events"):
        written(Grounding(video="v", events=EVENTS), {**record, "e": [{"s": [4, 4], "t": "x"}]})


def test_clock_times_and_milliseconds_are_seconds() -> None:
    points = Events(layout="points", items="e", start="ms", text="t", scale=0.001)
    assert points.of({"e": [{"ms": 0, "t": "a"}, {"ms": 2500, "t": "b"}]}) == [(0, 2.5, "a"), (2.5, 12.5, "b")]
    clock = Events(layout="one", text="t")
    assert clock.of({"start": "1:02:03.5", "end": "1:02:04", "t": "x"}) == [(3723.5, 3724, "x")]


def test_order_is_asked_of_events_that_follow_each_other() -> None:
    record = {
        "v": "a",
        "e": [{"s": [0, 2], "t": "a"}, {"s": [2, 3], "t": "b"}, {"s": [1, 9], "t": "same"}, {"s": [3, 9], "t": "same"}],
    }
    said = pairs(EventOrder(video="v", id="v", events=EVENTS), record)
    assert [answer for _, answer in said] == ["a", "b", "a", "b"]
    assert "same" not in str(said)


def test_a_long_video_streams_in_windows_cut_at_its_events() -> None:
    events = [{"s": [10.0 * i, 10.0 * i + 8], "t": f"event {i}"} for i in range(30)]
    drafts = list(Streaming(video="v", events=EVENTS, seconds=120).drafts({"v": "a.mp4", "e": events}))
    told = [(draft.media[0][1], [(t.time, t.text) for t in draft.turns if t.role == "assistant"]) for draft in drafts]
    assert [text for _, said in told for _, text in said] == [f"event {i}" for i in range(30)]
    assert told[0][0] == "a.mp4"
    for clip, said in told[1:]:
        assert isinstance(clip, Stretch)
        assert clip.end - clip.begin <= 120
        first = int(said[0][1].split(" ")[1])
        assert clip.begin == 10.0 * first
        assert [time for time, _ in said] == [10.0 * i + 8 - clip.begin for i in range(first, first + len(said))]
        assert clip.end == clip.begin + (said[-1][0] or 0)


@pytest.mark.parametrize(("gap", "windows"), [(0.3, 0), (2.0, 1), (25.0, 1), (45.0, 0)])
def test_streams_too_dense_or_too_sparse_are_no_samples(gap: float, windows: int) -> None:
    record = {"v": "a.mp4", "e": [{"s": [i * gap, (i + 1) * gap], "t": f"event {i}"} for i in range(2)]}
    assert len(list(Streaming(video="v", events=EVENTS).drafts(record))) == windows
