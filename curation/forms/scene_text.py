"""Scene text: what is written in a picture, and where; and the five OCR tasks."""

from collections.abc import Iterable
from dataclasses import dataclass

from curation.forms.fields import MediaForm, Named, draw, exchange, pick, texts_at
from curation.forms.places import Corners, Words, reading_lines, reading_order, write_box
from curation.sample import SampleError
from curation.sources.records import Draft, Record

Found = list[tuple[str, Corners]]


@dataclass(frozen=True, kw_only=True)
class SceneText(MediaForm):
    """A caption, then the texts in reading order, each followed by its box where `boxes` is set.

    caption: path, "" for none; of several captions the first.

    Source: VideoLLaMA3, arXiv:2501.13106 3.2.1 (caption plus texts, left to right and top to bottom) and 3.2.2 (a
    sentence that lists each text followed by its box).
    """

    caption: str = ""
    words: Words = Words()
    boxes: bool = False

    def drafts(self, record: Record) -> Iterable[Draft]:
        """One sample."""
        words = self.words.of(record)
        caption = texts_at(record, self.caption)[:1] if self.caption else []
        if not words and not caption:
            raise SampleError("no readable text and no caption")
        media = self.media(record)
        yield self.draft(record, exchange([("", "\n".join([*caption, *self._listed(record, words)]))], media), media)

    def _listed(self, record: Record, words: Found) -> list[str]:
        if not words:
            return []
        if not self.boxes:
            return [f"The text in the image reads:\n{reading_order(words)}"]
        size = self.words.layout.size(record)
        placed = [f"{text} {write_box(corners, size)}" for line in reading_lines(words) for text, corners in line]
        return [f"The image contains the texts: {', '.join(placed)}."]


@dataclass(frozen=True, kw_only=True)
class OcrTasks(MediaForm):
    """One of five tasks per picture, drawn from its name: is a text there; where; what does a box say; which of two
    pictures holds a text; find and read everything.

    The task of two pictures needs records that know the next one (`NextRecords`).

    Source: VideoLLaMA3, arXiv:2501.13106 3.2.3 (the five tasks; the wording is ours).
    """

    words: Words = Words()

    def drafts(self, record: Record) -> Iterable[Draft]:
        """One sample."""
        words, size = self.words.of(record), self.words.layout.size(record)
        if not words:
            raise SampleError("no readable text in it")
        other = pick(record, "next")
        follower = self.words.of(other) if isinstance(other, dict) else []
        task = draw(record, self.id, 5)
        text, corners = words[draw(record, self.id, len(words))]
        box = write_box(corners, size)
        apart = [own for own, _ in words if follower and not _holds(follower, own)]
        if task == 3 and apart:
            yield self._which(record, other, apart[draw(record, self.id, len(apart))])
            return
        pair = {
            0: self._exists(record, words, follower, text),
            1: (f'Where does "{text}" stand? Answer with its box.', box),
            2: (f"What is written in {box}?", text),
        }.get(task) or ("Find and read all text in the image.", self._everything(words, size))
        media = self.media(record)
        yield self.draft(record, exchange([pair], media), media)

    def _exists(self, record: Record, words: Found, follower: Found, text: str) -> tuple[str, str]:
        strange = next((other for other, _ in follower if not _holds(words, other)), "")
        asked = strange if strange and draw(record, self.id, 10) >= 5 else text
        return f'Does the text "{asked}" stand in the image?', "No." if asked == strange else "Yes."

    def _which(self, record: Record, other: Record, text: str) -> Draft:
        swapped = draw(record, self.id, 10) >= 5
        media: tuple[Named, ...] = self.media(record) + self.media(other)
        media = media[::-1] if swapped else media
        question = f'Which of the two images holds the text "{text}"?'
        return self.draft(record, exchange([(question, "The second." if swapped else "The first.")], media), media)

    def _everything(self, words: Found, size: tuple[float, float]) -> str:
        return "\n".join(
            f"{text} {write_box(corners, size)}" for line in reading_lines(words) for text, corners in line
        )


def _holds(words: Found, text: str) -> bool:
    return any(text.casefold() in other.casefold() or other.casefold() in text.casefold() for other, _ in words)
