"""Corpora: synthetic samples in the published formats, each a function of (seed, corpus, index), defects on record."""

import json
import random
import tarfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.sources.synthetic import clips, grammar, scenes
from curation.sources.synthetic import defects as faults
from curation.sources.synthetic.pages import make_page
from curation.sources.synthetic.talks import conversation
from curation.sources.synthetic.world import SUFFIXES, World, name_of

SHARES = {"image_text": 0.35, "documents": 0.15, "videos": 0.10, "text": 0.20, "conversations": 0.20}
LICENCE = "CC0-1.0"
_FILE_ROWS = 5_000
_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "image": pa.binary(),
        "text": pa.binary(),
        "texts": pa.list_(pa.string()),
        "license": pa.string(),
        "source_url": pa.string(),
        "file_name": pa.string(),
    }
)
_GROUP_ROWS = 256


def write_synthetic(
    directory: str,
    *,
    samples: int,
    seed: int = 0,
    defects: float = 0.05,
    small: bool = False,
    shares: Mapping[str, float] = SHARES,
) -> dict[str, int]:
    """Write five corpora and the truth about them; the same bytes for the same arguments and library versions.

        image_text-*.parquet   scenes: id, image, text, texts, license, source_url, file_name
        documents-*.parquet    receipts, notices and charts, same columns
        videos-*.tar           clips as WebDataset: mp4, txt, json
        text.jsonl             documents: id, text, license
        conversations.jsonl    about scenes, pages, clips (also streaming) and nothing, media by file name
        truth.jsonl            a line per planted defect: corpus, name (as in the origin), defect, of (what it copies)

    Args:
        samples: how many in all.
        seed: another seed is another world.
        defects: share of samples that something is wrong with, 0 to 1.
        small: scenes and clips of few patches, for a model that learns from them on a CPU.
        shares: of the samples, per corpus; one that is not named is written without samples.

    Returns:
        Samples per corpus.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    for old in (
        *folder.glob("image_text-*.parquet"),
        *folder.glob("documents-*.parquet"),
        *folder.glob("videos-*.tar"),
    ):
        old.unlink()  # a smaller corpus must not keep files of a larger one
    world = World(seed=seed, defects=defects, counts=_counts(samples, shares), small=small)
    truth: list[dict[str, str]] = []
    for corpus in ("image_text", "documents"):
        _write_images(folder, world, corpus, truth)
    _write_videos(folder, world, truth)
    _write_text(folder, world, truth)
    _write_conversations(folder, world, truth)
    lines = [json.dumps(entry, sort_keys=True) + "\n" for entry in truth]
    (folder / "truth.jsonl").write_text("".join(lines), encoding="utf-8")
    return dict(world.counts)


def _counts(samples: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Samples per corpus by share; they add up to the whole."""
    counts: dict[str, int] = {}
    share, given = 0.0, 0
    for corpus in SHARES:
        share += shares.get(corpus, 0.0)
        counts[corpus] = round(share * samples) - given
        given += counts[corpus]
    return counts


def _record(truth: list[dict[str, str]], corpus: str, index: int, defect: str, *, name: str = "", of: int = -1) -> None:
    if defect:
        copied = {"of": name_of(corpus, of)} if of >= 0 else {}
        truth.append({"corpus": corpus, "name": name or name_of(corpus, index), "defect": defect, **copied})


def _ranges(count: int) -> Iterator[tuple[int, range]]:
    """Number and samples of each file; an empty corpus has one file too, so that sources find it."""
    for number, begin in enumerate(range(0, max(1, count), _FILE_ROWS)):
        yield number, range(begin, min(begin + _FILE_ROWS, count))


def _write_images(folder: Path, world: World, corpus: str, truth: list[dict[str, str]]) -> None:
    for number, indices in _ranges(world.counts[corpus]):
        rows = [_image_row(world, corpus, index, truth) for index in indices]
        columns = {field.name: pa.array([row[field.name] for row in rows], field.type) for field in _SCHEMA}
        # A view, because Arrow would refuse to convert the captions that are no UTF-8.
        columns["text"] = columns["text"].view(pa.string())
        path = folder / f"{corpus}-{number:05d}.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=_GROUP_ROWS)


