"""Documents: pages, and their text in reading order as the answer."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from curation.forms.fields import MediaForm, Named, clean_lines, exchange, list_at, pick, texts_at
from curation.forms.places import Words, reading_order
from curation.sample import SampleError
from curation.sources.records import Draft, Encoded, Record


@dataclass(frozen=True, kw_only=True)
class DocumentText(MediaForm):
    """A page, and its text as the corpus gives it.

    text: path, through JSON text if need be ("ground_truth.gt_parse.text_sequence"). after: what the text follows in
    that field ("AI:"), "" for nothing.

    Source: VideoLLaMA3, arXiv:2501.13106 3.2.1 (documents: the full text in reading order is the caption).
    """

    image: str = "image"
    text: str = "text"
    after: str = ""
    prompt: str = ""

    def drafts(self, record: Record) -> Iterable[Draft]:
        """One sample."""
        text = "\n".join(texts_at(record, self.text))
        if self.after:
            _, mark, text = text.partition(self.after)
            if not mark:
                raise SampleError(f"{self.after!r} does not stand in {self.text!r}")
        if not text.strip():
            raise SampleError(f"no text in {self.text!r}: nothing to read from the page")
        media = self.media(record)
        yield self.draft(record, exchange([(self.prompt, clean_lines(text))], media), media)


@dataclass(frozen=True, kw_only=True)
class PageLines(MediaForm):
    """A page, and its words or blocks with boxes, put in reading order: top to bottom, left to right."""

    words: Words = Words()

    def drafts(self, record: Record) -> Iterable[Draft]:
        """One sample."""
        words = self.words.of(record)
        if not words:
            raise SampleError("no word on the page")
        media = self.media(record)
        yield self.draft(record, exchange([("", reading_order(words))], media), media)


@dataclass(frozen=True, kw_only=True)
class PdfPages(MediaForm):
    """Pages of a PDF, rendered, and the text of their lines in the order the corpus gives.

    A sample per run of `pages` pages, of the first `most` pages. The record has the PDF as `pdf` and, per page,
    {"lines": {"text": [...]}}; pages without text are left out.

    Source: pdfa-eng-wds and idl-wds (their lines are in reading order).
    """

    id: str = "key"
    pdf: str = "pdf"
    lines: str = "lines.text"
    pages: int = 1
    most: int = 20

    def drafts(self, record: Record) -> Iterable[Draft]:
        """A sample per run of pages."""
        pdf = pick(record, self.pdf)
        if not isinstance(pdf, Encoded):
            raise SampleError(f"no member {self.pdf!r} beside the text")
        texts = ["\n".join(texts_at(page, self.lines)) for page in list_at(record, "pages")[: self.most]]
        told = [(number, clean_lines(text)) for number, text in enumerate(texts) if re.search(r"\w", text)]
        if not told:
            raise SampleError("no text on its pages: scanned without a text layer")
        for at in range(0, len(told), self.pages):
            run = told[at : at + self.pages]
            media: list[Named] = [("image", pdf.page(number)) for number, _ in run]
            yield self.draft(record, exchange([("", "\n\n".join(text for _, text in run))], media), media)
