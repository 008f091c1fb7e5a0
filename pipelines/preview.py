"""Preview: a contact sheet of samples with their captions, as one PNG."""

import io
from functools import cache
from pathlib import Path

import polars as pl
from PIL import Image, ImageDraw, ImageFont

from curation.uris import atomic
from pipelines.ledger import scan_ledger
from pipelines.samples import FoundSample, SampleFinder
from pipelines.thumbnails import Thumbnailer

TILE, TEXT, GAP = 224, 86, 10  # pixels: side of a picture, height of its caption, space between
INK, SOFT, GROUND, PANEL = "#1a1d21", "#5b636d", "#ffffff", "#eceff2"
MAX_SAMPLES = 400


def write_preview(directory: Path, path: Path, *, samples: int = 24, columns: int = 6) -> int:
    """Write a contact sheet of samples in the shards, evenly from every branch; returns how many it shows.

    The samples of a branch are those with the smallest ids: a random choice, the same every time.

    Raises:
        FileNotFoundError: there is no ledger there, or nothing in the shards.
    """
    chosen = choose(directory, min(samples, MAX_SAMPLES))
    found = SampleFinder(directory=directory).find(chosen.iter_rows(named=True))
    if not found:
        raise FileNotFoundError(f"{directory}: no sample in shards to show: run vl3-curate run first")
    with Thumbnailer() as thumbnailer:
        tiles = [
            _tile(found[row["id"]], row["branch"], thumbnailer)
            for row in chosen.iter_rows(named=True)
            if row["id"] in found
        ]
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    width, height = TILE + GAP, TILE + TEXT + GAP
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), GROUND)
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (GAP + number % columns * width, GAP + number // columns * height))
    with atomic(path) as temporary:  # in a bucket, too
        sheet.save(temporary, "PNG", optimize=True)
    return len(tiles)


def choose(directory: Path, samples: int) -> pl.DataFrame:
    """`id, branch, shard, part` of samples in the shards: the branches take turns, so that each is seen."""
    kept = scan_ledger(directory).filter(pl.col("decision") == "kept").select("id", "branch", "shard", "part")
    few = kept.sort("id").group_by("branch", maintain_order=True).head(samples).collect()
    turn = few.with_columns(turn=pl.int_range(pl.len()).over("branch"))
    return turn.sort("turn", "branch").head(samples).sort("branch", "turn")


def _tile(sample: FoundSample, branch: str, thumbnailer: Thumbnailer) -> Image.Image:
    tile = Image.new("RGB", (TILE, TILE + TEXT), PANEL)
    draw = ImageDraw.Draw(tile)
    font = _font()
    if sample.media:
        medium = sample.media[0]
        made = thumbnailer.make(medium.reference, medium.kind, side=TILE, frames=4)
        _paste(tile, made.pictures)
        text, top, lines = sample.caption, TILE + 4, 4
        if not made.pictures:
            text, top, lines = made.error, 8, 18
    else:
        text, top, lines = sample.caption, 8, 18
    for number, line in enumerate(wrap(text, font, TILE - 10, lines)):
        draw.text((5, top + 15 * number), line, INK, font=font)
    draw.text((5, TILE + TEXT - 16), branch[:32], SOFT, font=font)
    return tile


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font of this machine that knows many scripts, else Pillow's own, which knows Latin ones and shows boxes for others."""
    for name in ("NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "DejaVuSans.ttf"):
        try:
            return ImageFont.truetype(name, 12)
        except OSError:
            continue
    return ImageFont.load_default(12)


def _paste(tile: Image.Image, pictures: tuple[bytes, ...]) -> None:
    """One picture in full, or four frames of a video in quarters."""
    side = TILE if len(pictures) < 4 else TILE // 2
    for number, data in enumerate(pictures[: 4 if side < TILE else 1]):
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            picture.thumbnail((side - 2, side - 2))
            left, top = number % 2 * side, number // 2 * side
            tile.paste(picture, (left + (side - picture.width) // 2, top + (side - picture.height) // 2))


def wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, lines: int) -> list[str]:
    """Text in at most `lines` lines of at most `width` pixels; what does not fit ends in an ellipsis."""
    text = "".join(c if c.isprintable() else " " for c in text[: 60 * lines])
    wrapped: list[str] = []
    rest = " ".join(text.split())
    while rest and len(wrapped) < lines:
        count = len(rest)
        while count > 1 and font.getlength(rest[:count]) > width:
            count = min(count - 1, int(count * width / font.getlength(rest[:count])) + 1)
        space = rest.rfind(" ", 0, count + 1) if count < len(rest) else -1
        end = space if space > 0 else count
        wrapped.append(rest[:end])
        rest = rest[end:].lstrip()
    if rest and wrapped:
        wrapped[-1] = wrapped[-1][:-1] + "..."
    return wrapped
