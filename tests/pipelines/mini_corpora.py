"""Miniature corpora: a small tree of every dataset the recipes know, each in its published format, with one bad record.

    write_corpora(root, {"chartqa": 5, ...})    returns the bad records planted, by corpus

Formats are written here from the publications' descriptions with json, csv, pyarrow and tarfile only, so that the readers are held
against something that was not written with them.
"""

import csv
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from mini_media import HEIGHT, WIDTH, clip, pdf, picture

Writer = Callable[[Path, int], None]
WRITERS: dict[str, Writer] = {}
COLOURS = ("red", "green", "blue", "grey", "white", "dark", "pale", "bright")
THINGS = ("dog", "bus", "lamp", "tree", "cup", "sign", "boat", "door", "kite")


def writer(name: str) -> Callable[[Writer], Writer]:
    def register(function: Writer) -> Writer:
        WRITERS[name] = function
        return function

    return register


def sentence(*key: object) -> str:
    number = int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=4).digest(), "big")
    return (
        f"A {COLOURS[number % 8]} {THINGS[number % 9]} stands beside a {COLOURS[number // 9 % 8]} "
        f"{THINGS[number // 70 % 9]}, number {number % 9973}."
    )


def put(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def put_json(path: Path, value: Any) -> None:
    put(path, json.dumps(value, ensure_ascii=False))


def put_lines(path: Path, rows: Sequence[Any], *, dirt: str = '{"broken": ') -> None:
    """JSON lines, the last of them cut short."""
    put(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) + dirt + "\n")


def put_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=4)


def put_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def write_corpora(root: Path, counts: dict[str, int]) -> None:
    """A folder per corpus with so many good records, and one bad one."""
    for name, count in counts.items():
        WRITERS[name](root / name, count)


# Conversations in LLaVA's way.


def talk(*key: object, tag: str = "<image>") -> list[dict[str, str]]:
    return [
        {"from": "human", "value": f"{tag}\nWhat is to be seen, case {key[-1]}?".lstrip()},
        {"from": "gpt", "value": sentence("talk", *key)},
    ]


def llava(
    file: str,
    folder: str,
    *,
    lines: bool = False,
    video: bool = False,
    tag: str = "",
    field: str = "",
    several: bool = False,
) -> Callable[[str], Writer]:
    kind = "video" if video else "image"

    def named(name: str) -> Writer:
        def write(root: Path, count: int) -> None:
            rows: list[dict[str, Any]] = []
            for i in range(count):
                media = [f"part/{i}_{j}.{'mp4' if video else 'jpg'}" for j in range(2 if several else 1)]
                for j, medium in enumerate(media):
                    put(root / folder / medium, clip(name, i) if video else picture(name, i, j))
                tags = "\n".join([tag or f"<{kind}>"] * len(media))
                rows.append(
                    {
                        "id": f"{name}_{i}",
                        field or kind: media if several else media[0],
                        "conversations": talk(name, i, tag=tags),
                    }
                )
            lost = {
                "id": "lost",
                field or kind: "part/gone.bin",
                "conversations": talk(name, "lost", tag=tag or f"<{kind}>"),
            }
            if lines:
                put_lines(root / file, rows)
            else:
                put_json(root / file, [*rows, lost])

        return write

    return named


for _name, _family in {
    "llava_pretrain": llava("blip_laion_cc_sbu_558k.json", "images"),
    "sharegpt4o": llava("image_conversations/gpt-4o.jsonl", "images", lines=True),
    "sharegpt4v": llava("share-captioner_coco_lcs_sam_1246k_1107.json", "images"),
    "llava_sft_665k": llava("llava_v1_5_mix665k.json", "images"),
    "cambrian": llava("jsons/Cambrian7M_withsystemprompt.jsonl", "images", lines=True),
    "contrastive_caption": llava("contrastive_caption.json", "images", several=True),
    "multiui": llava("webui.json", "images"),
    "vary_600k": llava("pdf_en_30w.json", "images"),
    "grounding_own": llava("ours.jsonl", "images", lines=True),
    "llava_video_178k": llava("0_30_s_youtube/0_30_s_youtube_qa.json", "videos", video=True, tag="<image>"),
    "sharegpt4o_video": llava("video_conversations/gpt4o.jsonl", "videos", video=True, lines=True),
    "sharegemini_k400": llava("sharegemini_k400.json", "videos", video=True),
    "sharegemini_webvid": llava("sharegemini_webvid_core100k.json", "videos", video=True),
    "videollama2_own": llava("ours.json", "videos", video=True),
}.items():
    WRITERS[_name] = _family(_name)


def hub_image(*key: object) -> dict[str, Any]:
    return {"bytes": picture(*key), "path": f"{key[-1]}.jpg"}


@writer("llava_recap_558k")
def _(root: Path, count: int) -> None:
    rows = [{"id": f"r{i}", "image": hub_image("recap", i), "conversations": talk("recap", i)} for i in range(count)]
    put_parquet(
        root / "data/train-00000.parquet",
        [*rows, {"id": "lost", "image": {"bytes": b"", "path": ""}, "conversations": talk("x")}],
    )


@writer("llava_ov_si")
def _(root: Path, count: int) -> None:
    rows = [
        {
            "id": f"s{i}",
            "image": hub_image("ovsi", i) if i % 4 else None,
            "conversations": talk("ovsi", i, tag="<image>" if i % 4 else ""),
            "data_source": "x",
        }
        for i in range(count)
    ]
    put_parquet(
        root / "chart2text/train-00000.parquet",
        [*rows, {**rows[0], "id": "lost", "image": {"bytes": b"no picture", "path": ""}}],
    )


