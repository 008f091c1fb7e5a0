"""Corpus: a published dataset as a value: what it is, how it is laid out, and what the recipes make of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from curation.operator import Operator, RecipeError, Source
from curation.sources import FolderMedia, ParquetMedia, Resolver, TarMedia
from curation.sources.records import Form, Records, RecordSource
from curation.uris import is_remote


@dataclass(frozen=True, kw_only=True)
class Use:
    """What one stage makes of a corpus.

    category: row of the paper's data table, whose total is the weight; form: what a record becomes; task: the same in
    words; suffix: of the branch's name, where a stage uses a corpus twice; annotations: other files than the corpus's.
    samples: how many the paper says it took, where it does. recaption: whether the paper wrote its captions anew, "guided" by the
    annotations, which are then what the form gives. filters: rules of this use beside those of its category.
    """

    stages: tuple[str, ...]
    category: str
    form: Form
    task: str
    suffix: str = ""
    annotations: str = ""
    records: Records | None = None
    samples: int = 0
    recaption: Literal["", "plain", "guided"] = ""
    filters: tuple[Operator, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A dataset under DATA/name.

    title: as the paper names it; home: hub id or page; licence: as published ("" = none stated; media may have others);
    size: samples published, about; layout: what lies in its folder, for people. annotations: glob of the files of
    records; media: where media lie, tried in order: "images/" a folder, "*.tar" tars, "x.parquet:name:image" columns;
    "../other/images/" lies with another corpus.
    published: False for the paper's in-house sets, whose place one's own data can take. certain: False where field names
    follow the publication's description and could not be held against a download.
    """

    name: str
    title: str
    home: str
    licence: str
    size: int
    layout: str
    annotations: str
    records: Records
    uses: tuple[Use, ...]
    media: tuple[str, ...] = ()
    published: bool = True
    certain: bool = True

    def source(self, data: str, use: Use) -> Source:
        """The reader of this corpus for a use."""
        folder = f"{data}/{self.name}"
        return RecordSource(
            f"{folder}/{use.annotations or self.annotations}",
            records=use.records or self.records,
            form=use.form,
            media=tuple(self._resolver(folder, place) for place in self.media),
            terms=self.licence,
            title=self.branch(use),
        )

    def branch(self, use: Use) -> str:
        """Name of the branch."""
        return f"{self.name}_{use.suffix}" if use.suffix else self.name

    def _resolver(self, folder: str, place: str) -> Resolver:
        if place.endswith("/"):
            return FolderMedia(folder=_tidy(f"{folder}/{place}"))
        if place.endswith(".tar"):
            return TarMedia(tars=_tidy(f"{folder}/{place}"))
        path, column, image = place.split(":")
        return ParquetMedia(paths=_tidy(f"{folder}/{path}"), column=column, image=image)

    def missing(self, data: str, use: Use) -> str:
        """Why the corpus cannot be read for a use; "" if it can."""
        if not is_remote(data) and not (Path(data) / self.name).is_dir():
            return f"no folder {self.name}/"
        try:
            self.source(data, use).files()
        except RecipeError as error:
            return str(error)
        return ""

    def uses_in(self, stage: str) -> list[Use]:
        """What a stage makes of it."""
        return [use for use in self.uses if stage in use.stages]


def _tidy(path: str) -> str:
    """The path without "x/.." in it."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts and parts[-1] not in ("", ".."):
            parts.pop()
        else:
            parts.append(part)
    return "/".join(part for i, part in enumerate(parts) if part or not i) + ("/" if path.endswith("/") else "")