def _image_row(world: World, corpus: str, index: int, truth: list[dict[str, str]]) -> dict[str, Any]:
    defect = world.defect(corpus, index)
    shown = world.original(corpus, index) if defect == "exact_duplicate" else index
    _record(truth, corpus, index, defect, of=shown if shown != index else -1)
    image, texts = draw(world, corpus, shown)
    text = texts[0].encode()
    if defect == "swapped_caption":
        text, texts = _swapped(world, corpus, index).encode(), []
    elif defect == "empty_caption":
        text, texts = b"", []
    elif defect == "gibberish_caption":
        text, texts = grammar.gibberish(world.rng(corpus, index, "gibberish")).encode(), []
    elif defect == "not_utf8":
        text += faults.NOT_UTF8
    elif defect == "truncated_image":
        image = faults.truncated(image)
    elif defect == "bomb_header":
        image = faults.png_bomb()
    elif defect == "blank_image":
        image = faults.blank_jpeg() if corpus == "image_text" else faults.blank_png()
    elif defect == "extreme_aspect":
        image = faults.strip_jpeg()
    name = name_of(corpus, index)
    return {
        "id": name,
        "image": image,
        "text": text,
        "texts": texts,
        "license": LICENCE,
        "source_url": f"synthetic:{world.seed}/{name}",
        "file_name": f"{name}.{SUFFIXES[corpus]}",
    }


def draw(world: World, corpus: str, index: int) -> tuple[bytes, list[str]]:
    """The encoded picture of a flawless sample, and its captions."""
    if corpus == "image_text":
        scene = world.scene(index)
        return scenes.encode_jpeg(scenes.draw_scene(scene)), scenes.captions(scene)
    page = make_page(world.rng(corpus, index))
    return scenes.encode_png(page.image), [page.text]


def _swapped(world: World, corpus: str, index: int) -> str:
    """The caption of something that is not in the corpus, and differs from the right one."""

    def make(rng: random.Random) -> str:
        return scenes.captions(world.draw_scene(rng))[0] if corpus == "image_text" else world.draw_clip(rng).caption

    right = make(world.rng(corpus, index))
    others = (make(world.rng(corpus, index, f"swapped {attempt}")) for attempt in range(100))
    return next(other for other in others if other != right)


def _write_videos(folder: Path, world: World, truth: list[dict[str, str]]) -> None:
    for number, indices in _ranges(world.counts["videos"]):
        with tarfile.open(folder / f"videos-{number:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for index in indices:
                for suffix, data in _video_members(world, index, truth):
                    info = tarfile.TarInfo(f"{name_of('videos', index)}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, BytesIO(data))


def _video_members(world: World, index: int, truth: list[dict[str, str]]) -> Iterator[tuple[str, bytes]]:
    defect = world.defect("videos", index)
    shown = world.original("videos", index) if defect == "exact_duplicate" else index
    _record(truth, "videos", index, defect, of=shown if shown != index else -1)
    clip = world.clip(shown)
    video = clips.encode_mp4(clips.draw_frames(clip))
    caption = clip.caption
    if defect == "swapped_caption":
        caption = _swapped(world, "videos", index)
    elif defect == "empty_caption":
        caption = ""
    elif defect == "truncated_video":
        video = faults.truncated(video)
    name = name_of("videos", index)
    facts = {"id": name, "license": LICENCE, "url": f"synthetic:{world.seed}/{name}"}
    yield from (("mp4", video), ("txt", caption.encode()), ("json", json.dumps(facts).encode()))


def _write_text(folder: Path, world: World, truth: list[dict[str, str]]) -> None:
    with (folder / "text.jsonl").open("wb") as file:
        for index in range(world.counts["text"]):
            defect = world.defect("text", index)
            shown = world.original("text", index) if defect == "exact_duplicate" else index
            text = grammar.document(world.rng("text", shown))
            if defect == "gibberish_text":
                text = grammar.gibberish(world.rng("text", index, "gibberish"))
            elif defect == "empty_text":
                text = ""
            line = spoilt({"id": name_of("text", index), "text": text, "license": LICENCE}, defect)
            # A line that does not parse has no id: its sample is called by its place.
            name = f"text.jsonl#{file.tell()}" if defect in ("not_utf8", "broken_json") else ""
            _record(truth, "text", index, defect, name=name, of=shown if shown != index else -1)
            file.write(line)


def _write_conversations(folder: Path, world: World, truth: list[dict[str, str]]) -> None:
    with (folder / "conversations.jsonl").open("wb") as file:
        for index in range(world.counts["conversations"]):
            defect = world.defect("conversations", index)
            fields, planted = conversation(world, index, defect)
            line = spoilt({"id": name_of("conversations", index), **fields, "license": LICENCE}, planted)
            name = f"conversations.jsonl#{file.tell()}" if planted in ("not_utf8", "broken_json") else ""
            _record(truth, "conversations", index, planted, name=name)
            file.write(line)


def spoilt(fields: dict[str, Any], defect: str) -> bytes:
    """A JSON line, broken if the defect is one of its form."""
    line = json.dumps(fields, ensure_ascii=False).encode()
    if defect == "broken_json":
        line = line[: len(line) // 2]
    elif defect == "not_utf8":
        line = line[:-2] + faults.NOT_UTF8 + line[-2:]
    return line + b"\n"