# Scenes.


@writer("vl3_syn7m")
def _(root: Path, count: int) -> None:
    for i in range(count):
        put(root / f"images/{i:09d}.jpg", picture("syn", i))
    rows = [
        {
            "image": f"{i:09d}.jpg",
            "short_caption": sentence("short", i),
            "detailed_caption": " ".join(sentence("long", i, j) for j in range(4)),
        }
        for i in range(count)
    ]
    put_json(root / "vl3_syn7m.json", [*rows, {"image": "000000000.jpg", "short_caption": None}])


def coco(images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> dict[str, Any]:
    names = [{"id": i + 1, "name": name, "supercategory": "thing"} for i, name in enumerate(THINGS)]
    return {
        "info": {"description": "a [mini] {corpus}"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": names,
    }


@writer("objects365")
def _(root: Path, count: int) -> None:
    images, annotations = [], []
    for i in range(count):
        name = f"patch0/objects365_v1_{i:08d}.jpg"
        put(root / "train" / name, picture("o365", i))
        images.append({"id": 1000 + i, "file_name": name, "width": WIDTH, "height": HEIGHT, "license": 1})
        # Annotations lie in no order, as published.
        for j in range(3):
            box = [j * 20.5, 5, 18.25, 20]
            annotations.insert(
                0,
                {
                    "id": i * 10 + j,
                    "image_id": 1000 + i,
                    "category_id": (i + j) % 9 + 1,
                    "bbox": box,
                    "iscrowd": 0,
                    "area": 365,
                },
            )
    images.append({"id": 9, "file_name": "patch0/gone.jpg", "width": WIDTH, "height": HEIGHT})
    annotations.append({"id": 7, "image_id": 9, "category_id": 1, "bbox": [1, 1, 9, 9]})
    annotations.append({"id": 8, "image_id": 424242, "category_id": 1, "bbox": [1, 1, 9, 9]})
    put_json(root / "zhiyuan_objv2_train.json", coco(images, annotations))


@writer("coco2017")
def _(root: Path, count: int) -> None:
    images, annotations = [], []
    for i in range(count):
        put(root / f"train2017/{i:012d}.jpg", picture("coco", i))
        images.append({"id": i, "file_name": f"{i:012d}.jpg", "width": WIDTH, "height": HEIGHT})
        annotations += [{"id": 5 * i + j, "image_id": i, "caption": sentence("coco", i, j)} for j in range(5)]
    images.append({"id": 99999, "file_name": "gone.jpg", "width": WIDTH, "height": HEIGHT})
    put_json(root / "annotations/captions_train2017.json", coco(images, annotations))


@writer("sa1b")
def _(root: Path, count: int) -> None:
    members: list[tuple[str, bytes]] = []
    for i in range(count):
        facts = {"image": {"image_id": i, "width": WIDTH, "height": HEIGHT}, "annotations": [{"bbox": [1, 1, 9, 9]}]}
        members += [
            (f"./sa_{i}.jpg", picture("sa1b", i)),
            (f"./sa_{i}.json", json.dumps(facts).encode()),
            (f"./sa_{i}.txt", sentence("sa1b", i).encode()),
        ]
    put_tar(
        root / "sa_000000.tar",
        [*members, ("./sa_x.jpg", picture("sa1b", "x")), ("./sa_x.json", b"{"), ("./sa_x.txt", b"t")],
    )


@writer("textcaps")
def _(root: Path, count: int) -> None:
    rows = [
        {
            "image_id": f"{i:016x}",
            "caption_str": sentence("tc", i),
            "reference_strs": [sentence("tc", i)],
            "caption_id": i,
        }
        for i in range(count)
    ]
    for row in rows:
        put(root / f"train_images/{row['image_id']}.jpg", picture("tc", row["image_id"]))
    put_json(
        root / "TextCaps_0.1_train.json",
        {"dataset_type": "train", "data": [*rows, {"image_id": "gone", "caption_str": "a b c d"}]},
    )


@writer("densefusion")
def _(root: Path, count: int) -> None:
    for i in range(count):
        put(root / f"images/{i}.jpg", picture("dense", i))
    put_lines(
        root / "DenseFusion-1M.jsonl",
        [{"image_id": str(i), "image_path": f"{i}.jpg", "caption": sentence("dense", i)} for i in range(count)],
    )


# Scene text and documents.


def words(*key: object) -> list[tuple[str, list[int]]]:
    """Two lines of words, written out of order: what is read is "open late BAR key"."""
    return [
        ("late", [30, 4, 50, 12]),
        (f"{key[-1]}", [30, 20, 44, 28]),
        ("OPEN", [5, 5, 26, 13]),
        ("BAR", [6, 21, 24, 29]),
    ]


def polygon(box: Sequence[int]) -> list[int]:
    x1, y1, x2, y2 = box
    return [x1, y1, x2, y1, x2, y2, x1, y2]


@writer("blip3_ocr")
def _(root: Path, count: int) -> None:
    rows = []
    for i in range(count):
        put(root / f"images/u{i}.jpg", picture("blip3", i, texts=words("b", i), scale=3))
        entities = [
            {"text": t, "bbox": [x1 / WIDTH, y1 / HEIGHT, x2 / WIDTH, y2 / HEIGHT], "confidence": 0.9}
            for t, (x1, y1, x2, y2) in words("b", i)
        ]
        captions = [{"granularity": g, "include_datacomp_raw_cap": False, "text": sentence("blip3", i)} for g in (0, 5)]
        rows.append(
            {
                "uid": f"u{i}",
                "url": f"https://example.org/{i}.jpg",
                "key": f"{i:09d}",
                "captions": json.dumps(captions),
                "metadata": json.dumps({"entities": entities}),
            }
        )
    put_parquet(root / "001.parquet", [*rows, {**rows[0], "uid": "lost"}])


@writer("laion_ocr")
def _(root: Path, count: int) -> None:
    rows = []
    for i in range(count):
        put(root / f"images/{i}.jpg", picture("laion", i, texts=words("l", f"unique{i}")))
        listed = [{"text": t, "bbox": box} for t, box in words("l", f"unique{i}")]
        rows.append(
            {"image": f"{i}.jpg", "caption": sentence("laion", i), "width": WIDTH, "height": HEIGHT, "words": listed}
        )
    put_lines(root / "laion_ocr.jsonl", rows)


def text_maps(root: Path, file: str, folder: str, count: int, key: str, legibility: bool) -> None:
    imgs, anns, of = {}, {}, {}
    for i in range(count):
        name = f"{folder}{key}_{i:012d}.jpg"
        put(root / name, picture(key, i))
        imgs[str(i)] = {
            "id": i,
            "width": WIDTH,
            "height": HEIGHT,
            "file_name": name if legibility is False else Path(name).name,
            "set": "train",
        }
        of[str(i)] = []
        for j, (text, (x1, y1, x2, y2)) in enumerate(words(key, i)):
            annotation = {
                "id": f"{i}_{j}",
                "image_id": i,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "utf8_string": text,
                "area": 1,
            }
            anns[f"{i}_{j}"] = annotation | (
                {"legibility": "legible" if j else "illegible", "class": "machine printed"} if legibility else {}
            )
            of[str(i)].append(f"{i}_{j}")
    imgs["gone"] = {"id": "gone", "width": WIDTH, "height": HEIGHT, "file_name": "gone.jpg", "set": "train"}
    anns["g"] = {"id": "g", "image_id": "gone", "bbox": [1, 1, 5, 5], "utf8_string": "gone", "legibility": "legible"}
    put_json(root / file, {"cats": {}, "imgs": imgs, "anns": anns, "imgToAnns": of, "info": {}})


@writer("coco_text")
def _(root: Path, count: int) -> None:
    text_maps(root, "cocotext.v2.json", "train2014/", count, "COCO_train2014", True)


@writer("textocr")
def _(root: Path, count: int) -> None:
    text_maps(root, "TextOCR_0.1_train.json", "train/", count, "textocr", False)


@writer("lsvt")
def _(root: Path, count: int) -> None:
    labels: dict[str, Any] = {}
    for i in range(count):
        put(root / f"train_full_images/gt_{i}.jpg", picture("lsvt", i))
        found = [
            {"transcription": t, "points": [polygon(b)[k : k + 2] for k in range(0, 8, 2)], "illegibility": False}
            for t, b in words("lsvt", f"店{i}")
        ]
        labels[f"gt_{i}"] = [
            *found,
            {"transcription": "###", "points": [[0, 0], [3, 0], [3, 3], [0, 3]], "illegibility": True},
        ]
    labels["gt_gone"] = [{"transcription": "招", "points": [[0, 0], [3, 0], [3, 3], [0, 3]], "illegibility": False}]
    put_json(root / "train_full_labels.json", labels)


@writer("rects")
def _(root: Path, count: int) -> None:
    for i in range(count):
        name = f"train_ReCTS_{i:06d}"
        put(root / f"img/{name}.jpg", picture("rects", i))
        lines = [{"points": polygon(box), "transcription": text, "ignore": 0} for text, box in words("rects", f"火{i}")]
        put_json(
            root / f"gt/{name}.json",
            {"chars": [], "lines": [*lines, {"points": polygon([1, 1, 5, 5]), "transcription": "###", "ignore": 1}]},
        )
    put(root / "gt/train_ReCTS_999999.json", b'{"lines": [')


def pages(key: str, i: int, *, lines: bool) -> list[dict[str, Any]]:
    told = [
        {
            "text": [f"Heading {i}.{n} of {key}", "the first line", "the second line"],
            "bbox": [[0.1, 0.1, 0.8, 0.1]] * 3,
            "score": [1.0] * 3,
        }
        for n in range(2)
    ]
    return [{"lines": page, "words": page, "images_bbox": []} if lines else page for page in told]


def pdf_tar(name: str, shard: str, *, lines: bool) -> Writer:
    def write(root: Path, count: int) -> None:
        members: list[tuple[str, bytes]] = []
        for i in range(max(1, (count + 1) // 2)):
            members += [
                (f"{i:07d}.json", json.dumps({"pages": pages(name, i, lines=lines)}).encode()),
                (f"{i:07d}.pdf", pdf(name, i)),
            ]
        empty = {"pages": [{"lines": {"text": [], "bbox": []}}]}
        put_tar(root / shard, [*members, ("9999999.json", json.dumps(empty).encode()), ("9999999.pdf", pdf(name, "x"))])

    return write


WRITERS["pdfa_eng_wds"] = pdf_tar("pdfa_eng_wds", "pdfa-eng-train-0000.tar", lines=True)
WRITERS["idl_wds"] = pdf_tar("idl_wds", "idl-train-00000.tar", lines=False)


def synthdog(name: str, text: str) -> Writer:
    def write(root: Path, count: int) -> None:
        rows = [
            {
                "image": hub_image(name, i),
                "ground_truth": json.dumps({"gt_parse": {"text_sequence": f"{text} {i}  \n {text}"}}),
            }
            for i in range(count)
        ]
        put_parquet(root / "data/train-00000-of-00001.parquet", [*rows, {**rows[0], "ground_truth": "{}"}])

    return write


WRITERS["synthdog_en"] = synthdog("synthdog_en", "lorem ipsum dolor")
WRITERS["synthdog_zh"] = synthdog("synthdog_zh", "天地玄黄 宇宙洪荒")


@writer("ureader_tr")
def _(root: Path, count: int) -> None:
    rows = [
        {
            "image": [f"DocVQA/{i}.png"],
            "prompt": "",
            "text": f"Human: <image>\nHuman: what words are in the picture?\nAI: {sentence('tr', i)}",
            "task_name": "tr",
        }
        for i in range(count)
    ]
    for i in range(count):
        put(root / f"images/DocVQA/{i}.png", picture("ureader", i, form="PNG"))
    put_lines(root / "ureader_json/train.jsonl", rows)


@writer("funsd")
def _(root: Path, count: int) -> None:
    for i in range(count):
        put(root / f"training_data/images/{i:010d}.png", picture("funsd", i, form="PNG", texts=words("f", i)))
        form = [
            {"id": j, "text": text, "box": box, "label": "other", "words": [], "linking": []}
            for j, (text, box) in enumerate(words("f", i))
        ]
        put_json(root / f"training_data/annotations/{i:010d}.json", {"form": form})
    put_json(root / "training_data/annotations/9999999999.json", {"form": []})


@writer("dude")
def _(root: Path, count: int) -> None:
    rows = []
    for i in range(count):
        put(root / f"images/train/d{i}_{i % 3}.jpg", picture("dude", i))
        place = [[{"left": 1, "top": 2, "width": 3, "height": 4, "page": i % 3}]]
        rows.append(
            {
                "questionId": f"q{i}",
                "docId": f"d{i}",
                "question": f"Who signed page {i}?",
                "answers": [f"Mr {i}"],
                "answers_page_bounding_boxes": place,
                "data_split": "train",
            }
        )
    lost = {**rows[0], "questionId": "lost", "answers_page_bounding_boxes": []}
    put_json(
        root / "2023-03-23_DUDE_gt_test_PUBLIC.json",
        {"dataset_name": "DUDE", "dataset_version": "1.0.7", "data": [*rows, lost]},
    )


@writer("docvqa")
def _(root: Path, count: int) -> None:
    rows = [
        {
            "questionId": 300 + i,
            "question": f"What is total {i}?",
            "image": f"documents/{i}_1.png",
            "docId": i,
            "answers": [f"{i} $", f"{i}"],
            "data_split": "train",
        }
        for i in range(count)
    ]
    for row in rows:
        put(root / row["image"], picture("docvqa", row["image"], form="PNG"))
    put_json(
        root / "train_v1.0_withQT.json",
        {"dataset_name": "SP-DocVQA", "data": [*rows, {**rows[0], "image": "../docvqa/documents/0_1.png"}]},
    )


@writer("docmatix")
def _(root: Path, count: int) -> None:
    rows = [
        {
            "images": [hub_image("docmatix", i, n) for n in range(1 + i % 3)],
            "texts": [
                {"user": f"What about {i}.{q}?", "assistant": sentence("dm", i, q), "source": "PDFA"} for q in range(2)
            ],
        }
        for i in range(count)
    ]
    put_parquet(root / "data/train-00000.parquet", [*rows, {**rows[0], "texts": []}])


# Charts.


@writer("chart_to_text")
def _(root: Path, count: int) -> None:
    base = root / "statista_dataset/dataset"
    for i in range(count):
        put(base / f"captions/{i}.txt", sentence("chart", i))
        put(base / f"imgs/{i}.png", picture("chart", i, form="PNG"))
    put(base / "captions/gone.txt", "a caption without a picture")


@writer("chartqa")
def _(root: Path, count: int) -> None:
    rows = [{"imgname": f"{i}.png", "query": f"How many in case {i}?", "label": str(i)} for i in range(count)]
    for row in rows:
        put(root / f"train/png/{row['imgname']}", picture("chartqa", row["imgname"], form="PNG"))
    put_json(root / "train/train_human.json", rows[::2])
    put_json(root / "train/train_augmented.json", [*rows[1::2], {"imgname": "gone.png", "query": "q", "label": "1"}])


@writer("mmc_instruction")
def _(root: Path, count: int) -> None:
    for i in range(count):
        put(root / f"images/{i}.png", picture("mmc", i, form="PNG"))
    put_lines(
        root / "mmc_instruction_410k.jsonl",
        [
            {"image_id": f"{i}.png", "instruction": f"Summarise chart {i}.", "output": sentence("mmc", i)}
            for i in range(count)
        ],
    )


@writer("dvqa")
def _(root: Path, count: int) -> None:
    rows = [
        {
            "question": f"What is bar {i}?",
            "question_id": i,
            "template_id": "data",
            "answer": i,
            "image": f"bar_train_{i:08d}.png",
            "answer_bbox": [],
        }
        for i in range(count)
    ]
    for row in rows:
        put(root / f"images/{row['image']}", picture("dvqa", row["image"], form="PNG"))
    put_json(root / "train_qa.json", [*rows, {**rows[0], "answer": None}])


@writer("lrv_instruction")
def _(root: Path, count: int) -> None:
    rows = [
        {"image_id": str(2376000 + i), "question": f"Is there a lamp {i}?", "answer": "No.", "task": "existence"}
        for i in range(count)
    ]
    for row in rows:
        put(root / f"images/{row['image_id']}.jpg", picture("lrv", row["image_id"]))
    put_json(root / "filter_cap.json", [*rows, {"image_id": "gone", "question": "q", "answer": "a"}])


@writer("chartgemma")
def _(root: Path, count: int) -> None:
    rows = [
        {"image": hub_image("gemma", i), "instruction": f"Read chart {i}.", "response": sentence("gemma", i)}
        for i in range(count)
    ]
    put_parquet(root / "data/train-00000.parquet", [*rows, {**rows[0], "image": None}])


@writer("infovqa")
def _(root: Path, count: int) -> None:
    rows = [
        {
            "questionId": 65000 + i,
            "question": f"Which year {i}?",
            "image_local_name": f"{i}.jpeg",
            "answers": [str(1900 + i)],
            "data_split": "train",
        }
        for i in range(count)
    ]
    for row in rows:
        put(root / f"images/{row['image_local_name']}", picture("info", row["image_local_name"]))
    put_json(root / "infographicsVQA_train_v1.0.json", {"data": [*rows, {**rows[0], "answers": []}]})


@writer("plotqa")
def _(root: Path, count: int) -> None:
    rows = [
        {
            "image_index": i,
            "qid": f"q{i}",
            "question_string": f"What is the slope {i}?",
            "answer": i / 4,
            "question_id": i,
            "type": "bar",
        }
        for i in range(count)
    ]
    for i in range(count):
        put(root / f"png/{i}.png", picture("plotqa", i, form="PNG"))
    put_json(root / "qa_pairs_V2.json", {"qa_pairs": [*rows, {**rows[0], "image_index": 123456}]})


# Regions and grounding.


@writer("osprey_724k")
def _(root: Path, count: int) -> None:
    rows = []
    for i in range(count):
        put(root / f"images/{i:012d}.jpg", picture("osprey", i))
        said = [
            {"from": "human", "value": f"<image>\nWhat is <region1>, and how is it to <region2>? ({i})"},
            {"from": "gpt", "value": f"<region1> is {sentence('osprey', i)} It is left of <region2>."},
        ]
        rows.append(
            {
                "id": str(i),
                "file_name": f"{i:012d}.jpg",
                "width": WIDTH,
                "height": HEIGHT,
                "annotation": [{"bbox": [2, 2, 20, 20]}, {"bbox": [40, 10, 30, 30]}],
                "conversations": said,
            }
        )
    put_json(root / "osprey_conversation.json", [*rows, {**rows[0], "annotation": []}])


@writer("mdvp_data")
def _(root: Path, count: int) -> None:
    rows = []
    for i in range(count):
        put(root / f"images/{i}.jpg", picture("mdvp", i))
        said = [
            {"from": "human", "value": f"<image>\nName <region1>. ({i})"},
            {"from": "gpt", "value": sentence("mdvp", i)},
        ]
        rows.append(
            {
                "id": str(i),
                "image": f"{i}.jpg",
                "width": WIDTH,
                "height": HEIGHT,
                "bbox": [[2, 2, 40, 40]],
                "conversations": said,
            }
        )
    put_json(root / "mdvp.json", [*rows, {**rows[0], "image": "gone.jpg"}])


@writer("ade20k")
def _(root: Path, count: int) -> None:
    folder = "ADE/training/urban/street"
    for i in range(count):
        name = f"ADE_train_{i:08d}"
        put(root / f"images/{folder}/{name}.jpg", picture("ade", i))
        objects = [
            {
                "id": j,
                "name": f"{THINGS[(i + j) % 9]}, thing",
                "polygon": {"x": [j * 20, j * 20 + 15, j * 20], "y": [5, 5, 30]},
            }
            for j in range(3)
        ]
        put_json(
            root / f"images/{folder}/{name}.json",
            {
                "annotation": {
                    "filename": f"{name}.jpg",
                    "folder": folder,
                    "imsize": [HEIGHT, WIDTH, 3],
                    "object": objects,
                }
            },
        )
    put_json(
        root / f"images/{folder}/ADE_train_99999999.json",
        {"annotation": {"filename": "gone.jpg", "folder": folder, "imsize": [HEIGHT, WIDTH, 3], "object": []}},
    )


@writer("flickr30k_entities")
def _(root: Path, count: int) -> None:
    for i in range(max(1, -(-count // 5))):
        put(root / f"flickr30k-images/{i}.jpg", picture("flickr", i))
        lines = [
            f"[/EN#{i}1/people Two young men] hold [/EN#{i}2/other a {COLOURS[j]} ball] in [/EN#0/notvisual the open] ."
            for j in range(5)
        ]
        put(root / f"Sentences/{i}.txt", "\n".join(lines) + "\n")
        corners = "<bndbox><xmin>{0}</xmin><ymin>4</ymin><xmax>{1}</xmax><ymax>40</ymax></bndbox>"
        boxes = "".join(f"<object><name>{i}{n}</name>{corners.format(n * 9, n * 9 + 20)}</object>" for n in (1, 2))
        scene = "<object><name>0</name><scene>1</scene><nobndbox>1</nobndbox></object>"
        put(
            root / f"Annotations/{i}.xml",
            f"<annotation><filename>{i}.jpg</filename><size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>{boxes}{scene}</annotation>",
        )
    put(root / "Sentences/bomb.txt", "[/EN#1/people He] runs .\n")
    put(root / "Annotations/bomb.xml", '<!DOCTYPE a [<!ENTITY b "bbbb">]><annotation>&b;</annotation>')


@writer("grand")
def _(root: Path, count: int) -> None:
    rows = []
    for i in range(count):
        put(root / f"images/sa_{i}.jpg", picture("grand", i))
        caption = f"A red bus passes a green door in street {i}."
        rows.append(
            {
                "file_name": f"sa_{i}.jpg",
                "width": WIDTH,
                "height": HEIGHT,
                "caption": caption,
                "phrases": [
                    {"phrase": "A red bus", "bbox": [[1, 1, 30, 30]]},
                    {"phrase": "a green door", "bbox": [[40, 5, 60, 50]]},
                ],
            }
        )
    put_lines(root / "grand.jsonl", rows)


@writer("refcoco")
def _(root: Path, count: int) -> None:
    rows = []
    for i in range(count):
        name = f"COCO_train2014_{i + 500:012d}.jpg"
        put(root / "images" / name, picture("refcoco", i))
        info = {"file_name": name, "width": WIDTH, "height": HEIGHT, "id": i}
        rows.append(
            {
                "ref_id": i,
                "split": "train",
                "bbox": [3.0, 4.0, 40.0, 50.5],
                "sentences": [{"raw": f"Left {i}", "sent": f"left man {i}", "sent_id": i, "tokens": ["left"]}],
                "raw_image_info": json.dumps(info),
            }
        )
    put_parquet(root / "data/train-00000.parquet", [*rows, {**rows[0], "ref_id": 99, "bbox": [50.0, 4.0, 40.0, 50.5]}])


@writer("vcr")
def _(root: Path, count: int) -> None:
    rows = []
    for i in range(count):
        name = f"movieclips/a@{i}.jpg"
        put(root / f"vcr1images/{name}", picture("vcr", i))
        options = [
            [[0], "is", "tired", f"of {i}", "."],
            [[1], "left", "."],
            ["Nobody", "knows", "."],
            [[0, 1], "are", "friends", "."],
        ]
        rows.append(
            {
                "annot_id": f"train-{i}",
                "img_fn": name,
                "metadata_fn": f"{name}.json",
                "objects": ["person", "person", "chair"],
                "question": ["Why", "is", [0], "on", [2], "?"],
                "answer_choices": options,
                "answer_label": i % 4,
                "answer_orig": "x",
            }
        )
    put_lines(root / "train.jsonl", rows)


# Instructions.


def pixmo_image(root: Path, key: str, i: int) -> str:
    url = f"https://example.org/{key}/{i}.jpg?a=1&b=2"
    put(root / "images" / hashlib.sha256(url.encode()).hexdigest(), picture(key, i))
    return url


def pixmo(name: str, row: Callable[[int], dict[str, Any]]) -> Writer:
    def write(root: Path, count: int) -> None:
        rows = [{"image_url": pixmo_image(root, name, i), **row(i)} for i in range(count)]
        put_parquet(
            root / "data/train-00000-of-00001.parquet",
            [*rows, {**rows[0], "image_url": "https://example.org/dead.jpg"}],
        )

    return write


WRITERS["pixmo_cap"] = pixmo("pixmo_cap", lambda i: {"caption": sentence("pcap", i), "transcripts": [sentence("t", i)]})
WRITERS["pixmo_points"] = pixmo(
    "pixmo_points",
    lambda i: {
        "label": THINGS[i % 9],
        "points": [{"x": 10.5 * n, "y": 50.0} for n in range(i % 4)] or [],
        "count": i % 4,
        "image_sha256": "x",
        "collection_method": "pointing",
    },
)
WRITERS["pixmo_cap_qa"] = pixmo(
    "pixmo_cap_qa", lambda i: {"question": f"What colour {i}?", "answer": sentence("pqa", i), "messages": []}
)
WRITERS["pixmo_ask_model_anything"] = pixmo(
    "pixmo_ask_model_anything", lambda i: {"question": f"Why so {i}?", "answer": sentence("pask", i)}
)


@writer("pixmo_docs")
def _(root: Path, count: int) -> None:
    rows = [
        {
            "image": hub_image("pdocs", i),
            "image_id": f"c{i}",
            "questions": {"question": [f"Which {i}?", "How many?"], "answer": [f"that {i}", "3"]},
        }
        for i in range(count)
    ]
    put_parquet(root / "charts/train-00000.parquet", [*rows, {**rows[0], "questions": {"question": [], "answer": []}}])


@writer("demon_full")
def _(root: Path, count: int) -> None:
    rows = []
    for i in range(count):
        names = [f"{i}_{n}.jpg" for n in range(2)]
        for name in names:
            put(root / "images" / name, picture("demon", name))
        rows.append(
            {
                "sample_id": str(i),
                "task_instruction_id": "0",
                "task_instance": {"context": f"{{image#1}} and {{image#2}}: which, {i}?", "images_path": names},
                "response": sentence("demon", i),
            }
        )
    put_json(
        root / "Spot-the-Diff/full.json",
        {
            "metadata": {"dataset": "Spot-the-Diff"},
            "data": [*rows, {**rows[0], "task_instance": {"context": "x", "images_path": []}}],
        },
    )


# Texts.


def chat(*key: object) -> list[dict[str, str]]:
    return [
        {"from": "human", "value": f"Explain {sentence('q', *key)}"},
        {"from": "gpt", "value": " ".join(sentence("a", *key, j) for j in range(3))},
    ]


def messages(*key: object) -> list[dict[str, str]]:
    return [{"role": {"human": "user", "gpt": "assistant"}[m["from"]], "content": m["value"]} for m in chat(*key)]


def text_parquet(name: str, row: Callable[[int], dict[str, Any]], bad: dict[str, Any]) -> Writer:
    def write(root: Path, count: int) -> None:
        rows = [row(i) for i in range(count)]
        put_parquet(root / "data/train-00000-of-00001.parquet", [*rows, {**rows[0], **bad}])

    return write


for _name in ("magpie", "magpie_pro"):
    WRITERS[_name] = text_parquet(
        _name,
        lambda i, n=_name: {"uuid": f"{n}{i}", "conversations": chat(n, i), "instruction": "x"},
        {"conversations": []},
    )
WRITERS["numinamath"] = text_parquet(
    "numinamath",
    lambda i: {"source": "cn_k12", "problem": "x", "solution": "y", "messages": messages("numina", i)},
    {"messages": []},
)
WRITERS["tulu3"] = text_parquet(
    "tulu3", lambda i: {"id": f"t{i}", "messages": messages("tulu", i), "source": "flan"}, {"messages": None}
)


def infinity(part: str) -> Writer:
    def write(root: Path, count: int) -> None:
        put_lines(
            root / "train.jsonl",
            [
                {
                    "id": i,
                    "conversations": chat(part, i),
                    "label": {"ability_en": [part]},
                    "langdetect": "en",
                    "source": "x",
                }
                for i in range(count)
            ],
        )

    return write


for _name in ("infinity_code", "infinity_commonsense", "infinity_math", "infinity_subjective"):
    WRITERS[_name] = infinity(_name)


@writer("evol_instruct_143k")
def _(root: Path, count: int) -> None:
    put_json(
        root / "WizardLM_evol_instruct_V2_143k.json",
        [
            *({"idx": f"e{i}", "conversations": chat("evol", i)} for i in range(count)),
            {"idx": "bad", "conversations": "none"},
        ],
    )


@writer("synthia")
def _(root: Path, count: int) -> None:
    put_json(
        root / "Synthia-v1.3.json",
        [
            *(
                {"system": "Elaborate.", "instruction": f"Why {sentence('syn', i)}", "response": sentence("syna", i)}
                for i in range(count)
            ),
            {"system": "x"},
        ],
    )


# Videos.


def clips(root: Path, names: Sequence[str], *, key: str, seconds: int = 4) -> None:
    for name in names:
        put(root / "videos" / name, clip(key, name, seconds=seconds))


@writer("finevideo")
def _(root: Path, count: int) -> None:
    rows = [
        {
            "mp4": clip("fine", i),
            "json": {
                "original_video_filename": f"f{i}",
                "content_metadata": {
                    "description": "x",
                    "qAndA": [{"question": f"Who {i}?", "answer": sentence("fine", i)}],
                },
            },
        }
        for i in range(count)
    ]
    put_parquet(root / "data/train-00000.parquet", [*rows, {**rows[0], "mp4": None}])


@writer("cinepile")
def _(root: Path, count: int) -> None:
    clips(root, [f"y{i}.mp4" for i in range(count)], key="cine")
    rows = [
        {
            "videoID": f"y{i}",
            "question": f"Why does she leave, {i}?",
            "choices": ["rain", "fear", "love", "work", "sleep"],
            "answer_key": "fear",
            "answer_key_position": 1,
        }
        for i in range(count)
    ]
    put_parquet(root / "v2/train-00000.parquet", [*rows, {**rows[0], "answer_key_position": 9}])


def instruct(name: str, file: str) -> Writer:
    def write(root: Path, count: int) -> None:
        clips(root, [f"v{i}.mp4" for i in range(count)], key=name)
        rows = [{"q": f"What goes on, {i}?", "a": sentence(name, i), "video_id": f"v{i}"} for i in range(count)]
        put_json(root / file, [*rows, {"q": "x", "a": "y", "video_id": "gone"}])

    return write


WRITERS["vcg_human"] = instruct("vcg_human", "VideoInstruct_human.json")
WRITERS["vcg_plus_112k"] = instruct("vcg_plus_112k", "vcg-plus_112K.json")


@writer("temporal_grounding_own")
def _(root: Path, count: int) -> None:
    clips(root, [f"{i}.mp4" for i in range(count)], key="tgo")
    put_lines(
        root / "ours.jsonl",
        [
            {
                "video": f"{i}.mp4",
                "duration": 4.0,
                "timestamps": [[0, 1.5], [1.5, 4]],
                "sentences": [f"it starts, {i}", "it ends"],
            }
            for i in range(count)
        ],
    )


@writer("videorefer_700k")
def _(root: Path, count: int) -> None:
    clips(root, [f"{i}.mp4" for i in range(count)], key="refer")
    rows = [
        {
            "video": f"{i}.mp4",
            "width": 56,
            "height": 56,
            "annotation": [{"bbox": [1, 1, 20, 20]}],
            "conversations": [
                {"from": "human", "value": f"<video>\nWhat does <region> do? ({i})"},
                {"from": "gpt", "value": sentence("refer", i)},
            ],
        }
        for i in range(count)
    ]
    put_json(root / "VideoRefer-700K-qa-75k.json", [*rows, {**rows[0], "width": 0}])


@writer("panda70m_motion")
def _(root: Path, count: int) -> None:
    for i in range(count):
        put(root / f"videos/{i}.mp4", clip("panda", i, fps=8, pan=True))
    clips(root, ["still.mp4"], key="panda")
    events = [
        {"start": 0.0, "end": 1.5, "text": "a block waits"},
        {"start": 1.5, "end": 4.0, "text": "the block moves right"},
    ]
    names = [*(f"{i}.mp4" for i in range(count)), "still.mp4"]
    rows = [
        {"video": name, "duration": 4.0, "events": [*events, {"start": 2, "end": 3, "text": f"it is {name}"}]}
        for name in names
    ]
    put_lines(root / "dense.jsonl", rows)


@writer("activitynet")
def _(root: Path, count: int) -> None:
    clips(root, [f"v_{i}.mp4" for i in range(count)], key="anet")
    told = {
        f"v_{i}": {
            "duration": 4.0,
            "timestamps": [[0.0, 1.9], [1.5, 4.2]],
            "sentences": [f"A man runs {i}.", " He falls. "],
        }
        for i in range(count)
    }
    put_json(root / "train.json", told | {"v_gone": {"duration": 4.0, "timestamps": [[0, 1]], "sentences": ["x"]}})


@writer("youcook2")
def _(root: Path, count: int) -> None:
    clips(root, [f"y{i}.mp4" for i in range(count)], key="cook")
    steps = [
        {"segment": [0, 2], "id": 0, "sentence": "cut the onion"},
        {"segment": [2, 4], "id": 1, "sentence": "fry it"},
    ]
    told = {
        f"y{i}": {"duration": 4.0, "subset": "training", "recipe_type": "1", "annotations": steps, "video_url": "x"}
        for i in range(count)
    }
    put_json(
        root / "youcookii_annotations_trainval.json",
        {"database": told | {"bad": {"duration": 4.0, "annotations": [{"segment": [3], "sentence": "x"}]}}},
    )


@writer("ego4d_narration")
def _(root: Path, count: int) -> None:
    clips(root, [f"e{i}.mp4" for i in range(count)], key="ego", seconds=6)
    rows = [
        {
            "video_uid": f"e{i}",
            "narrations": [
                {"time": 0.5, "text": f"you pick a cup {i}"},
                {"time": 2.0, "text": "you drink"},
                {"time": 4.5, "text": "you put it down"},
            ],
        }
        for i in range(count)
    ]
    dense = {"video_uid": "e0", "narrations": [{"time": n / 10, "text": f"too fast {n}"} for n in range(40)]}
    put_lines(root / "narration_stream_train.jsonl", [*rows, dense])


@writer("ego4d_livechat")
def _(root: Path, count: int) -> None:
    clips(root, [f"e{i}.mp4" for i in range(count)], key="chat")
    talks = [
        {"role": "user", "content": "Tell me when it moves.", "time": 0.5},
        {"role": "assistant", "content": "It moves.", "time": 2.0},
        {"role": "assistant", "content": "It is there.", "time": 3.5},
    ]
    rows = [{"video_uid": f"e{i}", "conversation": talks} for i in range(count)]
    put_json(root / "goalstep_livechat_trainval.json", [*rows, {"video_uid": "e0", "conversation": talks[::-1]}])


@writer("vitt")
def _(root: Path, count: int) -> None:
    clips(root, [f"{i}.mp4" for i in range(count)], key="vitt")
    rows = [
        {
            "id": str(i),
            "annotations": [{"timestamp": 0, "tag": f"Opening {i}"}, {"timestamp": 2500, "tag": "Stirring"}],
            "type": "train",
        }
        for i in range(count)
    ]
    put_json(root / "ViTT-annotations.json", [*rows, {"id": "gone", "annotations": [{"timestamp": 0, "tag": "x"}]}])


@writer("queryd")
def _(root: Path, count: int) -> None:
    clips(root, [f"{i}.mp4" for i in range(count)], key="queryd")
    put_json(
        root / "queryd.json",
        [
            *({"video": f"{i}.mp4", "start": 0.5, "end": 3.0, "sentence": f"Someone says {i}"} for i in range(count)),
            {"video": "0.mp4", "start": 3, "end": 2, "sentence": "x"},
        ],
    )


@writer("hirest")
def _(root: Path, count: int) -> None:
    clips(root, [f"{i}.mp4" for i in range(count)], key="hirest")
    rows = [
        {
            "prompt": "make tea",
            "video": f"{i}.mp4",
            "v_duration": 4.0,
            "steps": [
                {"heading": f"boil {i}", "absolute_bounds": [0, 2]},
                {"heading": "pour", "absolute_bounds": [2, 4]},
            ],
        }
        for i in range(count)
    ]
    put_lines(root / "all_data_train.jsonl", rows)


@writer("charades_sta")
def _(root: Path, count: int) -> None:
    clips(root, [f"C{i:04d}.mp4" for i in range(count)], key="charades")
    lines = [f"C{i:04d} 0.0 {1.5 + i % 5 / 2}##a person puts book {i} down." for i in range(count)]
    put(root / "charades_sta_train.txt", "\n".join([*lines, "C0000 0.0"]) + "\n")


@writer("moment_10m")
def _(root: Path, count: int) -> None:
    clips(root, [f"{i}.mp4" for i in range(count)], key="moment")
    buffer = io.StringIO()
    rows = csv.writer(buffer)
    rows.writerow(["video", "start", "end", "caption"])
    rows.writerows([f"{i}.mp4", "0:01", "0:03.5", f'He says "go", twice,\n{i}'] for i in range(count))
    rows.writerow(["0.mp4", "1"])
    put(root / "moments.csv", buffer.getvalue())


@writer("coin")
def _(root: Path, count: int) -> None:
    clips(root, [f"c{i}.mp4" for i in range(count)], key="coin")
    steps = [
        {"id": "1", "segment": [0.0, 2.0], "label": "open the lid"},
        {"id": "2", "segment": [2.0, 4.0], "label": "pour"},
    ]
    told = {
        f"c{i}": {
            "class": "MakeTea",
            "duration": 4.0,
            "annotation": [*steps[:1], {**steps[1], "label": f"pour {i}"}],
            "subset": "training",
        }
        for i in range(count)
    }
    put_json(root / "COIN.json", {"database": told | {"gone": {"duration": 4.0, "annotation": steps}}})
